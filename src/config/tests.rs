//! Good and bad configurations, and the sentences for the bad ones.

use super::*;

/// The problems with a configuration, without the name of the file.
fn problems(text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "s3cret\n").unwrap();
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    std::fs::write(folder.path().join("spaced"), "hunter2 hunter2").unwrap();
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    let env = |name: &str| match name {
        "TOKEN" => Some("t0ken".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    match Config::parse(text, folder.path(), &env, Problems::new("c.yaml")) {
        Ok(_) => Vec::new(),
        Err(problems) => {
            let text = problems.to_string();
            assert!(
                !text.contains("hunter2") && !text.contains("s3cret"),
                "quotes a secret: {text}"
            );
            text.lines()
                .map(|line| line.strip_prefix("c.yaml: ").unwrap().to_owned())
                .collect()
        }
    }
}

/// A tenant with these lines in it.
fn tenant(lines: &str) -> String {
    format!(
        "zuora:\n  - account: a\n    base_url: https://rest.zuora.com\n    client_id: id\n    client_secret_file: secret\n{lines}"
    )
}

/// A subdomain whose one integration has these lines.
fn integration(lines: &str) -> String {
    format!(
        "zis:\n  - account: a\n    subdomain: acme\n    integrations:\n      - name: n\n{lines}"
    )
}

#[test]
fn the_smallest_configuration_of_each_system_is_good() {
    for text in [tenant(""), integration("        token_env: TOKEN\n")] {
        assert_eq!(problems(&text), Vec::<String>::new(), "{text}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn each_problem_has_its_place_and_its_remedy() {
    let duration = "expected a duration with a unit, such as 30s, 5m or 1h";
    let entity = "expected an entity id: 32 hexadecimal digits, with or without hyphens";
    let hidden = "the file named here (not shown: a secret may have been put in its place)";
    let id = "8a80825555a3c7a10155b46120d058e7";
    let table: Vec<(String, String)> = vec![
        (String::new(), "nothing to poll: add an account under zuora: or zis:".into()),
        ("zuora: []\n".into(), "nothing to poll: add an account under zuora: or zis:".into()),
        ("zuora:\n  - null\n".into(), "zuora[0]: an empty entry: remove it, or fill it in".into()),
        ("zuora: production\n".into(), "zuora: expected a list".into()),
        ("zuora:\n  - production\n".into(), "zuora[0]: expected a mapping of keys to values".into()),
        (tenant("") + "poll:\n  interval: 300\n", format!("poll.interval: {duration}")),
        (tenant("") + "poll:\n  interval: -5m\n", format!("poll.interval: {duration}, and not a negative one")),
        (tenant("") + "poll:\n  interval: 500ms\n", "poll.interval: must be at least 1s".into()),
        (tenant("") + "poll:\n  request_timeout: 0s\n", "poll.request_timeout: must be more than 0s".into()),
        (tenant("") + "poll:\n  stale_after: 0s\n", "poll.stale_after: must be more than 0s".into()),
        (tenant("") + "poll:\n  max_connections: 0\n", "poll.max_connections: expected a whole number from 1 to 10000000".into()),
        (tenant("") + "poll:\n  intervall: 5m\n", "poll.intervall: unknown key: see config.example.yaml for every key there is".into()),
        (tenant("    interval: 5\n"), format!("zuora[0].interval: {duration}")),
        (tenant("    requests_per_minute: 0\n"), "zuora[0].requests_per_minute: expected a whole number from 1 to 1000000".into()),
        (tenant("    requests_per_minute: 1.5\n"), "zuora[0].requests_per_minute: expected a whole number from 1 to 1000000".into()),
        (
            tenant("    client_secret: hunter2\n"),
            "zuora[0].client_secret: a secret never stands in this file: use client_secret_file or client_secret_env".into(),
        ),
        (tenant("    client_secret_env: TOKEN\n"), "zuora[0].client_secret: give client_secret_file or client_secret_env, not both".into()),
        (tenant("    client_id_env: TOKEN\n"), "zuora[0].client_id: give client_id, client_id_file or client_id_env, and only one of them".into()),
        (tenant("    entities: []\n"), "zuora[0].entities: is empty: name at least one, or leave the key out to follow every entity of the tenant".into()),
        (tenant("    entities: all\n"), "zuora[0].entities: expected a list".into()),
        (tenant("    entities:\n      - name: x\n"), "zuora[0].entities[0].id: is missing".into()),
        (tenant("    entities:\n      - id: 12345678\n"), "zuora[0].entities[0].id: expected text: put quotes around a number".into()),
        (tenant("    entities:\n      - id: production\n"), format!("zuora[0].entities[0].id: {entity}")),
        (
            tenant(&format!("    entities:\n      - id: {id}\n      - id: 8A808255-55a3-c7a1-0155-b46120d058e7\n")),
            "zuora[0].entities[1].id: is the id of an earlier entity: each is polled once".into(),
        ),
        (tenant(&format!("    entities:\n      - id: {id}\n        expect: [x]\n")), format!("zuora[0].entities[0].expect[0]: {entity}")),
        (tenant(&format!("    entities:\n      - id: {id}\n        expect: [{id}, {id}]\n")), "zuora[0].entities[0].expect[1]: is there twice".into()),
        (integration("        token_env: TOKEN\n        expect: [2024]\n"), "zis[0].integrations[0].expect[0]: expected text: put quotes around a number".into()),
        (integration("        token_env: TOKEN\n        expect: [null]\n"), "zis[0].integrations[0].expect[0]: an empty entry: remove it, or fill it in".into()),
        (tenant("    interval: 70000000h\n"), format!("zuora[0].interval: {duration}, and not of more than a year")),
        (tenant("").replace("file: secret", "file: folder/zuora"), "zuora[0].client_secret_file: folder/zuora cannot be read: No such file or directory (os error 2)".into()),
        (tenant("    ca_file: secret\n"), "zuora[0].ca_file: secret holds no certificate in PEM form".into()),
        (tenant("    ca_file: nowhere\n"), "zuora[0].ca_file: nowhere cannot be read: No such file or directory (os error 2)".into()),
        (tenant("").replace("https:", "http:"), "zuora[0].base_url: http:// is accepted for loopback hosts only: a credential would travel in clear".into()),
        (tenant("").replace("zuora.com", "zuora.com/v1"), "zuora[0].base_url: only scheme, host and port: the paths are the program's own".into()),
        (tenant("").replace("https://", "https://u:hunter2@"), "zuora[0].base_url: a user name or password in a URL is not accepted".into()),
        (tenant("").replace("account: a\n", "account: ''\n"), "zuora[0].account: expected text of 1 to 256 bytes without control characters".into()),
        (tenant("").replace("account: a\n", "interval: 5m\n"), "zuora[0].account: is missing".into()),
        (tenant("").replace("client_secret_file: secret", "interval: 5m"), "zuora[0].client_secret: is missing: give client_secret_file or client_secret_env".into()),
        (tenant("").replace("file: secret", "file: empty"), "zuora[0].client_secret_file: empty is empty".into()),
        (tenant("").replace("file: secret", "file: ./folder"), "zuora[0].client_secret_file: ./folder is a folder: name the file in it".into()),
        (
            tenant("").replace("file: secret", "file: /nowhere/secret"),
            "zuora[0].client_secret_file: /nowhere/secret cannot be read: No such file or directory (os error 2)".into(),
        ),
        (
            tenant("").replace("file: secret", "file: hunter2"),
            format!("zuora[0].client_secret_file: {hidden} cannot be read: No such file or directory (os error 2)"),
        ),
        (
            tenant("").replace("file: secret", "file: spaced"),
            "zuora[0].client_secret_file: spaced holds a space, a control character or a letter outside ASCII, which no credential does".into(),
        ),
        (
            integration("        token_env: hunter2\n"),
            "zis[0].integrations[0].token_env: there is no environment variable of this name (not shown: a secret may have been put here)".into(),
        ),
        (integration("        token_env: EMPTY\n"), "zis[0].integrations[0].token_env: the environment variable named here is empty".into()),
        (
            integration("        token_env: hunter2-\n"),
            "zis[0].integrations[0].token_env: expected the name of an environment variable: A-Z, a-z, 0-9 and _, not beginning with a digit".into(),
        ),
        (
            integration("        token: hunter2\n        token_env: TOKEN\n"),
            "zis[0].integrations[0].token: a secret never stands in this file: use token_file or token_env".into(),
        ),
        (integration(""), "zis[0].integrations[0].token: is missing: give token_file or token_env".into()),
        (
            integration("        token_env: TOKEN\n").replace("name: n", "name: N/../x"),
            "zis[0].integrations[0].name: expected the name of an integration: 1 to 64 of a-z, 0-9, _ and -".into(),
        ),
        (
            integration("        token_env: TOKEN\n").replace("subdomain: acme", "subdomain: evil.test/"),
            "zis[0].subdomain: expected the part before .zendesk.com: a-z, 0-9 and -, not beginning with -".into(),
        ),
        (
            integration("        token_env: TOKEN\n").replace("subdomain: acme", "subdomain: acme\n    base_url: https://acme.zendesk.com"),
            "zis[0].subdomain: give subdomain or base_url, not both".into(),
        ),
        (integration("        token_env: TOKEN\n").replace("subdomain: acme", "interval: 5m"), "zis[0].subdomain: is missing".into()),
        ("zis:\n  - account: a\n    subdomain: acme\n".into(), "zis[0].integrations: is missing".into()),
        ("zis:\n  - account: a\n    subdomain: acme\n    integrations: all\n".into(), "zis[0].integrations: all needs an admin_client, which may read the list of them".into()),
        ("zis:\n  - account: a\n    subdomain: acme\n    integrations: some\n".into(), "zis[0].integrations: expected all, or a list of integrations".into()),
        ("zis:\n  - account: a\n    subdomain: acme\n    integrations: [3]\n".into(), "zis[0].integrations[0]: expected the name of an integration, or a mapping of keys to values".into()),
        ("zis:\n  - account: a\n    subdomain: acme\n    integrations: [x]\n".into(), "zis[0].integrations[0].token: is missing: give token_file or token_env".into()),
        (
            "zis:\n  - account: a\n    subdomain: acme\n    admin_client: {client_id: x, client_secret_env: TOKEN}\n    integrations: [{name: x, token_env: TOKEN}]\n".into(),
            "zis[0].integrations[0].token: give a token here or an admin_client for all, not both".into(),
        ),
        (
            "zis:\n  - account: a\n    subdomain: acme\n    admin_client: {client_id: x, client_secret: hunter2, client_secret_env: TOKEN}\n    integrations: all\n".into(),
            "zis[0].admin_client.client_secret: a secret never stands in this file: use client_secret_file or client_secret_env".into(),
        ),
        ("zis:\n  - account: a\n    subdomain: acme\n    integrations: []\n".into(), "zis[0].integrations: is empty: name at least one".into()),
        (
            integration("        token_env: TOKEN\n") + "      - name: n\n        token_env: TOKEN\n",
            "zis[0].integrations[1].name: is the name of an earlier integration: each is polled once".into(),
        ),
        (
            integration("        token_env: TOKEN\n        expect: [x, x]\n"),
            "zis[0].integrations[0].expect[1]: is there twice".into(),
        ),
        (
            tenant("") + &tenant("")[7..],
            "zuora[1].account: \"a\" is the name of an earlier account: each needs its own".into(),
        ),
        ("zuora:\n  - account: a\n   base_url: x\n".into(), "line 3, column 4: not YAML that can be read: did not find expected '-' indicator at line 3 column 4, while parsing a block collection at line 2 column 3".into()),
        ("zis:\n  - hunter2: 1\n    hunter2: 2\n".into(), "line 2, column 5: not YAML that can be read: zis[0]: duplicate entry with key (not quoted here)".into()),
    ];
    for (text, expected) in table {
        assert_eq!(problems(&text), [expected], "{text}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let text = "poll:\n  interval: 5\n  zeal: 1\nzuora:\n  - account: 3\n    requests_per_minute: 0\n    entities:\n      - id: x\n      - 7\nzis:\n  - subdomain: '-'\n    integrations:\n      - name: X\n        token_file: /nowhere\n";
    let places: Vec<_> = problems(text)
        .into_iter()
        .map(|line| line.split(": ").next().unwrap().to_owned())
        .collect();
    let expected = [
        "poll.interval",
        "zuora[0].account",
        "zuora[0].requests_per_minute",
        "zuora[0].entities[1]",
        "poll.zeal",
        "zuora[0].client_id",
        "zuora[0].client_secret",
        "zuora[0].base_url",
        "zuora[0].entities[0].id",
        "zis[0].subdomain",
        "zis[0].integrations[0].token_file",
        "zis[0].integrations[0].name",
        "zis[0].account",
    ];
    for place in expected {
        assert_eq!(
            places.iter().filter(|p| *p == place).count(),
            1,
            "{place} in {places:?}"
        );
    }
    assert_eq!(places.len(), expected.len(), "{places:?}");
}

#[test]
fn an_account_inherits_what_it_does_not_say() {
    let text = tenant("    interval: 10m\n")
        + "poll:\n  interval: 1m\n  first_poll_within: 5m\n"
        + &integration("        token_env: TOKEN\n");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "s").unwrap();
    let config = Config::parse(
        &text,
        folder.path(),
        &|_| Some("t".into()),
        Problems::new("c"),
    )
    .unwrap();
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
fn the_newline_at_the_end_of_a_secret_file_is_not_part_of_it() {
    use secrecy::ExposeSecret as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    for (text, secret) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a")] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(
            Secret::File(path.clone()).read().unwrap().expose_secret(),
            secret
        );
    }
    for bad in ["", "\n", "a\n\n", "a b", "ä"] {
        std::fs::write(&path, bad).unwrap();
        assert!(Secret::File(path.clone()).read().is_err(), "{bad:?}");
    }
    std::fs::write(&path, "x".repeat(70_000)).unwrap();
    assert!(Secret::File(path).read().is_err());
}
