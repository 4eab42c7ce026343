//! Faults of the exporter itself.

use std::fs;

use super::{Inbox, Instant, Rehearsal, Row, Scene, alert, nothing};
use crate::exporter::Exporter;
use crate::scene::ailing_accounts;
use crate::stack::Stack;

pub(super) async fn exporter(scene: &Scene, inbox: &Inbox, began: Instant) -> Vec<Row> {
    let Scene {
        calm,
        ailing,
        growing,
        shards,
        ..
    } = scene;
    let of = |name: &str, severity: &str, Exporter { job, address, .. }: &Exporter| {
        alert(name, severity, &format!("job={job} instance={address}"))
    };
    let rehearsal = |cause, alerts| Rehearsal::new(inbox, cause, alerts);

    // These change the same file, so one runs after the other.
    let mended = ailing_accounts(calm, &ailing.file(""), 600);
    let plan = alert(
        "ConnectionsPlanOverBudget",
        "warning",
        "system=zis account=ailing",
    );
    let over = rehearsal("a budget is half of what the interval needs", vec![plan])
        .since(began)
        .run(nothing(), ailing.reconfigure(&mended));
    let configuration = async {
        let mut rows = over.await;
        let cause = "the configuration gets an unknown key, and SIGHUP";
        let failed = of("ConnectionsExporterReloadFailed", "warning", ailing);
        let failed = rehearsal(cause, vec![failed])
            .run(ailing.reconfigure("pol: {}\n"), ailing.reconfigure(&mended));
        rows.extend(failed.await);
        rows
    };

    let write = async |text: &'static str| ailing.write("web.yaml", text);
    let web = rehearsal(
        "the web configuration gets an unknown key",
        vec![of(
            "ConnectionsExporterWebConfigReloadFailed",
            "warning",
            ailing,
        )],
    )
    .run(
        write("http_server_config: {http3: true}\n"),
        write("http_server_config: {http2: true}\n"),
    );

    // A file in place of the directory stops even root from writing.
    let folder = ailing.file("state").join("zis.ailing");
    let state = rehearsal(
        "a file lies in the place of the account's state directory",
        vec![of("ConnectionsExporterStateNotWritten", "warning", ailing)],
    )
    .run(
        // Repeated, because the daemon may write at the same moment.
        async { while fs::remove_dir_all(&folder).is_err() || fs::write(&folder, "").is_err() {} },
        async { fs::remove_file(&folder).unwrap() },
    );

    let lists = async |integrations: &[&str]| {
        let text = Scene::large_accounts(&scene.large, &growing.file(""), integrations);
        growing.reconfigure(&text).await;
    };
    let page = rehearsal(
        "an integration with 12,000 connections is added to another one",
        vec![of("ConnectionsExporterPageTooLarge", "warning", growing)],
    )
    .run(lists(&["half", "other_half"]), lists(&["half"]));

    let killed = rehearsal(
        "one of two shards is killed",
        vec![of("ConnectionsExporterDown", "critical", &shards[1])],
    )
    .run(shards[1].end("KILL"), shards[1].start_again());

    let (configuration, web, state, page, killed) =
        tokio::join!(configuration, web, state, page, killed);
    [configuration, web, state, page, killed]
        .into_iter()
        .flatten()
        .collect()
}

/// Exporters that leave Prometheus' scrape targets, while others stay.
pub(super) async fn unknown(scene: &Scene, inbox: &Inbox, stack: &Stack) -> Vec<Row> {
    // One after the other, because they change the same list.
    let (one, shard) = (&*scene.leaving.address, &*scene.incomplete[1].address);
    let account = alert(
        "ConnectionsAccountMissing",
        "critical",
        "system=zis account=leaving",
    );
    let mut rows = Rehearsal::new(inbox, "an exporter is no scrape target", vec![account])
        .run(async { stack.scrape_all_but(scene, &[one]) }, async {
            stack.scrape_all_but(scene, &[]);
        })
        .await;
    // The alerts on its accounts are inhibited by this one.
    let shards = alert(
        "ConnectionsExporterShardMissing",
        "critical",
        "job=incomplete",
    );
    let shard = Rehearsal::new(inbox, "one of two shards is no scrape target", vec![shards])
        .run(async { stack.scrape_all_but(scene, &[shard]) }, async {
            stack.scrape_all_but(scene, &[]);
        })
        .await;
    rows.extend(shard);
    rows
}

/// Removes all exporters from the scrape targets.
pub(crate) async fn absent(scene: &Scene, inbox: &Inbox, stack: &Stack) -> Vec<Row> {
    let cause = "no exporter is among Prometheus' targets";
    let absent = alert("ConnectionsExporterAbsent", "critical", "");
    // A target's series end two scrape intervals after it. The one that is scraped at a longer
    // interval leaves first, so that all end within scaled minutes.
    let leave = async {
        stack.scrape_all_but(scene, &[&scene.growing.address]);
        stack.until("absent(up{job=\"large\"})").await;
        stack.scrape(&[]);
    };
    Rehearsal::new(inbox, cause, vec![absent])
        .run(leave, async {
            stack.scrape(&scene.exporters());
        })
        .await
}
