//! Healthy targets, at all intervals and with clocks that differ.

use super::scene::{ONE, Scene, TARGET, target, up, write};
use super::{HOUR, MINUTE};

#[test]
fn a_healthy_target_is_never_stale_whatever_the_intervals_and_clocks_are() {
    let mut scenes = Vec::new();
    for interval in [1, 10, 300, 3600] {
        for scrape in [15, 60, 300] {
            for skew in [0, -600, 600] {
                let length = 2 * HOUR;
                let mut scene = Scene::new(
                    format!(
                        "polled every {interval} s, scraped every {scrape} s, clock off by {skew} s"
                    ),
                    scrape,
                    length,
                );
                scene.scrapes(0, length, |now, add| {
                    let clock = (now + skew) as f64;
                    let last = (now / interval * interval + skew) as f64;
                    up(add, ONE);
                    add(ONE, "connections_exporter_time_seconds", &[], clock);
                    let mut target = target(add, &TARGET);
                    target("last_success_timestamp_seconds", last);
                    target("next_poll_timestamp_seconds", last + interval as f64);
                    target("poll_interval_seconds", interval as f64);
                    target("last_poll_duration_seconds", 0.5);
                    target("consecutive_failures", 0.0);
                    target("up", 1.0);
                });
                for at in (10 * MINUTE..length).step_by(600) {
                    scene.fires(at, "alertname!=\"ConnectionsExporterClockSkew\"", 0);
                }
                scene.fires(
                    HOUR,
                    "alertname=\"ConnectionsExporterClockSkew\"",
                    usize::from(skew != 0),
                );
                scenes.push(scene);
            }
        }
    }
    write("deploy/prometheus/tests/scenarios-healthy.yaml", &scenes);
}
