//! Events of a month, drawn from its seed, and the repairs that end them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use connections_exporter::polling::account::AccountChange;
use connections_simulator::{Fault, Integration, Kind, RetryAfter};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use crate::{HOUR, MINUTE, Month, TARGETS, VENDORS};

/// Repair that ends a disturbance.
pub(crate) enum Mend {
    Heal,
    Speed,
    Secret(String),
    Appear(Vec<Integration>),
}

impl Month {
    /// Runs one random event.
    pub(crate) async fn event(&mut self) {
        self.crash_loop = Duration::ZERO;
        let n = self.random.usize(..VENDORS);
        let lasts = MINUTE.mul_f64(1.0 + self.random.f64().powi(3) * 600.0);
        match self.random.u32(..100) {
            0..30 => {
                let fault = self.fault();
                self.vendors[n].simulator.fail(fault);
                self.trouble(n, lasts, Mend::Heal);
                self.seen.faults += 1;
                if self.random.u32(..3) == 0 {
                    // Restarts the daemon during the fault.
                    sleep(HOUR.mul_f64(self.random.f64())).await;
                    self.restart(true).await;
                }
            }
            30..36 => {
                *self.vendors[n].slow.lock().unwrap() = MINUTE;
                self.trouble(n, lasts, Mend::Speed);
            }
            36..42 => {
                let changed = "changed".to_owned();
                let secret = self.vendors[n]
                    .simulator
                    .change(|world| std::mem::replace(&mut world.tenant.client_secret, changed));
                if secret != "changed" {
                    self.trouble(n, lasts, Mend::Secret(secret));
                }
            }
            42..50 => {
                let place = self.random.usize(..TARGETS);
                // Removes an integration only where integrations are discovered. Elsewhere the
                // vendor would refuse its token.
                let follows = n % 2 == 1;
                let gone = self.vendors[n].simulator.change(|world| {
                    let entity = &mut world.tenant.entities[place];
                    entity.provisioned = !entity.provisioned;
                    let there = follows && place < world.integrations.len();
                    there.then(|| world.integrations.remove(place))
                });
                self.trouble(n, lasts, Mend::Appear(gone.into_iter().collect()));
            }
            50..58 => self.restart(true).await,
            58..61 => self.restart(false).await,
            61..63 => {
                let begun = Instant::now();
                for _ in 0..self.random.u32(3..15) {
                    self.restart(true).await;
                    sleep(Duration::from_millis(self.random.u64(1..20_000))).await;
                }
                self.crash_loop = begun.elapsed();
            }
            63..66 => {
                let most = [10, 3600, 200_000][self.random.usize(..3)];
                let off = self.random.i64(-most..most);
                self.off.store(off, Ordering::Relaxed);
                self.set_at = Instant::now();
                for (_, line) in &self.accounts {
                    line.ledger.lock().unwrap().forget();
                }
            }
            66..76 => self.reload().await,
            _ => {}
        }
    }

    /// Reloads an unchanged configuration, with a new or the existing source for each account.
    ///
    /// A reload does not wait for a vendor.
    async fn reload(&mut self) {
        let anew = self.random.bool();
        let Some(process) = &self.process else { return };
        let shown = TaskTracker::new();
        for ((config, line), account) in self.accounts.iter().zip(&process.changes) {
            let change = AccountChange {
                config: config.clone(),
                poll: self.poll,
                transport: anew.then(|| line.clone() as _),
                shown: shown.token(),
            };
            account.send(Box::new(change)).await.unwrap();
        }
        shown.close();
        shown.wait().await;
        self.seen.reloads += 1;
    }

    fn fault(&mut self) -> Fault {
        let kinds = [
            Kind::TooManyRequests,
            Kind::TooManyRequests,
            Kind::TooManyRequests,
            Kind::InternalServerError,
            Kind::ServiceUnavailable,
            Kind::Html,
            Kind::Hang,
            Kind::Reset,
            Kind::WrongTypes,
            Kind::Refuse,
            Kind::ForeignNextPage,
            Kind::RepeatCursor,
            Kind::Endless,
            Kind::ExpiredToken,
            Kind::RevokedToken,
        ];
        let wait = self.random.u64(..10_000);
        let waits = [
            None,
            Some(RetryAfter::Seconds(wait)),
            Some(RetryAfter::Date(wait)),
            Some(RetryAfter::Reset(wait)),
        ];
        let endpoints = [
            None,
            Some("entity_connections"),
            Some("connections_all"),
            Some("oauth_token"),
            Some("integrations"),
        ];
        Fault {
            retry_after: waits[self.random.usize(..4)],
            endpoint: endpoints[self.random.usize(..5)].map(str::to_owned),
            times: self.random.bool().then(|| self.random.u32(1..20)),
            ..Fault::new(kinds[self.random.usize(..kinds.len())])
        }
    }

    fn trouble(&mut self, n: usize, lasts: Duration, mend: Mend) {
        *self.vendors[n].healthy_since.lock().unwrap() = None;
        self.mends.push((Instant::now() + lasts, n, mend));
    }

    /// Runs the repairs that are due, or all of them.
    pub(crate) fn mend(&mut self, all: bool) {
        let now = Instant::now();
        let (over, rest) = std::mem::take(&mut self.mends)
            .into_iter()
            .partition(|(until, ..)| all || *until <= now);
        self.mends = rest;
        let over: Vec<(Instant, usize, Mend)> = over;
        for (_, n, mend) in over {
            let vendor = &self.vendors[n];
            match mend {
                Mend::Heal => vendor.simulator.heal(),
                Mend::Speed => *vendor.slow.lock().unwrap() = Duration::from_secs(1),
                Mend::Secret(secret) => {
                    vendor
                        .simulator
                        .change(|world| world.tenant.client_secret = secret);
                }
                Mend::Appear(integrations) => vendor
                    .simulator
                    .change(|world| world.integrations.extend(integrations)),
            }
            if !self.mends.iter().any(|(_, other, _)| *other == n) {
                *vendor.healthy_since.lock().unwrap() = Some(now);
            }
        }
    }
}
