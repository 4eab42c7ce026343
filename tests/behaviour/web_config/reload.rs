//! Certificates and passwords that change while the daemon runs, and invalid edits.

use std::fs;

use connections_exporter::metrics::ExporterMetrics;
use jiff::Timestamp;
use reqwest::Response;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustls::crypto::aws_lc_rs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::served::{PATIENCE, Served, TLS, user, when};
use super::tls::connect;

fn is(status: u16) -> impl Fn(&Result<Response, reqwest::Error>) -> bool {
    move |answer| {
        answer
            .as_ref()
            .is_ok_and(|answer| answer.status() == status)
    }
}

const METRIC: &str = "connections_exporter_web_config_last_reload_successful";

/// Returns the line of [`METRIC`] on the page, requested with this password.
async fn taken_up(served: &Served, password: &str) -> String {
    let page = served.plain("/metrics").basic_auth("alice", Some(password));
    let page = page.send().await.unwrap().text().await.unwrap();
    let line = page.lines().find(|line| line.starts_with(METRIC));
    line.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_new_password_is_taken_up_and_the_old_one_is_forgotten() {
    let served = Served::start(&user("alice", "old", 4)).await;
    let ask = |password| served.plain("/metrics").basic_auth("alice", Some(password));
    assert_eq!(ask("old").send().await.unwrap().status(), 200);
    served.edit(&user("alice", "new", 4));
    when(|| ask("new"), is(200)).await.unwrap();
    assert_eq!(ask("old").send().await.unwrap().status(), 401);
    assert_eq!(taken_up(&served, "new").await, format!("{METRIC} 1"));
}

#[tokio::test]
async fn a_broken_edit_keeps_what_held_and_shows_in_the_metric_until_it_is_mended() {
    let served = Served::start(&user("alice", "old", 4)).await;
    served.edit("basic_auth_users:\n  alice: new\n");
    let refused = async || while taken_up(&served, "old").await != format!("{METRIC} 0") {};
    tokio::time::timeout(PATIENCE, refused()).await.unwrap();
    let answer = served.plain("/metrics").send().await.unwrap();
    assert_eq!(answer.status(), 401, "passwords are still asked for");
    served.edit(&user("alice", "new", 4));
    let ask = || served.plain("/metrics").basic_auth("alice", Some("new"));
    when(ask, is(200)).await.unwrap();
    assert_eq!(taken_up(&served, "new").await, format!("{METRIC} 1"));
}

#[tokio::test]
async fn a_reload_takes_up_at_once_or_says_what_is_wrong() {
    let served = Served::start(&user("alice", "old", 4)).await;
    let gauge = ExporterMetrics::new(Timestamp::now()).web_config_gauge();
    let ask = |password| served.plain("/metrics").basic_auth("alice", Some(password));
    fs::remove_file(served.file("web.yaml")).unwrap();
    let problems = served
        .web_config
        .reload(&gauge)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        problems
            .ends_with("web.yaml: the file cannot be read: No such file or directory (os error 2)"),
        "{problems}"
    );
    assert_eq!(ask("old").send().await.unwrap().status(), 200);
    served.edit(&user("alice", "new", 4));
    served.web_config.reload(&gauge).await.unwrap();
    assert_eq!(ask("old").send().await.unwrap().status(), 401);
    assert_eq!(ask("new").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_password_that_was_found_right_stays_known_when_other_things_change() {
    // A check takes seconds, and only one runs at a time.
    let users = user("alice", "s3cret", 15);
    let served = Served::start(&users).await;
    let gauge = ExporterMetrics::new(Timestamp::now()).web_config_gauge();
    let ask = |password| served.plain("/metrics").basic_auth("alice", Some(password));
    assert_eq!(ask("s3cret").send().await.unwrap().status(), 200);
    served.edit(&format!("{users}http_server_config:\n  http2: false\n"));
    served.web_config.reload(&gauge).await.unwrap();
    let mut wrong = JoinSet::new();
    for password in ["a", "b", "c"] {
        wrong.spawn(ask(password).send());
    }
    assert_eq!(ask("s3cret").send().await.unwrap().status(), 200);
    assert!(wrong.try_join_next().is_none(), "it waited for no check");
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections_and_old_ones_end() {
    let served = Served::start(TLS).await;
    let shake = async || {
        let provider = aws_lc_rs::default_provider();
        connect(&served, rustls::ALL_VERSIONS, provider, &[])
            .await
            .unwrap()
    };
    let mut before = shake().await;
    let shown = before.get_ref().1.peer_certificates().unwrap()[0].clone();
    served
        .authority
        .server()
        .write(served.folder.path(), "server");
    loop {
        let stream = shake().await;
        if stream.get_ref().1.peer_certificates().unwrap()[0] != shown {
            break;
        }
    }
    // The old connection closes after its next response, so no request is lost.
    let request = b"GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n";
    before.write_all(request).await.unwrap();
    let mut answer = String::new();
    before.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_certificate_without_its_key_waits_for_it() {
    let served = Served::start(TLS).await;
    let gauge = ExporterMetrics::new(Timestamp::now()).web_config_gauge();
    let new = served.authority.server();
    fs::write(served.file("server.crt"), &new.certificate).unwrap();
    let problems = served
        .web_config
        .reload(&gauge)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        problems.ends_with("tls_server_config.key_file: is not the key of the certificate"),
        "{problems}"
    );
    assert_eq!(served.tls("/metrics").send().await.unwrap().status(), 200);
    fs::write(served.file("server.key"), &new.key).unwrap();
    served.web_config.reload(&gauge).await.unwrap();
    assert_eq!(served.tls("/metrics").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn tls_comes_and_goes_with_a_reload() {
    let served = Served::start("").await;
    let gauge = ExporterMetrics::new(Timestamp::now()).web_config_gauge();
    assert_eq!(served.plain("/metrics").send().await.unwrap().status(), 200);
    served.edit(TLS);
    served.web_config.reload(&gauge).await.unwrap();
    assert_eq!(served.tls("/metrics").send().await.unwrap().status(), 200);
    assert_eq!(served.plain("/metrics").send().await.unwrap().status(), 400);
    served.edit("");
    served.web_config.reload(&gauge).await.unwrap();
    assert_eq!(served.plain("/metrics").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn no_scrape_fails_while_the_configuration_is_taken_up_a_hundred_times() {
    let served = Served::start(TLS).await;
    let gauge = ExporterMetrics::new(Timestamp::now()).web_config_gauge();
    let end = CancellationToken::new();
    let mut clients = JoinSet::new();
    for client in [served.client(), served.client().http1_only()] {
        let (client, end) = (client.build().unwrap(), end.clone());
        let url = served.url("https", "/metrics");
        clients.spawn(async move {
            let mut scrapes = 0;
            while !end.is_cancelled() {
                let answer = client.get(&url).send().await.unwrap();
                assert_eq!(answer.status(), 200);
                assert!(!answer.bytes().await.unwrap().is_empty());
                scrapes += 1;
            }
            scrapes
        });
    }
    for n in 0..100 {
        served
            .authority
            .server()
            .write(served.folder.path(), "server");
        served.edit(&format!("# {n}\n{TLS}"));
        served.web_config.reload(&gauge).await.unwrap();
        // Scrapes must succeed with these settings before the next change.
        assert_eq!(served.tls("/metrics").send().await.unwrap().status(), 200);
    }
    end.cancel();
    for scrapes in clients.join_all().await {
        assert!(scrapes > 10, "{scrapes}");
    }
}

#[tokio::test]
async fn a_reload_over_http_asks_for_the_password_and_reads_this_file_too() {
    let served = Served::start(&user("alice", "old", 4)).await;
    let reload = |password| {
        let url = served.url("http", "/-/reload");
        let client = served.client().build().unwrap();
        client.post(url).basic_auth("alice", Some(password)).send()
    };
    assert_eq!(reload("wrong").await.unwrap().status(), 401);
    served.edit("basic_auth_users:\n  alice: secret-in-clear\n");
    let answer = reload("old").await.unwrap();
    assert_eq!(answer.status(), 500);
    let problems = answer.text().await.unwrap();
    assert!(
        problems.contains("web.yaml:2:10: basic_auth_users[0]: expected a bcrypt hash"),
        "{problems}"
    );
    assert!(!problems.contains("secret-in-clear"), "{problems}");
    served.edit(&user("alice", "new", 4));
    assert_eq!(reload("old").await.unwrap().status(), 200);
    assert_eq!(reload("old").await.unwrap().status(), 401);
    assert_eq!(reload("new").await.unwrap().status(), 200);
    assert_eq!(taken_up(&served, "new").await, format!("{METRIC} 1"));
}

#[tokio::test]
async fn while_a_certificate_hangs_the_one_before_serves_and_every_look_goes_on() {
    let served = Served::start(TLS).await;
    let file = served.file("server.crt");
    let certificate = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    mknodat(CWD, &file, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let gauge = ExporterMetrics::new(Timestamp::now()).web_config_gauge();
    // Two reloads at once share one blocked thread.
    let (one, other) = tokio::join!(
        served.web_config.reload(&gauge),
        served.web_config.reload(&gauge)
    );
    for problems in [one.unwrap_err(), other.unwrap_err()] {
        let said = problems.to_string();
        let told = "cert_file: server.crt was not read within 5 s";
        assert!(said.contains(told), "{said}");
    }
    let answer = served.tls("/-/healthy").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    fs::remove_file(&file).unwrap();
    fs::write(&file, certificate).unwrap();
    // The read that timed out may still hold its thread for a moment.
    let again = async {
        while served.web_config.reload(&gauge).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, again).await.unwrap();
}
