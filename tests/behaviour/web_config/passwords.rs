//! Passwords: which routes need one, which are accepted, and floods of wrong ones.

use std::fs;

use futures_util::future::join_all;
use reqwest::Method;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::served::{PATIENCE, Served, prepared, user};
use crate::daemon::exporter;
use crate::pki::Authority;

#[tokio::test]
async fn every_path_but_health_asks_for_the_password() {
    let served = Served::start(&user("alice", "s3cret", 4)).await;
    for path in [
        "/",
        "/metrics",
        "/-/reload",
        "/sd",
        "/target",
        "/nowhere",
        "/-/healthy/",
        "//-/healthy",
    ] {
        for method in [Method::GET, Method::HEAD, Method::POST] {
            let client = served.client().build().unwrap();
            let answer = client
                .request(method, served.url("http", path))
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 401, "{path}");
            let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
            assert!(challenge.starts_with("Basic realm="), "{challenge}");
        }
        let answer = served
            .plain(path)
            .basic_auth("alice", Some("s3cret"))
            .send()
            .await
            .unwrap();
        assert_ne!(answer.status(), 401, "{path}");
    }
    for path in ["/-/healthy", "/-/ready"] {
        let answer = served.plain(path).send().await.unwrap();
        assert!([200, 503].contains(&answer.status().as_u16()), "{path}");
        let wrong = served.plain(path).basic_auth("alice", Some("wrong"));
        assert_ne!(wrong.send().await.unwrap().status(), 401, "{path}");
    }
}

#[tokio::test]
async fn only_the_right_password_of_a_known_user_lets_in_and_the_others_learn_nothing() {
    // An unknown user is checked against a stand-in hash with the most common cost of these ten.
    let names = ["alice", "bob", "c", "d", "e", "f", "g", "h", "i", "j"];
    let users: String = names
        .iter()
        .map(|name| user(name, "s3cret", 4).replace("basic_auth_users:\n", ""))
        .collect();
    let served = Served::start(&format!("basic_auth_users:\n{users}")).await;
    let ask = async |name: &str, password: &str| {
        let answer = served.plain("/metrics").basic_auth(name, Some(password));
        let answer = answer.send().await.unwrap();
        let status = answer.status().as_u16();
        let mut headers = answer.headers().clone();
        headers.remove("date");
        (status, headers, answer.text().await.unwrap())
    };
    assert_eq!(ask("alice", "s3cret").await.0, 200);
    let wrong = ask("alice", "s3cret ").await;
    assert_eq!(wrong.0, 401);
    for (name, password) in [
        ("bob", ""),
        ("nobody", "s3cret"),
        ("", "s3cret"),
        ("Alice", "s3cret"),
        ("alice", "S3cret"),
    ] {
        assert_eq!(ask(name, password).await, wrong, "{name}");
    }
    // A cached successful check applies to its user only.
    assert_eq!(ask("alice", "s3cret").await.0, 200);
    assert_eq!(ask("mallory", "s3cret").await.0, 401);
}

#[tokio::test]
async fn health_and_good_scrapes_are_answered_while_many_wrong_passwords_are_checked() {
    let served = Served::start(&user("alice", "s3cret", 10)).await;
    let good = || served.plain("/metrics").basic_auth("alice", Some("s3cret"));
    assert_eq!(good().send().await.unwrap().status(), 200);
    let mut flood = JoinSet::new();
    for n in 0..20 {
        for name in ["alice", "mallory"] {
            flood.spawn(served.plain("/metrics").basic_auth(name, Some(n)).send());
        }
    }
    while let Some(answer) = flood.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status(), 401);
        let others = join_all([good().send(), served.plain("/-/healthy").send()]).await;
        for answer in others {
            assert_eq!(answer.unwrap().status(), 200);
        }
    }
}

#[tokio::test]
async fn a_right_password_that_was_not_seen_before_is_let_in_while_many_try_wrong_ones() {
    let names: Vec<_> = (0..8).map(|n| format!("user{n}")).collect();
    let users: String = names
        .iter()
        .map(|name| user(name, name, 8).replace("basic_auth_users:\n", ""))
        .collect();
    let served = Served::start(&format!("basic_auth_users:\n{users}")).await;
    let mut flood = JoinSet::new();
    for client in 0..60 {
        let url = served.url("http", "/metrics");
        let asking = served.client().build().unwrap();
        flood.spawn(async move {
            for n in 0_u64.. {
                // Half of the clients try one name, the others a new name each time.
                let name = match client % 2 {
                    0 => "user0".to_owned(),
                    _ => format!("{client}-{n}"),
                };
                let answer = asking.get(&url).basic_auth(name, Some("wrong")).send();
                assert_eq!(answer.await.unwrap().status(), 401);
            }
        });
    }
    // Now all clients wait for a password check.
    assert_eq!(
        served
            .plain("/")
            .basic_auth("x", Some("x"))
            .send()
            .await
            .unwrap()
            .status(),
        401
    );
    for name in &names {
        let good = served.plain("/metrics").basic_auth(name, Some(name));
        let answer = timeout(PATIENCE, good.send()).await;
        let answer = answer.expect("it waits for ever").unwrap();
        assert_eq!(answer.status(), 200, "{name}");
    }
    assert!(flood.try_join_next().is_none(), "the flood went on");
}

#[tokio::test]
async fn a_costly_hash_holds_up_neither_other_users_nor_those_who_do_not_exist() {
    // A hash of an unknown password, whose check takes some seconds.
    let costly = "$2y$16$N8pRXTHrUUXdQoMBdn2abO.8M4hPzsZ1VdvNw4CZdLjsbfuFteG.6";
    let cheap =
        user("bob", "s3cret", 4) + &user("carol", "s3cret", 4)["basic_auth_users:\n".len()..];
    let users = format!("{cheap}  slow: {costly}\n");
    let served = Served::start(&users).await;
    let slow = served.plain("/").basic_auth("slow", Some("wrong")).send();
    let slow = tokio::spawn(slow);
    for n in 0..5 {
        for (name, status) in [(format!("nobody{n}"), 401), ("bob".to_owned(), 200)] {
            let answer = served.plain("/metrics").basic_auth(name, Some("s3cret"));
            assert_eq!(answer.send().await.unwrap().status(), status);
        }
    }
    assert!(
        !slow.is_finished(),
        "the others waited for the costly check"
    );
    assert_eq!(slow.await.unwrap().unwrap().status(), 401);
}

#[test]
fn a_user_whose_checks_take_seconds_is_warned_of_at_the_start() {
    let hash = "N8pRXTHrUUXdQoMBdn2abO.8M4hPzsZ1VdvNw4CZdLjsbfuFteG.6";
    let users = format!("basic_auth_users:\n  slow: $2y$18${hash}\n  usual: $2y$12${hash}\n");
    let folder = prepared(&Authority::new(), &users);
    let config = folder.path().join("config.yaml");
    let account = "zis:\n  - {account: a, subdomain: a, integrations: [{name: n, token_env: T}]}\n";
    fs::write(&config, account).unwrap();
    let output = exporter(&["--config.check"])
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--web.config.file={}",
            folder.path().join("web.yaml").display()
        ))
        .env("T", "t")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let warnings: Vec<_> = said
        .lines()
        .filter(|line| line.contains("level=warn"))
        .collect();
    assert_eq!(warnings.len(), 1, "{said}");
    assert!(
        warnings[0].contains("slow") && warnings[0].contains("18") && !said.contains(hash),
        "{said}"
    );
}

#[tokio::test]
async fn what_is_shown_of_the_settings_holds_no_hash() {
    let served = Served::start(&user("alice", "s3cret", 4)).await;
    let shown = format!("{:?} {:?}", served.web_config, served.web_config.current());
    assert!(
        !shown.contains("$2") && shown.contains("1 users"),
        "{shown}"
    );
}
