//! Cost of a hostile response body of at most 16 MiB: memory, and time of the event loop.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use wiremock::matchers::{any, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::daemon::{daemon_in, page_when, ready};

const MIB: usize = 1 << 20;
/// Maximum size of a response body.
const BODY: usize = 16 * MIB;
/// Maximum memory of a hostile response above that of an ordinary one, in kB.
const MEMORY: u64 = 64 * 1024;
/// Maximum CPU time of the event loop between two health checks, in ns.
const HELD: u64 = 100_000_000;

const ENTITY: &str = "8a808255557baba1015580e12fa5083a";
const ZIS: &str = "/api/services/zis/integrations/n/connections/all";
const TOKEN: &str = "/oauth/token";
const ENTITIES: &str = "/v1/entities";
const LISTING: &str = "/v1/entity-connections";

/// Returns a body of the maximum size that repeats `again`.
fn filled(before: &str, again: &str, after: &str) -> Vec<u8> {
    let room = BODY - before.len() - after.len();
    let again = again.repeat(room / again.len());
    [before.as_bytes(), again.as_bytes(), after.as_bytes()].concat()
}

/// Like [`filled`], with a different text for each number.
fn numbered(before: &str, again: impl Fn(usize) -> String, after: &str) -> Vec<u8> {
    let mut body = before.to_owned();
    for number in 0.. {
        let next = again(number);
        if body.len() + next.len() + after.len() > BODY {
            break;
        }
        body += &next;
    }
    (body + after).into_bytes()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(body).unwrap();
    gzip.finish().unwrap()
}

/// Returns the peak resident memory of a process, in kB.
fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

/// Returns the CPU time of the main thread, which runs the event loop, in ns.
///
/// CPU time does not grow while other processes keep the machine busy.
fn busy(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/task/{process}/schedstat")).unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

fn healthy(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).unwrap();
    let request =
        format!("GET /-/healthy HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Condition that marks the end of a poll.
#[derive(Clone, Copy)]
enum Over<'a> {
    /// The page contains this line. The listing has at most 1,000 connections.
    Line(&'a str),
    /// The daemon is ready. Used for long listings, whose page would take long to read.
    Ready,
}

/// Returns the cost of a poll: peak memory in kB, and longest event-loop time in ns.
///
/// The time is measured between two health checks, until the poll is over. The vendor returns
/// `status` and `body` at the path `at`, and ordinary responses elsewhere.
async fn cost(at: &str, status: u16, body: &[u8], packed: bool, over: Over<'_>) -> (u64, u64) {
    let vendor = MockServer::start().await;
    let mut answer = ResponseTemplate::new(status);
    answer = if packed {
        answer
            .set_body_raw(gzip(body), "application/json")
            .insert_header("content-encoding", "gzip")
    } else {
        answer.set_body_raw(body, "application/json")
    };
    Mock::given(path(at))
        .respond_with(answer)
        .with_priority(1)
        .mount(&vendor)
        .await;
    for (at, body) in [
        (
            TOKEN,
            r#"{"access_token": "t", "expires_in": 3600}"#.to_owned(),
        ),
        (ENTITIES, r#"{"success": true, "entities": []}"#.to_owned()),
        (
            LISTING,
            r#"{"success": true, "entityConnections": []}"#.to_owned(),
        ),
    ] {
        let answer = ResponseTemplate::new(200).set_body_raw(body, "application/json");
        Mock::given(path(at))
            .respond_with(answer)
            .mount(&vendor)
            .await;
    }
    Mock::given(any())
        .respond_with(ResponseTemplate::new(404))
        .with_priority(9)
        .mount(&vendor)
        .await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("t"), "t").unwrap();
    let account = if at == ZIS {
        "zis:\n  - account: a\n    integrations: [{name: n, token_file: t}]\n".to_owned()
    } else {
        format!(
            "zuora:\n  - account: a\n    client_id: i\n    client_secret_file: t\n    entities: \
                [{{id: {ENTITY}, name: n}}]\n"
        )
    };
    let max = match over {
        Over::Line(_) => 1_000,
        Over::Ready => 100_000,
    };
    let text = format!(
        "poll: {{interval: 1h, first_poll_within: 0s, request_timeout: 30s, max_connections: \
            {max}}}\n{account}    requests_per_minute: 60000\n    base_url: {}\n",
        vendor.uri()
    );
    fs::write(folder.path().join("config.yaml"), text).unwrap();
    let daemon = daemon_in(folder.path(), &[]).await;
    let (process, address) = (daemon.id(), daemon.address);
    let end = Arc::new(AtomicBool::new(false));
    let ended = end.clone();
    let probe = std::thread::spawn(move || {
        let (mut longest, mut before) = (0, busy(process));
        while !ended.load(Ordering::Relaxed) {
            healthy(address);
            let now = busy(process);
            longest = longest.max(now - before);
            before = now;
        }
        longest
    });
    match over {
        Over::Line(line) => drop(page_when(address, |page| page.contains(line)).await),
        Over::Ready => ready(address).await,
    }
    end.store(true, Ordering::Relaxed);
    let held = probe.join().unwrap();
    (peak(process), held)
}

fn failing(system: &str, reason: &str) -> String {
    format!(
        "target_failing{{system=\"{system}\",account=\"a\",target=\"n\",reason=\"{reason}\"}} 1"
    )
}

fn up(system: &str) -> String {
    format!("target_up{{system=\"{system}\",account=\"a\",target=\"n\"}} 1")
}

/// Asserts that each body, plain and gzipped, costs little more than an ordinary response.
async fn bear(system: &str, at: &str, attacks: Vec<(&str, u16, Vec<u8>, String)>) {
    let ordinary = match at {
        ZIS => r#"{"oauth": [{"name": "a"}]}"#,
        LISTING => r#"{"success": true, "entityConnections": []}"#,
        TOKEN => r#"{"access_token": "t"}"#,
        _ => r#"{"success": true, "entities": []}"#,
    };
    let (usual, held) = cost(at, 200, ordinary.as_bytes(), false, Over::Line(&up(system))).await;
    println!("{at}: {usual} kB, {held} ns");
    for (what, status, body, over) in attacks {
        assert!(body.len() <= BODY);
        for packed in [false, true] {
            let (memory, held) = cost(at, status, &body, packed, Over::Line(&over)).await;
            let more = memory.saturating_sub(usual);
            println!(
                "{what} (packed: {packed}): {more} kB more, {} ms",
                held / 1_000_000
            );
            assert!(
                more < MEMORY,
                "{what} (packed: {packed}): {more} kB more than {usual}"
            );
            assert!(
                held < HELD,
                "{what} (packed: {packed}): the loop was held for {held} ns"
            );
        }
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table, row by row")]
async fn no_listing_of_a_vendor_takes_much_memory_or_holds_up_the_others() {
    let fails = |reason| failing("zis", reason);
    let list =
        |key: &str, again: &str| filled(&format!("{{\"oauth\": [], \"{key}\": ["), again, "0]}");
    let attacks = vec![
        ("unknown rows", 200, list("x", "{},"), fails("too_large")),
        ("lists of nothing", 200, list("x", "[],"), up("zis")),
        (
            "unknown object",
            200,
            filled("{\"oauth\": [], \"x\": {", "\"\":{},", "\"\":0}}"),
            up("zis"),
        ),
        (
            "nameless rows",
            200,
            filled("{\"oauth\": [", "{},", "{}]}"),
            fails("decode"),
        ),
        (
            "one row again and again",
            200,
            filled("{\"oauth\": [", "{\"name\":\"a\"},", "{}]}"),
            fails("too_large"),
        ),
        (
            "keys",
            200,
            filled("{", "\"a\":1,", "\"a\":1}"),
            fails("decode"),
        ),
        (
            "depth",
            200,
            filled("{\"oauth\": [], \"x\": ", "[", ""),
            fails("decode"),
        ),
        (
            "a long name",
            200,
            filled("{\"oauth\": [{\"name\": \"", "x", "\"}]}"),
            up("zis"),
        ),
        (
            "a long name of escapes",
            200,
            filled("{\"oauth\": [{\"name\": \"", "\\u00e9", "\"}]}"),
            up("zis"),
        ),
        (
            "surrogates",
            200,
            filled("{\"oauth\": [{\"name\": \"", "\\ud83d", "\"}]}"),
            up("zis"),
        ),
        (
            "a long number",
            200,
            filled("{\"oauth\": [{\"name\": \"a\", \"uuid\": ", "1", "}]}"),
            up("zis"),
        ),
        (
            "scopes",
            200,
            filled(
                "{\"oauth\": [{\"name\": \"a\", \"permission_scope\": [",
                "\"\",",
                "0]}]}",
            ),
            up("zis"),
        ),
        (
            "a long cursor",
            200,
            filled(
                "{\"oauth\": [{\"name\": \"a\"}], \"meta\": {\"has_more\": true, \"after\": \"",
                "x",
                "\"}}",
            ),
            fails("decode"),
        ),
        ("no text", 200, vec![0xff; BODY], fails("decode")),
        (
            "a bit of no text",
            200,
            [
                &filled("{\"oauth\": [], \"x\": \"", "x", "\"}")[..BODY - 100_002],
                &vec![0xff; 100_000][..],
                b"\"}",
            ]
            .concat(),
            up("zis"),
        ),
        (
            "errors",
            200,
            filled("{\"errors\": [", "{},", "{}]}"),
            fails("decode"),
        ),
        (
            "errors of a refusal",
            401,
            filled("{\"errors\": [", "{},", "{}]}"),
            fails("unauthorized"),
        ),
        (
            "no reason",
            500,
            filled("{\"x\": [", "[[]],", "{}]}"),
            fails("server_error"),
        ),
    ];
    bear("zis", ZIS, attacks).await;
}

#[tokio::test]
async fn no_answer_of_a_tenant_takes_much_memory_or_holds_up_the_others() {
    let fails = |reason| failing("zuora", reason);
    let counted = |reason| {
        format!("api_errors_total{{system=\"zuora\",account=\"a\",reason=\"{reason}\"}} 1")
    };
    let attacks = vec![
        (
            "rows",
            200,
            filled("{\"entityConnections\": [", "{},", "{}]}"),
            fails("too_large"),
        ),
        (
            "different rows",
            200,
            numbered(
                "{\"entityConnections\": [",
                |n| format!("{{\"id\":\"{n}\"}},"),
                "{}]}",
            ),
            fails("too_large"),
        ),
        (
            "a long id",
            200,
            filled(
                "{\"entityConnections\": [{\"sourceEntityId\": \"",
                "-X",
                "\"}]}",
            ),
            up("zuora"),
        ),
        (
            "reasons",
            200,
            filled(
                "{\"success\": false, \"reasons\": [",
                "{\"code\":1},",
                "{}]}",
            ),
            fails("refused"),
        ),
    ];
    bear("zuora", LISTING, attacks).await;
    let attacks = vec![
        (
            "entities",
            200,
            filled("{\"entities\": [", "{},", "{}]}"),
            counted("too_large"),
        ),
        (
            "a long entity",
            200,
            filled("{\"entities\": [{\"id\": \"", "-", "\"}]}"),
            up("zuora"),
        ),
    ];
    bear("zuora", ENTITIES, attacks).await;
    let attacks = vec![
        (
            "a token for everything",
            200,
            numbered(
                "{\"access_token\": \"t\", \"scope\": \"",
                |n| format!("entity.{n:032x} "),
                "\"}",
            ),
            fails("too_large"),
        ),
        (
            "scopes of a token",
            200,
            filled("{\"access_token\": \"t\", \"scope\": [", "\"\",", "0]}"),
            up("zuora"),
        ),
        (
            "a long token",
            200,
            filled("{\"access_token\": \"", " ", "\"}"),
            fails("decode"),
        ),
    ];
    bear("zuora", TOKEN, attacks).await;
}

#[tokio::test]
async fn a_listing_of_50_000_connections_holds_up_nobody() {
    let row = |n: usize| {
        let date = "2030-01-01T00:00:00Z";
        format!(
            "{{\"name\":\"connection {n}\",\"uuid\":\"{n:032x}\",\"token_expiry\":\"{date}\",\"created_at\":\"{date}\",\"updated_at\":\"{date}\"}}"
        )
    };
    let rows: Vec<_> = (0..50_000).map(row).collect();
    let body = format!("{{\"oauth\": [{}]}}", rows.join(","));
    let (memory, held) = cost(ZIS, 200, body.as_bytes(), false, Over::Ready).await;
    println!("{memory} kB, {} ms", held / 1_000_000);
    assert!(held < HELD, "the loop was held for {held} ns");
}
