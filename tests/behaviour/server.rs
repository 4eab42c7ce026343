//! The server: routes, limits and the end.

use std::io::Read as _;
use std::time::Duration;

use connections_exporter::server::Limits;
use connections_exporter::simulator::{Sizes, World};
use jiff::Timestamp;
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{ONCE, PATIENCE, Rig};

const NOTHING: Sizes = Sizes {
    entities: 0,
    entity_connections: 0,
    integrations: 1,
    integration_connections: 1,
};

async fn rig(sizes: Sizes, limits: Limits) -> Rig {
    let rig = Rig::start_with(World::new(sizes, 1, Timestamp::now()), ONCE, limits).await;
    rig.ready().await;
    rig
}

async fn ask(rig: &Rig, method: Method, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let client = reqwest::Client::builder()
        .no_proxy()
        .no_gzip()
        .build()
        .unwrap();
    let mut request = client.request(method, format!("http://{}{path}", rig.address));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn each_path_answers_as_it_should() {
    let rig = rig(NOTHING, Limits::default()).await;
    for (path, status, content_type) in [
        ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"),
        ("/", 200, "text/html; charset=utf-8"),
        ("/-/healthy", 200, "text/plain; charset=utf-8"),
        ("/-/ready", 200, "text/plain; charset=utf-8"),
        ("/sd", 200, "application/json; charset=utf-8"),
        (
            "/metrics?own=1",
            200,
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        (
            "/metrics?target=x",
            200,
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        ("/metrics?targets=x", 400, "text/plain; charset=utf-8"),
        ("/nowhere", 404, "text/plain; charset=utf-8"),
        ("//metrics", 404, "text/plain; charset=utf-8"),
    ] {
        let answer = ask(&rig, Method::GET, path, &[]).await;
        assert_eq!(
            (
                answer.status().as_u16(),
                answer.headers()["content-type"].to_str().unwrap()
            ),
            (status, content_type),
            "{path}"
        );
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        let head = ask(&rig, Method::HEAD, path, &[]).await;
        assert_eq!(head.status().as_u16(), status, "{path}");
        assert_eq!(head.bytes().await.unwrap().len(), 0);
        if status == 200 {
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
                let refused = ask(&rig, method, path, &[]).await;
                assert_eq!(
                    (
                        refused.status().as_u16(),
                        refused.headers()["allow"].to_str().unwrap()
                    ),
                    (405, "GET, HEAD"),
                    "{path}"
                );
            }
        }
    }
    let text = ask(&rig, Method::GET, "/nowhere", &[])
        .await
        .text()
        .await
        .unwrap();
    for path in ["/metrics", "/-/healthy", "/-/ready", "/sd"] {
        assert!(text.contains(path), "{text}");
    }
    let index = ask(&rig, Method::GET, "/", &[]).await.text().await.unwrap();
    assert!(index.contains("<a href=\"/metrics\">") && index.contains(env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn the_gzip_page_is_one_member_of_the_same_text() {
    let rig = rig(
        Sizes {
            integrations: 3,
            integration_connections: 200,
            ..Sizes::default()
        },
        Limits::default(),
    )
    .await;
    let gzip = ask(
        &rig,
        Method::GET,
        "/metrics",
        &[("accept-encoding", "gzip")],
    )
    .await;
    assert_eq!(gzip.headers()["content-encoding"], "gzip");
    let length: usize = gzip.headers()["content-length"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let packed = gzip.bytes().await.unwrap();
    assert_eq!(packed.len(), length);
    let mut text = String::new();
    let mut decoder = flate2::bufread::GzDecoder::new(&packed[..]);
    decoder.read_to_string(&mut text).unwrap();
    assert!(decoder.into_inner().is_empty(), "one member");
    let plain = ask(&rig, Method::GET, "/metrics", &[]).await;
    assert!(plain.headers().get("content-encoding").is_none());
    let plain = plain.text().await.unwrap();
    // What moves between two scrapes is left out.
    let still = |page: &str| {
        page.lines()
            .filter(|line| line.starts_with("saas_") && !line.contains("expires_in"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(still(&text), still(&plain));
    assert!(
        packed.len() * 8 < text.len(),
        "{} of {}",
        packed.len(),
        text.len()
    );
}

#[tokio::test]
async fn health_does_not_depend_on_answers_in_flight_and_more_answers_than_allowed_are_503() {
    let sizes = Sizes {
        integrations: 2,
        integration_connections: 12_000,
        ..NOTHING
    };
    let rig = rig(
        sizes,
        Limits {
            requests: 1,
            ..Limits::default()
        },
    )
    .await;
    // A client that asks for a large page and does not read it.
    let mut slow = TcpStream::connect(rig.address).await.unwrap();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    slow.readable().await.unwrap();
    assert_eq!(rig.get("/metrics").await.status(), 503);
    assert_eq!(rig.get("/-/healthy").await.status(), 200);
    assert_eq!(rig.get("/-/ready").await.status(), 200);
    drop(slow);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while rig.get("/metrics").await.status() != 200 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the place of the one who left stays taken"
        );
    }
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_cut_off_even_if_it_sips() {
    let sizes = Sizes {
        integrations: 2,
        integration_connections: 12_000,
        ..NOTHING
    };
    let rig = rig(
        sizes,
        Limits {
            write: Duration::from_millis(300),
            ..Limits::default()
        },
    )
    .await;
    let mut slow = TcpStream::connect(rig.address).await.unwrap();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let (mut taken, mut sip) = (0, [0; 1000]);
    let begun = tokio::time::Instant::now();
    while let Ok(bytes @ 1..) = slow.read(&mut sip).await {
        taken += bytes;
        tokio::task::yield_now().await;
        // At this rate the whole page would take minutes.
        tokio::time::timeout(Duration::from_millis(2), std::future::pending::<()>())
            .await
            .unwrap_err();
        assert!(
            begun.elapsed() < PATIENCE,
            "still being served after {taken} bytes"
        );
    }
    let whole = rig.get("/metrics").await.bytes().await.unwrap().len();
    assert!(taken < whole, "{taken} of {whole}");
}

#[tokio::test]
async fn unfinished_headers_and_idle_connections_end() {
    let rig = rig(
        NOTHING,
        Limits {
            header: Duration::from_millis(200),
            ..Limits::default()
        },
    )
    .await;
    for begin in [
        &b""[..],
        b"GET /metrics HT",
        b"GET /metrics HTTP/1.1\r\nhost: x\r\n",
        b"GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        stream.write_all(begin).await.unwrap();
        let mut rest = Vec::new();
        let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(
            end.is_ok(),
            "{:?} keeps its connection",
            String::from_utf8_lossy(begin)
        );
    }
}

#[tokio::test]
async fn more_connections_than_allowed_wait_for_their_turn() {
    let rig = rig(
        NOTHING,
        Limits {
            connections: 3,
            ..Limits::default()
        },
    )
    .await;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(TcpStream::connect(rig.address).await.unwrap());
    }
    let request = b"GET /-/healthy HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut late = TcpStream::connect(rig.address).await.unwrap();
    late.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let too_early =
        tokio::time::timeout(Duration::from_millis(200), late.read_to_end(&mut answer)).await;
    assert!(too_early.is_err(), "a connection too many was served");
    held.clear();
    late.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn an_answer_in_flight_is_finished_before_the_end() {
    let sizes = Sizes {
        integrations: 2,
        integration_connections: 12_000,
        ..NOTHING
    };
    let mut rig = rig(sizes, Limits::default()).await;
    let mut slow = TcpStream::connect(rig.address).await.unwrap();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    slow.readable().await.unwrap();
    let idle = TcpStream::connect(rig.address).await.unwrap();
    rig.shutdown.cancel();
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).await.unwrap();
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    assert_eq!(body.len().to_string(), length);
    rig.daemon.take().unwrap().await.unwrap().unwrap();
    drop(idle);
    assert!(
        TcpStream::connect(rig.address).await.is_err(),
        "nobody listens any more"
    );
}
