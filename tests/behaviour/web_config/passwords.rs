//! Passwords: who is asked, who is let in, and what a flood of wrong ones does to others.

use futures_util::future::join_all;
use reqwest::Method;
use tokio::task::JoinSet;

use super::served::{Served, user};

#[tokio::test]
async fn every_path_but_health_asks_for_the_password() {
    let served = Served::start(&user("alice", "s3cret", 4)).await;
    for path in [
        "/",
        "/metrics",
        "/-/reload",
        "/sd",
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
    // Ten users, so that one who does not exist is checked against any of them.
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
    // And a good answer that is remembered opens no other door.
    assert_eq!(ask("alice", "s3cret").await.0, 200);
    assert_eq!(ask("mallory", "s3cret").await.0, 401);
}

#[tokio::test]
async fn health_and_good_scrapes_are_answered_while_many_wrong_passwords_are_checked() {
    let served = Served::start(&user("alice", "s3cret", 10)).await;
    let good = || served.plain("/metrics").basic_auth("alice", Some("s3cret"));
    assert_eq!(good().send().await.unwrap().status(), 200);
    let mut flood = JoinSet::new();
    for n in 0..100 {
        for name in ["alice", "mallory"] {
            flood.spawn(served.plain("/metrics").basic_auth(name, Some(n)).send());
        }
    }
    let (mut refused, mut busy) = (0, 0);
    while let Some(answer) = flood.join_next().await {
        match answer.unwrap().unwrap().status().as_u16() {
            401 => refused += 1,
            503 => busy += 1,
            other => panic!("{other}"),
        }
        let others = join_all([good().send(), served.plain("/-/healthy").send()]).await;
        for answer in others {
            assert_eq!(answer.unwrap().status(), 200);
        }
    }
    assert_eq!(refused + busy, 200);
    assert!(
        refused > 0 && busy > 0,
        "{refused} were checked, {busy} could not wait"
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
