//! The HTTP server: routes, limits and shutdown.

use std::io::Read as _;
use std::time::Duration;

use connections_exporter::web::ServerLimits;
use connections_simulator::{Sizes, World};
use jiff::Timestamp;
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Harness, ONCE, PATIENCE};

const SHORT: Duration = Duration::from_millis(200);

/// Deadline that is longer than any test.
const HOUR: Duration = Duration::from_hours(1);

const NOTHING: Sizes = Sizes {
    entities: 0,
    entity_connections: 0,
    integrations: 1,
    integration_connections: 1,
};

async fn harness(sizes: Sizes, limits: ServerLimits) -> Harness {
    let harness = Harness::start_with(World::new(sizes, 1, Timestamp::now()), ONCE, limits).await;
    harness.ready().await;
    harness
}

async fn ask(
    harness: &Harness,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> reqwest::Response {
    let client = reqwest::Client::builder()
        .no_proxy()
        .no_gzip()
        .build()
        .unwrap();
    let mut request = client.request(method, format!("http://{}{path}", harness.address));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn each_path_answers_as_it_should() {
    let harness = harness(NOTHING, ServerLimits::default()).await;
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
        let answer = ask(&harness, Method::GET, path, &[]).await;
        assert_eq!(
            (
                answer.status().as_u16(),
                answer.headers()["content-type"].to_str().unwrap()
            ),
            (status, content_type),
            "{path}"
        );
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        let head = ask(&harness, Method::HEAD, path, &[]).await;
        assert_eq!(head.status().as_u16(), status, "{path}");
        assert_eq!(head.bytes().await.unwrap().len(), 0);
        if status == 200 {
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
                let refused = ask(&harness, method, path, &[]).await;
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
    let text = ask(&harness, Method::GET, "/nowhere", &[])
        .await
        .text()
        .await
        .unwrap();
    for path in ["/metrics", "/-/healthy", "/-/ready", "/sd"] {
        assert!(text.contains(path), "{text}");
    }
    let index = ask(&harness, Method::GET, "/", &[])
        .await
        .text()
        .await
        .unwrap();
    assert!(index.contains("<a href=\"/metrics\">") && index.contains(env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn the_gzip_page_is_one_member_of_the_same_text() {
    let harness = harness(
        Sizes {
            integrations: 3,
            integration_connections: 200,
            ..Sizes::default()
        },
        ServerLimits::default(),
    )
    .await;
    let gzip = ask(
        &harness,
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
    let plain = ask(&harness, Method::GET, "/metrics", &[]).await;
    assert!(plain.headers().get("content-encoding").is_none());
    let plain = plain.text().await.unwrap();
    // Values that change between two scrapes are left out.
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
    let limits = ServerLimits {
        requests: 0,
        slot_wait: Duration::from_millis(10),
        ..ServerLimits::default()
    };
    let harness = harness(NOTHING, limits).await;
    assert_eq!(harness.get("/metrics").await.status(), 503);
    assert_eq!(harness.get("/-/healthy").await.status(), 200);
    assert_eq!(harness.get("/-/ready").await.status(), 200);
}

#[tokio::test]
async fn slow_readers_of_a_large_page_keep_no_scrape_out() {
    let sizes = Sizes {
        integrations: 2,
        integration_connections: 12_000,
        ..NOTHING
    };
    let limits = ServerLimits {
        requests: 4,
        slot_wait: PATIENCE,
        write: HOUR,
        ..ServerLimits::default()
    };
    let harness = harness(sizes, limits).await;
    let mut slow = Vec::new();
    for scrape in 0..6 {
        // Each round takes more than all response slots.
        for _ in 0..8 {
            let mut stream = TcpStream::connect(harness.address).await.unwrap();
            let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
            stream.write_all(request).await.unwrap();
            stream.readable().await.unwrap();
            slow.push(stream);
        }
        let answer = harness.get("/metrics").await;
        assert_eq!(answer.status(), 200, "{scrape}");
        let page = answer.text().await.unwrap();
        assert!(page.contains("saas_connection_info{"), "{scrape}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_cut_off_even_if_it_sips() {
    let sizes = Sizes {
        integrations: 2,
        integration_connections: 12_000,
        ..NOTHING
    };
    let harness = harness(
        sizes,
        ServerLimits {
            write: Duration::from_millis(300),
            ..ServerLimits::default()
        },
    )
    .await;
    let mut slow = TcpStream::connect(harness.address).await.unwrap();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let (mut taken, mut sip) = (0, [0; 1000]);
    let begun = tokio::time::Instant::now();
    while let Ok(bytes @ 1..) = slow.read(&mut sip).await {
        taken += bytes;
        tokio::task::yield_now().await;
        // At this rate the whole page would take minutes to send.
        tokio::time::timeout(Duration::from_millis(2), std::future::pending::<()>())
            .await
            .unwrap_err();
        assert!(
            begun.elapsed() < PATIENCE,
            "still being served after {taken} bytes"
        );
    }
    let whole = harness.get("/metrics").await.bytes().await.unwrap().len();
    assert!(taken < whole, "{taken} of {whole}");
}

#[tokio::test]
async fn unfinished_headers_and_idle_connections_end() {
    let harness = harness(
        NOTHING,
        ServerLimits {
            next_request: Duration::from_millis(200),
            ..ServerLimits::default()
        },
    )
    .await;
    for begin in [
        &b""[..],
        b"GET /metrics HT",
        b"GET /metrics HTTP/1.1\r\nhost: x\r\n",
        b"GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(harness.address).await.unwrap();
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
async fn the_first_request_must_come_soon_and_later_ones_have_their_time() {
    let limits = ServerLimits {
        first_request: Duration::from_millis(200),
        next_request: HOUR,
        ..ServerLimits::default()
    };
    let harness = harness(NOTHING, limits).await;
    let mut asked = TcpStream::connect(harness.address).await.unwrap();
    let request = b"GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n";
    asked.write_all(request).await.unwrap();
    for begin in [&b""[..], b"GET /-/hea", b"GET / HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = TcpStream::connect(harness.address).await.unwrap();
        stream.write_all(begin).await.unwrap();
        let end = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        let begin = String::from_utf8_lossy(begin);
        assert!(end.is_ok(), "{begin:?} keeps its connection");
    }
    // This connection is older than all of those, but has sent a request before.
    asked.write_all(request).await.unwrap();
    let mut answers = [0; 1024];
    let mut read = String::new();
    while read.matches("HTTP/1.1 200").count() < 2 {
        let bytes = asked.read(&mut answers).await.unwrap();
        assert!(bytes > 0, "it was ended: {read}");
        read += str::from_utf8(&answers[..bytes]).unwrap();
    }
}

#[tokio::test]
async fn a_newcomer_gets_the_place_of_the_connection_that_is_idle_for_longest() {
    let limits = ServerLimits {
        connections: 20,
        first_request: HOUR,
        next_request: HOUR,
        ..ServerLimits::default()
    };
    let harness = harness(NOTHING, limits).await;
    for begin in [
        &b""[..],
        b"GET /metrics HTTP/1.1\r\nhost: x\r\n",
        b"GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let mut held = Vec::new();
        for _ in 0..60 {
            let mut stream = TcpStream::connect(harness.address).await.unwrap();
            // The server may already have closed the connection.
            let _ = stream.write_all(begin).await;
            held.push(stream);
        }
        for path in ["/-/healthy", "/metrics"] {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let url = format!("http://{}{path}", harness.address);
            let answer = timeout(PATIENCE, client.get(url).send()).await;
            let answer = answer.expect("a newcomer waits for the idle ones");
            assert_eq!(answer.unwrap().status(), 200, "{path}");
        }
        // The oldest connections are closed, and the newest are not.
        let mut rest = Vec::new();
        let first = held[0].read_to_end(&mut rest);
        let _ = timeout(PATIENCE, first).await.expect("it is still open");
        let last = held.last_mut().unwrap();
        let still = timeout(SHORT, async {
            while last.read(&mut [0; 512]).await.unwrap() > 0 {}
        });
        assert!(still.await.is_err(), "the youngest was closed");
    }
}

#[tokio::test]
async fn an_answer_under_way_outlives_any_number_of_idle_newcomers() {
    let sizes = Sizes {
        integrations: 2,
        integration_connections: 12_000,
        ..NOTHING
    };
    let limits = ServerLimits {
        connections: 5,
        first_request: HOUR,
        ..ServerLimits::default()
    };
    let harness = harness(sizes, limits).await;
    let mut slow = TcpStream::connect(harness.address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    slow.write_all(request).await.unwrap();
    slow.readable().await.unwrap();
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(TcpStream::connect(harness.address).await.unwrap());
        assert_eq!(harness.get("/-/healthy").await.status(), 200);
    }
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).await.unwrap();
    assert!(answer.ends_with(b"\n") && answer.len() > 1_000_000);
}

/// Sends these bytes, and returns everything received until the connection ends.
async fn said(harness: &Harness, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(harness.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the connection does not end")
        .unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn what_breaks_the_rules_of_http_is_refused_with_the_status_for_it() {
    let harness = harness(NOTHING, ServerLimits::default()).await;
    let long = |length| format!("GET /metrics?{} HTTP/1.1\r\nHost: x", "a".repeat(length));
    for (head, status) in [
        ("GET /metrics HTTP/1.1", 400),
        ("GET /metrics HTTP/1.0", 200),
        ("GET /metrics HTTP/1.1\r\nHost: x", 200),
        ("GET /metrics HTTP/1.1\r\nHost:", 200),
        ("GET /metrics HTTP/1.1\r\nHost: [::1]:9932", 200),
        ("GET /metrics HTTP/1.1\r\nHost: x\r\nHost: x", 400),
        ("GET /metrics HTTP/1.0\r\nHost: x\r\nHost: y", 400),
        ("GET /metrics HTTP/1.1\r\nHost: a b", 400),
        ("GET /metrics HTTP/1.1\r\nHost: x/y", 400),
        ("GET /metrics HTTP/1.1\r\nHost: u@x", 400),
        ("GET /-/healthy HTTP/1.1", 400),
        ("GET /metrics HTTP/1.1\r\nHost: x\r\nExpect: foo", 417),
        (
            "GET /metrics HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue",
            200,
        ),
        (
            "GET /metrics HTTP/1.1\r\nHost: x\r\nExpect: 100-continue, foo",
            417,
        ),
        ("OPTIONS * HTTP/1.1\r\nHost: x", 200),
        ("GET * HTTP/1.1\r\nHost: x", 400),
        ("BREW /metrics HTTP/1.1\r\nHost: x", 501),
        ("get /metrics HTTP/1.1\r\nHost: x", 501),
        ("BREW /nowhere HTTP/1.1\r\nHost: x", 501),
        ("PATCH /metrics HTTP/1.1\r\nHost: x", 405),
        ("TRACE / HTTP/1.1\r\nHost: x", 405),
        ("CONNECT x:443 HTTP/1.1\r\nHost: x:443", 405),
        ("GET /%6detrics HTTP/1.1\r\nHost: x", 200),
        ("GET /-/%68ealthy HTTP/1.1\r\nHost: x", 200),
        ("GET /./a/../metrics HTTP/1.1\r\nHost: x", 200),
        ("GET //metrics HTTP/1.1\r\nHost: x", 404),
        ("GET /-%2fhealthy HTTP/1.1\r\nHost: x", 404),
        ("GET /%zz HTTP/1.1\r\nHost: x", 400),
        ("GET /metrics?account=%zz HTTP/1.1\r\nHost: x", 400),
        ("GET /metrics?account=%ff HTTP/1.1\r\nHost: x", 400),
        ("GET /metrics?account=%6d HTTP/1.1\r\nHost: x", 200),
        ("GET http://x/metrics HTTP/1.1\r\nHost: x", 200),
        ("GET http://x/metrics HTTP/1.1", 400),
        ("GET http://x HTTP/1.1\r\nHost: x", 200),
        (&long(7000), 400),
        (&long(40_000), 414),
        (&long(60_000), 414),
    ] {
        let answer = said(
            &harness,
            format!("{head}\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .await;
        let shown = &head[..head.len().min(80)];
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} "))
                || answer.starts_with(&format!("HTTP/1.0 {status} ")),
            "{shown}: {status}, not {answer}"
        );
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(
            head.contains("\r\nallow: "),
            status == 405 || shown.starts_with("OPTIONS"),
            "{shown}: {head}"
        );
        // No account has this name, so the page is empty.
        let nothing = shown.starts_with("OPTIONS") || shown.contains("account=%6d");
        assert_eq!(body.is_empty(), nothing, "{shown}");
    }
}

#[tokio::test]
async fn who_speaks_http_2_where_it_is_not_spoken_is_told_so() {
    let harness = harness(NOTHING, ServerLimits::default()).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let answer = said(&harness, preface).await;
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("This connection uses HTTP/1.1"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_no_request_and_requests_may_come_at_once() {
    let harness = harness(NOTHING, ServerLimits::default()).await;
    let hidden = "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n";
    let end = "GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let statuses = async |text: String| {
        let answer = said(&harness, text.as_bytes()).await;
        let lines = answer.lines().filter_map(|l| l.strip_prefix("HTTP/1.1 "));
        lines.map(|line| line[..3].to_owned()).collect::<Vec<_>>()
    };
    let first = "GET /-/healthy HTTP/1.1\r\nHost: x\r\n";
    let twice = statuses(format!("{first}\r\n{end}")).await;
    assert_eq!(twice, ["200", "200"]);
    let length = hidden.len();
    for body in [
        format!("Content-Length: {length}\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{hidden}\r\n0\r\n\r\n"),
    ] {
        let seen = statuses(format!("{first}{body}{end}")).await;
        assert!(
            !seen.is_empty() && seen.iter().all(|s| s == "200"),
            "{seen:?}"
        );
    }
    // Ambiguous framing is rejected (RFC 9112, section 6.3).
    for bad in [
        format!("Content-Length: 1\r\nContent-Length: 2\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: gzip\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: chunked, gzip\r\n\r\n{hidden}"),
    ] {
        assert_eq!(statuses(format!("{first}{bad}")).await, ["400"], "{bad}");
    }
}

#[tokio::test]
async fn an_answer_in_flight_is_finished_before_the_end() {
    let sizes = Sizes {
        integrations: 2,
        integration_connections: 12_000,
        ..NOTHING
    };
    let mut harness = harness(sizes, ServerLimits::default()).await;
    let mut slow = TcpStream::connect(harness.address).await.unwrap();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    slow.readable().await.unwrap();
    let idle = TcpStream::connect(harness.address).await.unwrap();
    harness.shutdown.cancel();
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).await.unwrap();
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    assert_eq!(body.len().to_string(), length);
    harness.daemon.take().unwrap().await.unwrap().unwrap();
    drop(idle);
    assert!(
        TcpStream::connect(harness.address).await.is_err(),
        "nobody listens any more"
    );
}
