//! Tests of accepted configurations; refused ones are in `tests/fixtures/config/bad`.

#![expect(
    clippy::disallowed_methods,
    reason = "a test may wait for files, and runs off the event loop of what it tests"
)]

use std::time::Duration;

use super::*;

/// Returns a configuration with one Zuora tenant that contains these lines.
fn tenant(lines: &str) -> String {
    format!(
        "zuora:\n  - account: a\n    base_url: https://rest.zuora.com\n    client_id: id\n    \
            client_secret_file: secret\n{lines}"
    )
}

/// Returns a configuration with one ZIS subdomain whose only integration contains these lines.
fn integration(lines: &str) -> String {
    format!(
        "zis:\n  - account: a\n    subdomain: acme\n    integrations:\n      - name: n\n{lines}"
    )
}

#[tokio::test]
async fn an_account_inherits_what_it_does_not_say() {
    let text = tenant("    interval: 10m\n")
        + "poll:\n  interval: 1m\n  first_poll_within: 5m\n"
        + &integration("        token_env: TOKEN\n");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "s").unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, text).unwrap();
    let config = Config::load(&file, |_| Some("t".into())).await.unwrap();
    let [zuora, zis] = &config.accounts[..] else {
        panic!("two accounts")
    };
    assert_eq!(zuora.interval, Duration::from_mins(10));
    assert_eq!(zis.interval, Duration::from_mins(1));
    assert_eq!(
        zis.first_poll_within(&config.poll),
        Duration::from_mins(1),
        "never more than the interval"
    );
    assert_eq!(zis.base_url.as_str(), "https://acme.zendesk.com/");
    assert_eq!(zis.requests_per_minute.get(), 60);
}

#[test]
fn very_many_targets_of_an_account_are_not_compared_each_with_each() {
    use std::fmt::Write as _;
    let mut text = integration("        token_env: T\n");
    for n in (0..100_000).chain([7]) {
        writeln!(text, "      - {{name: n{n}, token_env: T}}").unwrap();
    }
    text += "zuora:\n  - account: a\n    base_url: https://rest.zuora.com\n    client_id: id\n    \
        client_secret_env: T\n    entities:\n";
    for n in (0..100_000).chain([7]) {
        writeln!(text, "      - {{id: \"{n:032x}\", name: e{n}}}").unwrap();
    }
    let problems = ConfigErrors::new("c");
    let begun = std::time::Instant::now();
    let problems = Config::parse(&text, "".as_ref(), &|_| Some("t".into()), problems).unwrap_err();
    let said = problems.to_string();
    let said: Vec<_> = said
        .lines()
        .filter_map(|line| Some(line.split_once(' ')?.1))
        .collect();
    assert_eq!(
        said,
        [
            "zis[0].integrations[100001].name: is the name of an earlier integration: each is \
                polled once",
            "zuora[0].entities[100000].id: is the id of an earlier entity: each is polled once",
            "zuora[0].entities[100000].name: is the name of an earlier entity: each needs its own",
        ]
    );
    // Comparing every pair would take many minutes.
    assert!(
        begun.elapsed() < Duration::from_mins(2),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_source_is_another_one_only_if_what_it_is_made_from_changed() {
    let written = |text: &str| {
        let env = |_: &str| Some("secret".to_owned());
        let config = Config::parse(text, "".as_ref(), &env, ConfigErrors::new("test")).unwrap();
        config.accounts[0].written.clone()
    };
    let text = "zis:\n  - account: a\n    subdomain: a\n    integrations:\n      - name: \
        n\n        token_env: S\n        expect: [x]\n";
    for same in [
        text.replace("[x]", "[y, z]"),
        text.replace("        expect: [x]\n", ""),
        text.replace(
            "    subdomain",
            "    interval: 1h\n    requests_per_minute: 7\n    subdomain",
        ),
        format!("poll: {{interval: 9m}}\n{text}"),
    ] {
        assert!(written(&same) == written(text), "{same}");
    }
    for other in [
        text.replace("name: n", "name: m"),
        text.replace("env: S", "env: T"),
        text.replace("subdomain: a", "subdomain: b"),
    ] {
        assert!(written(&other) != written(text), "{other}");
    }
}

#[test]
fn a_day_has_24_hours_and_a_week_7_days() {
    let interval = |text: &str| {
        let text = format!(
            "poll: {{interval: {text}}}\n{}",
            integration("        token_env: T\n")
        );
        let env = |_: &str| Some("t".to_owned());
        Config::parse(&text, "".as_ref(), &env, ConfigErrors::new("c"))
            .map(|config| config.poll.interval)
    };
    for (text, hours) in [
        ("1d", 24),
        ("2days", 48),
        ("1 day", 24),
        ("1w", 168),
        ("1d12h", 36),
    ] {
        assert_eq!(
            interval(text).unwrap(),
            Duration::from_hours(hours),
            "{text}"
        );
    }
    for bad in ["1mo", "1y", "1", "d", "-1d", "367d"] {
        assert!(interval(bad).is_err(), "{bad}");
    }
}
