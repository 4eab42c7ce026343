//! Time for which polls keep the event loop busy.
//!
//! `benches/table` reads the output. It has a line for each load: its name, the number of periods
//! in which the loop was busy, and the median, the 99.9th percentile and the maximum of the CPU
//! time of a period, in microseconds. A scrape that comes in a period waits at most for its end.
//! It waits less if the loop looks at its sockets before that, which is not seen here. Nothing is
//! scraped, and CPU time does not include what other processes take.

#![expect(clippy::disallowed_macros, reason = "for who runs it by hand")]
#![expect(
    clippy::disallowed_methods,
    reason = "the files are written before anything runs"
)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use connections_exporter::cli::Cli;
use connections_exporter::commands;
use connections_simulator::{Simulator, Sizes, World};
use http::Request;
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// Time that is measured, and the time before it for the first polls.
const MEASURED: Duration = Duration::from_secs(20);
const WARMUP: Duration = Duration::from_secs(5);

struct Load {
    name: &'static str,
    integrations: usize,
    connections: usize,
    /// Time between two polls of a target, in seconds.
    interval: u64,
    /// Whether each poll finds another connection.
    changes: bool,
}

const LOADS: [Load; 5] = [
    Load {
        name: "200 targets of 50 connections",
        integrations: 200,
        connections: 50,
        interval: 4,
        changes: true,
    },
    Load {
        name: "20 targets of 500 connections",
        integrations: 20,
        connections: 500,
        interval: 1,
        changes: true,
    },
    Load {
        name: "5 targets of 1,000 connections",
        integrations: 5,
        connections: 1000,
        interval: 1,
        changes: true,
    },
    Load {
        name: "one target of 10,000 connections",
        integrations: 1,
        connections: 10_000,
        interval: 1,
        changes: true,
    },
    Load {
        name: "one target of 10,000 connections, unchanged",
        integrations: 1,
        connections: 10_000,
        interval: 1,
        changes: false,
    },
];

fn main() {
    for load in LOADS {
        let mut busy = measured(&load);
        busy.sort_unstable();
        let at = |part: f64| {
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss
            )]
            let index = (busy.len() as f64 * part) as usize;
            busy[index.min(busy.len() - 1)].as_micros()
        };
        let (name, count) = (load.name, busy.len());
        println!("{name}: {count} {} {} {}", at(0.5), at(0.999), at(1.0));
    }
}

/// Returns the CPU time of each period in which the loop of a daemon with this load was busy.
fn measured(load: &Load) -> Vec<Duration> {
    let folder = tempfile::tempdir().expect("a temporary directory");
    // The thread that changes connections ends with this.
    let running = Arc::new(());
    let simulator = simulated(load, folder.path(), &running);
    let config = folder.path().join("config.yaml").display().to_string();
    let flags = ["--web.listen-address=127.0.0.1:0", "--log.level=error"];
    let arguments = ["bench", "--config.file", &config].into_iter().chain(flags);
    let cli = Cli::read(arguments.map(Into::into)).expect("the flags are right");
    let begun = Arc::new(Mutex::new(Duration::ZERO));
    let periods = Arc::new(Mutex::new(Vec::new()));
    let (start, end) = (begun.clone(), begun);
    let ended = periods.clone();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .on_thread_unpark(move || *start.lock().expect("no panic") = cpu_time())
        .on_thread_park(move || {
            let period = cpu_time().saturating_sub(*end.lock().expect("no panic"));
            ended.lock().expect("no panic").push(period);
        })
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let warm = async {
            sleep(WARMUP).await;
            let before = listed(&simulator).await;
            periods.lock().expect("no panic").clear();
            sleep(MEASURED).await;
            let pages = listed(&simulator).await - before;
            let planned = load.integrations * load.connections.div_ceil(100);
            let planned = planned as u64 * MEASURED.as_secs() / load.interval;
            assert!(
                pages >= planned * 9 / 10,
                "{pages} pages instead of {planned}"
            );
        };
        tokio::select! {
            result = commands::run(&cli) => panic!("the daemon ended: {result:?}"),
            () = warm => {}
        }
    });
    runtime.shutdown_background();
    std::mem::take(&mut *periods.lock().expect("no panic"))
}

/// Returns how many pages of listings the simulator has sent.
///
/// It asks on another thread, because the response is long and would keep the loop busy.
async fn listed(simulator: &Arc<Simulator>) -> u64 {
    let simulator = simulator.clone();
    let asked = spawn_blocking(move || {
        let request = Request::get("/simulator").body(Bytes::new());
        let response = simulator.respond(request.expect("it is well formed"));
        let response = response.expect("there is no fault");
        let held: serde_json::Value = serde_json::from_slice(response.body()).expect("it is JSON");
        held["requests"]["connections_all"]
            .as_u64()
            .expect("it counts")
    });
    asked.await.expect("no panic")
}

/// Starts a simulator on a thread of its own, and writes a configuration for it.
fn simulated(load: &Load, folder: &Path, running: &Arc<()>) -> Arc<Simulator> {
    let sizes = Sizes {
        entities: 0,
        entity_connections: 0,
        integrations: load.integrations,
        integration_connections: load.connections,
    };
    let simulator = Simulator::new(
        World::new(sizes, 1, Timestamp::now()),
        Vec::new(),
        None,
        Timestamp::now,
    );
    let served = simulator.clone();
    let (listening, address) = mpsc::channel::<SocketAddr>();
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
            let listener = listener.expect("a port");
            let _ = listening.send(listener.local_addr().expect("an address"));
            // The load ends before.
            let _ = timeout(3 * (WARMUP + MEASURED), served.serve(listener)).await;
        });
    });
    let address = address.recv().expect("the simulator listens");
    let poll = format!("  interval: {}s\n  first_poll_within: 0s\n", load.interval);
    let (mut text, secrets) = simulator.configuration(address, &poll);
    for (name, value) in &secrets {
        fs::write(folder.join(name), value).expect("a file");
        text = text.replace(&format!("_env: {name}"), &format!("_file: {name}"));
    }
    fs::write(folder.join("config.yaml"), text).expect("a file");
    if load.changes {
        let (changed, running) = (simulator.clone(), Arc::downgrade(running));
        thread::spawn(move || {
            // Each of 200 integrations changes more often than it is polled.
            for time in 0.. {
                thread::sleep(Duration::from_millis(15));
                if running.strong_count() == 0 {
                    return;
                }
                changed.change(|world| change(world, time));
            }
        });
    }
    simulator
}

/// Renames one connection of one integration.
fn change(world: &mut World, time: usize) {
    let integrations = world.integrations.len();
    let connections = &mut world.integrations[time % integrations].connections;
    let row = time / integrations % connections.len();
    connections[row].name = format!("renamed_{time}");
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap_or_default(),
        time.tv_nsec.try_into().unwrap_or_default(),
    )
}
