//! Vendors, and daemons that poll them. Some have a fault from the start.

use std::fs;
use std::path::PathBuf;

use connections_simulator::Sizes;
use jiff::SignedDuration;

use crate::exporter::{Exporter, configuration};
use crate::stack::Stack;
use crate::vendor::Vendor;

/// Connections of each integration of the large vendor.
///
/// The page with one of its two integrations is far below every limit; with both it is close to
/// one.
const MANY: usize = 12_000;

/// Integrations of the vendor `sick`. Each of them has a fault at some time.
const INTEGRATIONS: [&str; 13] = [
    "tokens",
    "expected",
    "fell",
    "basic",
    "refused",
    "emptied",
    "mismatched",
    "forbidden",
    "failing",
    "never",
    "three_days",
    "half_a_day",
    "throttled",
];

pub(crate) struct Scene {
    pub(crate) sick: Vendor,
    /// Accepts at most a thousand requests per minute.
    pub(crate) limited: Vendor,
    pub(crate) calm: Vendor,
    pub(crate) well: Vendor,
    pub(crate) large: Vendor,
    pub(crate) out: Vendor,
    /// Polls `sick`, and the vendors `limited` and `calm`.
    pub(crate) polling: Exporter,
    /// Its faults are its own, not those of a vendor.
    pub(crate) ailing: Exporter,
    pub(crate) growing: Exporter,
    pub(crate) shards: [Exporter; 2],
    /// Shards of which one is removed from the scrape targets.
    pub(crate) incomplete: [Exporter; 2],
    pub(crate) leaving: Exporter,
    /// Polls four accounts of the vendor `out`, and its tenant.
    pub(crate) outage: Exporter,
    pub(crate) healthy: Exporter,
    pub(crate) folder: tempfile::TempDir,
}

/// Returns the vendors `sick`, `limited`, `calm`, `well`, `large` and `out`.
async fn vendors() -> [Vendor; 6] {
    // Few connections, so that each change counts. `slack` is renewed, `shopify` expires, and
    // `search` has no expiry date.
    let sizes = Sizes {
        entities: 2,
        entity_connections: 8,
        integrations: 0,
        integration_connections: 3,
    };
    // Each connection joins two entities that no other one joins.
    let pairs = Sizes {
        entities: 4,
        entity_connections: 6,
        ..sizes
    };
    let sick = Vendor::start(pairs, &INTEGRATIONS, &[], None).await;
    let limited = Vendor::start(sizes, &["busy"], &[], Some(1000)).await;
    let registry = ["kind=500&endpoint=integrations"];
    let connected = Sizes {
        entity_connections: 3,
        ..sizes
    };
    let calm = Vendor::start(connected, &["calm"], &registry, None).await;
    let well = Vendor::start(connected, &["used", "idle"], &[], None).await;
    let many = Sizes {
        integration_connections: MANY,
        ..sizes
    };
    // Three entities, of which the credential reaches one.
    let tenant = Sizes {
        entities: 3,
        ..connected
    };
    let out = Vendor::start(tenant, &["calm"], &[], None).await;
    out.simulator.change(|world| world.tenant.reach = 1);
    let large = Vendor::start(many, &["half", "other_half"], &[], None).await;

    let days = |days: i64| SignedDuration::from_hours(24 * days);
    for (vendor, targets) in [
        (&sick, &INTEGRATIONS[..]),
        (&limited, &["busy"]),
        (&calm, &["calm"]),
        (&out, &["calm"]),
    ] {
        for target in targets {
            vendor.token(target, "shopify", days(30)).await;
        }
    }
    for name in ["fourth", "fifth", "sixth"] {
        sick.put(&[("target", "fell"), ("connection", name)]).await;
    }
    // Healthy, although they look faulty: a client_credentials token, and a token that is not
    // in use.
    let warehouse = [("target", "used"), ("connection", "warehouse")];
    well.token("used", "warehouse", SignedDuration::from_secs(10))
        .await;
    well.put(
        &[
            &warehouse[..],
            &[("renewed_for", "30"), ("grant_type", "client_credentials")],
        ]
        .concat(),
    )
    .await;
    let unused = [("target", "idle"), ("connection", "unused")];
    well.token("idle", "unused", days(-15)).await;
    well.put(&[&unused[..], &[("refresh_token", "true")]].concat())
        .await;
    for target in ["used", "idle"] {
        // `shopify` is never renewed, so it would raise an alert.
        well.delete(&[("target", target), ("connection", "shopify")])
            .await;
        well.own_token(target, days(30)).await;
    }
    [sick, limited, calm, well, large, out]
}

impl Drop for Scene {
    /// Keeps the logs after a failure.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("the logs are in {}", self.folder.path().display());
        }
    }
}

impl Scene {
    pub(crate) async fn start() -> Self {
        let [sick, limited, calm, well, large, out] = vendors().await;
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str| -> PathBuf {
            let folder = folder.path().join(name);
            fs::create_dir(&folder).unwrap();
            folder
        };
        let polling = polling(of("polling"), &sick, &limited, &calm).await;
        let ailing = ailing(of("ailing"), &calm).await;

        let at = of("growing");
        fs::write(
            at.join("config.yaml"),
            Self::large_accounts(&large, &at, &["half"]),
        )
        .unwrap();
        let growing = Exporter::start("large", &at, &[]).await;

        let at = of("shards");
        let accounts = ["north", "south", "east", "west"];
        let accounts = accounts.map(|account| calm.zis(&at, account, &["calm"], ""));
        fs::write(
            at.join("config.yaml"),
            configuration("", &accounts.concat()),
        )
        .unwrap();
        let shard = async |job, index| {
            let index = format!("--shard.index={index}");
            Exporter::start(job, &at, &["--shard.total=2", &index]).await
        };
        let shards = [shard("sharded", 0).await, shard("sharded", 1).await];
        let incomplete = [shard("incomplete", 0).await, shard("incomplete", 1).await];

        let at = of("leaving");
        let account = calm.zis(&at, "leaving", &["calm"], "");
        fs::write(at.join("config.yaml"), configuration("", &account)).unwrap();
        let leaving = Exporter::start("leaving", &at, &[]).await;

        let outage = self::outage(of("outage"), &out).await;

        let at = of("healthy");
        let zuora = well.zuora(&at, "healthy") + "    interval: 2s\n";
        let zis = well.zis(&at, "healthy", &["used", "idle"], "    interval: 2s\n");
        let zis = zis.replace(
            "token_file: used\n",
            "token_file: used\n        expect: [slack]\n",
        );
        fs::write(at.join("config.yaml"), configuration(&zuora, &zis)).unwrap();
        let state = format!("--state.dir={}", at.join("state").display());
        let healthy = Exporter::start("healthy", &at, &[&state]).await;

        Self {
            sick,
            limited,
            calm,
            well,
            large,
            out,
            polling,
            ailing,
            growing,
            shards,
            incomplete,
            leaving,
            outage,
            healthy,
            folder,
        }
    }

    /// Returns a configuration that lists these integrations of the large vendor once.
    pub(crate) fn large_accounts(
        large: &Vendor,
        at: &std::path::Path,
        integrations: &[&str],
    ) -> String {
        configuration(
            "",
            &large.zis(at, "large", integrations, "    interval: 1h\n"),
        )
    }

    pub(crate) fn exporters(&self) -> Vec<&Exporter> {
        let Self {
            polling,
            ailing,
            growing,
            shards,
            incomplete,
            leaving,
            outage,
            healthy,
            ..
        } = self;
        let mut all = vec![polling, ailing, growing, leaving, outage, healthy];
        all.extend(shards.iter().chain(incomplete));
        all
    }

    /// Waits until Prometheus has scraped the initial state.
    pub(crate) async fn seen(&self, stack: &Stack) {
        for query in [
            "count(target:saas_connections:usable{job=\"vendor\"}) == 17",
            "target:saas_connections:usable{target=\"fell\"} == 6",
            "connections_exporter_page_bytes{job=\"large\",encoding=\"identity\"} > 1e6",
            "count(connections_exporter_shard_index{job=~\"sharded|incomplete\"}) == 4",
            "count(connections_exporter_target_last_success_timestamp_seconds{job=\"outage\"}) == 5",
            "connections_exporter_targets_unreached{account=\"tenant\"} == 2",
            "count(connections_exporter_target_up{job=\"healthy\"} == 1) == 4",
        ] {
            stack.until(query).await;
        }
    }
}

async fn polling(at: PathBuf, sick: &Vendor, limited: &Vendor, calm: &Vendor) -> Exporter {
    let (throttled, all) = INTEGRATIONS.split_last().unwrap();
    let admin = calm.simulator.change(|world| world.admin.clone());
    fs::write(at.join("admin"), &admin.1).unwrap();
    let discovers = format!(
        "  - account: globex\n    base_url: http://{}\n    requests_per_minute: 60000\n    \
            admin_client: {{client_id: {}, client_secret_file: admin}}\n    integrations: all\n",
        calm.address, admin.0
    );
    let expects = "token_file: expected\n";
    let zis = [
        sick.zis(&at, "acme", all, "")
            .replace(expects, &[expects, "        expect: [slack]\n"].concat()),
        sick.zis(&at, "throttled", &[throttled], ""),
        limited.zis(&at, "shared", &["busy"], ""),
        discovers,
    ];
    let zuora = sick.zuora(&at, "production");
    fs::write(at.join("config.yaml"), configuration(&zuora, &zis.concat())).unwrap();
    // A token that was never valid.
    fs::write(at.join("never"), "mistyped").unwrap();
    Exporter::start("vendor", &at, &[]).await
}

/// Starts a daemon whose budget is half of what its interval needs.
async fn ailing(at: PathBuf, calm: &Vendor) -> Exporter {
    fs::write(at.join("config.yaml"), ailing_accounts(calm, &at, 30)).unwrap();
    fs::write(at.join("web.yaml"), "http_server_config: {http2: true}\n").unwrap();
    let web = format!("--web.config.file={}", at.join("web.yaml").display());
    let state = format!("--state.dir={}", at.join("state").display());
    Exporter::start("ailing", &at, &[&web, &state]).await
}

/// Starts a daemon with four accounts of the same vendor, and a tenant. The line that names its
/// entities is a comment.
async fn outage(at: PathBuf, out: &Vendor) -> Exporter {
    let accounts = ["one", "two", "three", "four"];
    let accounts = accounts.map(|account| out.zis(&at, account, &["calm"], ""));
    let first = out
        .simulator
        .change(|world| world.tenant.entities[0].id.clone());
    let tenant = out.zuora(&at, "tenant") + &format!("    # entities: [{{id: {first}}}]\n");
    fs::write(
        at.join("config.yaml"),
        configuration(&tenant, &accounts.concat()),
    )
    .unwrap();
    Exporter::start("outage", &at, &[]).await
}

pub(crate) fn ailing_accounts(calm: &Vendor, at: &std::path::Path, budget: u32) -> String {
    let account = calm.zis(at, "ailing", &["calm"], "");
    let budget = format!("requests_per_minute: {budget}\n");
    configuration(
        "",
        &account.replace("requests_per_minute: 60000\n", &budget),
    )
}
