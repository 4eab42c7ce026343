//! Soak test: memory, descriptors and tasks stay level under vendor faults and abusive clients.

use std::net::SocketAddr;
use std::time::Duration;

use connections_simulator::{Fault, Kind, RetryAfter, Sizes};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::daemon::daemon_in_files;
use crate::harness::{Harness, ONCE, PATIENCE, Page};

/// Shortest time before the first measurement.
const WARM: Duration = Duration::from_mins(1);
/// Polls with each outcome before each measurement; a busy machine takes longer for them.
const POLLS: f64 = 30.0;
/// Maximum number of measurements after the first one. In one of them, memory must not have grown.
///
/// A leak grows between any two measurements. The allocator's heap grows only at first, until large
/// listings have been in memory together in every combination.
const ATTEMPTS: usize = 4;
/// Duration of each fault; the next one follows after [`HEALTHY`].
const FAULTY: Duration = Duration::from_secs(1);
const HEALTHY: Duration = Duration::from_millis(500);
/// Duration of one round of all faults.
const ROUND: Duration = Duration::from_millis(1500 * FAULTS.len() as u64);
const FAULTS: [Kind; 13] = [
    Kind::ExpiredToken,
    Kind::TooManyRequests,
    Kind::RevokedToken,
    Kind::Reset,
    Kind::Drip,
    Kind::Truncate,
    Kind::ExpiredToken,
    Kind::Hang,
    Kind::Html,
    Kind::WrongTypes,
    Kind::Endless,
    Kind::RepeatCursor,
    Kind::InternalServerError,
];

/// Values that must stay level, at one point in time.
#[derive(Debug, Clone, Copy)]
struct Level {
    resident_kib: u64,
    descriptors: u64,
    tasks: u64,
}

async fn level(process: u32, address: SocketAddr) -> Level {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd"))
        .unwrap()
        .count();
    let page = Page(crate::daemon::get(address, "/metrics").await);
    let tasks = page.value(&["connections_exporter_tasks"]).unwrap();
    Level {
        resident_kib: resident
            .trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .unwrap(),
        descriptors: descriptors as u64,
        tasks: format!("{tasks}").parse().unwrap(),
    }
}

/// Returns the median of each value over one round of faults, because single values fluctuate with
/// clients and listings.
async fn levels(process: u32, address: SocketAddr) -> Level {
    let mut levels = Vec::new();
    let end = Instant::now() + ROUND;
    while Instant::now() < end {
        levels.push(level(process, address).await);
        sleep(Duration::from_millis(500)).await;
    }
    let median = |of: fn(&Level) -> u64| {
        let mut values: Vec<_> = levels.iter().map(of).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    Level {
        resident_kib: median(|level| level.resident_kib),
        descriptors: median(|level| level.descriptors),
        tasks: median(|level| level.tasks),
    }
}

/// Waits at least for `time` and for [`POLLS`] more polls with each outcome than `before`, and
/// returns how many succeeded and how many failed so far.
async fn polled(address: SocketAddr, time: Duration, before: [f64; 2]) -> [f64; 2] {
    sleep(time).await;
    let polled = async {
        loop {
            let page = Page(crate::daemon::get(address, "/metrics").await);
            let polls = ["success", "failure"].map(|outcome| page.sum(&["polls_total{", outcome]));
            if (0..2).all(|n| polls[n] >= before[n] + POLLS) {
                return polls;
            }
            sleep(HEALTHY).await;
        }
    };
    timeout(4 * PATIENCE, polled).await.expect("it polls")
}

/// Scrapes continuously, with 20 ms between two scrapes.
async fn scrapes(address: SocketAddr, gzip: bool) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    loop {
        let mut request = client.get(format!("http://{address}/metrics"));
        if gzip {
            request = request.header("accept-encoding", "gzip");
        }
        if let Ok(answer) = request.send().await {
            let _ = answer.bytes().await;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Sends unfinished requests, requests pages without reading them, and sends no HTTP at all.
async fn bad_manners(address: SocketAddr) {
    let mut ticks = interval(Duration::from_millis(200));
    let mut open = Vec::new();
    for n in 0_u64.. {
        ticks.tick().await;
        let Ok(mut stream) = TcpStream::connect(address).await else {
            continue;
        };
        let text: &[u8] = match n % 3 {
            0 => b"GET /metrics HTTP/1.1\r\nhost: x\r\nx-never: ",
            1 => {
                b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\nGET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"
            }
            _ => b"nonsense\r\n\r\n",
        };
        let _ = stream.write_all(text).await;
        let _ = timeout(Duration::from_millis(5), stream.read(&mut [0; 64])).await;
        open.push(stream);
        // The number of open connections stays constant.
        if open.len() > 30 {
            open.remove(0);
        }
    }
}

#[tokio::test]
#[ignore = "takes two minutes, which make test has"]
async fn nothing_grows_while_everything_goes_wrong() {
    let seconds = std::env::var("SOAK_SECONDS").map_or(120, |text| text.parse().unwrap());
    let sizes = Sizes {
        integrations: 10,
        integration_connections: 120,
        ..Sizes::default()
    };
    let harness = Harness::start(sizes, ONCE).await;
    harness.ready().await;
    let state = tempfile::tempdir().unwrap();
    let flag = format!("--state.dir={}", state.path().display());
    // If the fault ends in time, an endless listing grows up to this limit.
    let poll = "1s\n  max_connections: 1000";
    let (_folder, mut daemon) =
        daemon_in_files(&harness, poll, &["--log.level=error", &flag]).await;
    let (process, address) = (daemon.id(), daemon.address);
    let _clients = [
        AbortOnDropHandle::new(tokio::spawn(scrapes(address, true))),
        AbortOnDropHandle::new(tokio::spawn(scrapes(address, false))),
        AbortOnDropHandle::new(tokio::spawn(bad_manners(address))),
    ];
    let simulator = harness.simulator.clone();
    let _faults = AbortOnDropHandle::new(tokio::spawn(async move {
        for kind in FAULTS.iter().cycle() {
            simulator.fail(Fault {
                retry_after: Some(RetryAfter::Seconds(1)),
                ..Fault::new(*kind)
            });
            sleep(FAULTY).await;
            simulator.heal();
            sleep(HEALTHY).await;
        }
    }));
    let window = Duration::from_secs(seconds).saturating_sub(WARM + 2 * ROUND);
    let mut polls = polled(address, WARM, [0.0; 2]).await;
    let mut before = levels(process, address).await;
    for attempt in 1..=ATTEMPTS {
        polls = polled(address, window, polls).await;
        let after = levels(process, address).await;
        println!("{polls:?} polls succeeded and failed; first {before:?}, then {after:?}");
        // The number of open connections fluctuates.
        assert!(
            after.descriptors <= before.descriptors + 10,
            "{before:?}, {after:?}"
        );
        assert!(after.tasks <= before.tasks + 10, "{before:?}, {after:?}");
        let most = before.resident_kib + (before.resident_kib / 20).max(2048);
        if after.resident_kib <= most {
            break;
        }
        assert!(attempt < ATTEMPTS, "it grew again: {before:?}, {after:?}");
        before = after;
    }
    daemon.signal("TERM");
    assert!(daemon.end().0.success());
}
