//! Service discovery with TLS and passwords.

use serde_json::Value;

use super::served::{Served, TLS, user};
use crate::pki::SERVER;

#[tokio::test]
async fn with_tls_and_passwords_the_targets_are_told_to_who_may_know_them_and_have_https() {
    let served = Served::start(&format!("{TLS}{}", user("alice", "s3cret", 4))).await;
    let client = served.client().build().unwrap();
    let ask = |password: &'static str| {
        client
            .get(served.url("https", "/sd"))
            .basic_auth("alice", Some(password))
            .send()
    };
    assert_eq!(ask("wrong").await.unwrap().status(), 401);
    let answer = ask("s3cret").await.unwrap();
    // Over HTTP/2 the host is in `:authority` instead of `Host`.
    assert_eq!(answer.version(), http::Version::HTTP_2);
    let groups: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let groups = groups.as_array().unwrap();
    assert_eq!(groups.len(), 2);
    for group in groups {
        assert_eq!(group["labels"]["__scheme__"], "https");
        assert_eq!(
            group["targets"][0],
            format!("{SERVER}:{}", served.address.port())
        );
    }
}
