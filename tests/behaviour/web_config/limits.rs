//! Deadlines and slots for slow clients over TLS, and the rate limit.

use std::collections::VecDeque;
use std::time::Duration;

use connections_exporter::web::ServerLimits;
use reqwest::Version;
use rustls::crypto::aws_lc_rs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::served::{PATIENCE, Served, TLS, user, when};
use super::tls::connect;

const SHORT: Duration = Duration::from_millis(200);

/// Deadline that is longer than any test.
const HOUR: Duration = Duration::from_hours(1);

/// HTTP/2 connection preface with an empty SETTINGS frame.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn unfinished_handshakes_hold_up_nobody_and_end() {
    let limits = ServerLimits {
        handshake: SHORT,
        ..ServerLimits::default()
    };
    let served = Served::limited(TLS, limits).await;
    let mut held = Vec::new();
    for begin in [&b""[..], b"\x16\x03\x01\x02\0", b"\x16"] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(begin).await.unwrap();
        held.push(stream);
    }
    // On a busy machine a complete handshake may also exceed this deadline.
    let healthy = |answer: &Result<reqwest::Response, _>| {
        answer.as_ref().is_ok_and(|answer| answer.status() == 200)
    };
    when(|| served.tls("/-/healthy"), healthy).await.unwrap();
    for mut stream in held {
        let mut rest = Vec::new();
        let end = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "a handshake keeps its connection");
    }
}

#[tokio::test]
async fn unfinished_handshakes_that_are_replaced_keep_nobody_out() {
    let limits = ServerLimits {
        connections: 20,
        handshake: HOUR,
        ..ServerLimits::default()
    };
    let served = Served::limited(TLS, limits).await;
    let address = served.address;
    let _flood = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut held = VecDeque::new();
        loop {
            if let Ok(mut stream) = TcpStream::connect(address).await {
                let _ = stream.write_all(b"\x16\x03\x01\x02\0").await;
                held.push_back(stream);
            }
            if held.len() > 60 {
                held.pop_front();
                sleep(Duration::from_millis(20)).await;
            }
        }
    }));
    for path in ["/-/healthy", "/metrics", "/-/healthy", "/metrics"] {
        let answer = when(
            || served.tls(path).timeout(PATIENCE),
            |answer| answer.as_ref().is_ok_and(|answer| answer.status() == 200),
        );
        assert!(!answer.await.unwrap().bytes().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_idle_connection_ends_over_http_2_too() {
    let limits = ServerLimits {
        next_request: SHORT,
        write: SHORT,
        ..ServerLimits::default()
    };
    let served = Served::limited(TLS, limits).await;
    for (protocol, begin) in [
        ("h2", PREFACE),
        // The header of a HEADERS frame of 100 bytes, without its payload.
        ("h2", &[PREFACE, b"\0\0\x64\x01\x04\0\0\0\x01"].concat()),
        ("h2", b""),
        ("http/1.1", b"GET /metrics HTTP/1.1\r\nhost: x\r\n"),
    ] {
        let versions = rustls::ALL_VERSIONS;
        let provider = aws_lc_rs::default_provider();
        let mut stream = connect(&served, versions, provider, &[protocol])
            .await
            .unwrap();
        stream.write_all(begin).await.unwrap();
        let mut rest = Vec::new();
        let end = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "{protocol} keeps its connection");
    }
}

#[tokio::test]
async fn an_http_2_client_that_grants_no_room_does_not_keep_the_place_of_an_answer() {
    let limits = ServerLimits {
        requests: 2,
        slot_wait: PATIENCE,
        write: HOUR,
        ..ServerLimits::default()
    };
    let served = Served::large(TLS, limits).await;
    let url = served.url("https", "/metrics");
    let mut held = Vec::new();
    for _ in 0..2 {
        let slow = served
            .client()
            .http2_initial_stream_window_size(1)
            .build()
            .unwrap();
        for _ in 0..2 {
            // From the third response on, each takes the slot of an earlier one.
            let answer = slow.get(&url).send().await.unwrap();
            assert_eq!(
                (answer.status().as_u16(), answer.version()),
                (200, Version::HTTP_2)
            );
            held.push(answer);
        }
        let answer = served.tls("/metrics").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(!answer.bytes().await.unwrap().is_empty());
    }
    assert!(
        held.remove(0).bytes().await.is_err(),
        "the first one was cut off"
    );
}

#[tokio::test]
async fn an_http_2_answer_that_is_not_taken_ends() {
    let limits = ServerLimits {
        write: SHORT,
        ..ServerLimits::default()
    };
    let served = Served::large(TLS, limits).await;
    let slow = served
        .client()
        .http2_initial_stream_window_size(1)
        .build()
        .unwrap();
    let held = slow.get(served.url("https", "/metrics")).send().await;
    let rest = timeout(PATIENCE, held.unwrap().bytes()).await;
    assert!(rest.unwrap().is_err(), "it was cut off");
}

#[tokio::test]
async fn more_requests_than_the_rate_allows_are_429_and_health_is_not_counted() {
    let limit = "rate_limit:\n  interval: 1h\n  burst: 3\n";
    let served = Served::start(&format!("{limit}{}", user("alice", "s3cret", 4))).await;
    let mut seen = Vec::new();
    // Requests with a wrong password also count.
    for password in ["s3cret", "wrong", "s3cret", "s3cret", "wrong"] {
        assert_eq!(
            served.plain("/-/healthy").send().await.unwrap().status(),
            200
        );
        let answer = served.plain("/metrics").basic_auth("alice", Some(password));
        seen.push(answer.send().await.unwrap().status().as_u16());
    }
    assert_eq!(seen, [200, 401, 200, 429, 429]);
}
