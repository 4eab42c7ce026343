//! Clients that flood the server without a request: their connections are closed, others served.

use connections_exporter::web::ServerLimits;
use rustls::crypto::aws_lc_rs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, sink, split};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::limits::PREFACE;
use super::served::{PATIENCE, Served, TLS};
use super::tls::connect;

/// More bytes than the buffers of a connection hold, and far more than is read of a flood.
const FLOOD: usize = 64 * 1024 * 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// Function that encodes the next frames of a flood, given a running number.
type Next = Box<dyn FnMut(u32) -> Vec<u8>>;

/// Encodes an HTTP/2 frame (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let stream = stream.to_be_bytes();
    [&length[1..], &[kind, flags], &stream, payload].concat()
}

/// Encodes a HEADERS frame of a GET with `END_HEADERS`, and `END_STREAM` if `ends`.
fn get(stream: u32, path: &str, ends: bool) -> Vec<u8> {
    let text = |name: u8, value: &str| {
        let length = u8::try_from(value.len()).unwrap();
        [&[name, length], value.as_bytes()].concat()
    };
    // Indexed `:method: GET` and `:scheme: https`; `:path` and `:authority` by the indexes of
    // their names in HPACK's static table (RFC 7541, appendix A).
    let block = [vec![0x82, 0x87], text(0x04, path), text(0x01, "x")].concat();
    frame(HEADERS, 0x4 | u8::from(ends), stream, &block)
}

/// Sends `first`, then the frames of `next` repeatedly; returns the bytes sent until the connection
/// ends.
async fn taken(served: &Served, first: &[u8], mut next: impl FnMut(u32) -> Vec<u8>) -> usize {
    let provider = aws_lc_rs::default_provider();
    let stream = connect(served, rustls::ALL_VERSIONS, provider, &["h2"]).await;
    let (mut reading, mut writing) = split(stream.unwrap());
    let read = async {
        // The connection may end with or without an error.
        let _ = tokio::io::copy(&mut reading, &mut sink()).await;
    };
    let write = async {
        let mut sent = 0;
        let mut result = writing.write_all(&[PREFACE, first].concat()).await;
        for round in 0.. {
            if result.is_err() || sent > FLOOD {
                break;
            }
            let mut frames = Vec::new();
            for n in 0..100 {
                frames.extend(next(round * 100 + n));
            }
            result = writing.write_all(&frames).await;
            sent += frames.len();
            // The reader is on the same thread.
            tokio::task::yield_now().await;
        }
        let _ = writing.flush().await;
        sent
    };
    let (sent, ()) = timeout(PATIENCE * 4, async { tokio::join!(write, read) })
        .await
        .expect("the connection does not end");
    sent
}

#[tokio::test]
async fn floods_of_frames_that_ask_nothing_end_their_connection() {
    let served = Served::start(TLS).await;
    let upload = get(1, "/metrics", false);
    let unfinished = {
        let mut head = get(1, "/metrics", true);
        // END_STREAM without END_HEADERS: the field block continues.
        head[4] = 0x1;
        head
    };
    let none = Vec::new();
    let same = |frame: Vec<u8>| move |_: u32| frame.clone();
    let floods: [(&str, &[u8], Next); 8] = [
        ("PING", &none, Box::new(same(frame(PING, 0, 0, &[7; 8])))),
        (
            "SETTINGS",
            &none,
            Box::new(same(frame(SETTINGS, 0, 0, &[]))),
        ),
        (
            "empty DATA",
            &upload,
            Box::new(same(frame(DATA, 0, 1, &[]))),
        ),
        (
            "WINDOW_UPDATE",
            &none,
            Box::new(same(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))),
        ),
        (
            "PRIORITY",
            &none,
            Box::new(same(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]))),
        ),
        ("unknown", &none, Box::new(same(frame(0x77, 0, 0, &[])))),
        (
            "CONTINUATION",
            &unfinished,
            Box::new(same(frame(CONTINUATION, 0, 1, &[]))),
        ),
        (
            "rapid reset",
            &none,
            Box::new(|n| {
                let stream = 2 * n + 1;
                let reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
                [get(stream, "/metrics", true), reset].concat()
            }),
        ),
    ];
    for (name, first, next) in floods {
        let sent = taken(&served, first, next).await;
        assert!(sent < FLOOD, "{name}: {sent} bytes were taken");
        let newcomer = served.tls("/-/healthy").send().await.unwrap();
        assert_eq!(newcomer.status(), 200, "after {name}");
    }
}

#[tokio::test]
async fn who_opens_streams_and_abandons_their_answers_is_cut_off() {
    let served = Served::start(TLS).await;
    let provider = aws_lc_rs::default_provider();
    let stream = connect(&served, rustls::ALL_VERSIONS, provider, &["h2"]).await;
    let (mut reading, mut writing) = split(stream.unwrap());
    let reading = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut reading, &mut sink()).await;
    });
    // SETTINGS_INITIAL_WINDOW_SIZE of 0: no response can be sent.
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    writing
        .write_all(&[PREFACE, &settings].concat())
        .await
        .unwrap();
    let mut reset = 0;
    while !reading.is_finished() {
        assert!(reset < 5000, "{reset} streams were opened and reset");
        let stream = 2 * reset + 1;
        // Reset each stream after the server has accepted it, so that the library's limit on resets
        // of streams that are not yet accepted does not apply.
        let mut sent = writing.write_all(&get(stream, "/metrics", true)).await;
        for _ in 0..2 {
            let _ = writing.flush().await;
            sleep(std::time::Duration::from_millis(2)).await;
            if sent.is_ok() {
                let end = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
                sent = writing.write_all(&end).await;
            }
        }
        if sent.is_err() {
            break;
        }
        reset += 1;
    }
    assert!(reset > 20, "{reset}");
}

#[tokio::test]
async fn lines_before_a_request_and_bodies_that_nobody_reads_end_their_connection() {
    let served = Served::limited("", ServerLimits::default()).await;
    for (first, flood) in [
        (&b""[..], &b"\r\n\r\n\r\n\r\n"[..]),
        (
            b"POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n",
            b"content ",
        ),
        (
            b"GET /metrics HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n",
        ),
    ] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(first).await.unwrap();
        let (mut reading, mut writing) = stream.split();
        let read = async {
            let _ = tokio::io::copy(&mut reading, &mut sink()).await;
        };
        let write = async {
            let flood = flood.repeat(4096);
            let mut sent = 0;
            while sent < FLOOD && writing.write_all(&flood).await.is_ok() {
                sent += flood.len();
                tokio::task::yield_now().await;
            }
            sent
        };
        let (sent, ()) = timeout(PATIENCE, async { tokio::join!(write, read) })
            .await
            .expect("the connection does not end");
        assert!(sent < FLOOD, "{:?}", String::from_utf8_lossy(flood));
    }
    let newcomer = served.plain("/-/healthy").send().await.unwrap();
    assert_eq!(newcomer.status(), 200);
    let mut rest = Vec::new();
    let mut quiet = TcpStream::connect(served.address).await.unwrap();
    let once = b"GET /-/healthy HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    quiet.write_all(once).await.unwrap();
    quiet.read_to_end(&mut rest).await.unwrap();
    assert!(rest.starts_with(b"HTTP/1.1 200"));
}
