use proptest::prelude::*;

use super::*;
use crate::model::listing::{Connection, ListingBuilder};

const T0: i64 = 1_800_000_000;
const HOUR: i64 = 3600;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(T0 + seconds).unwrap()
}

fn second(seconds: i64) -> Second {
    at(seconds).into()
}

/// Rows with an id, a status, and an expiry in seconds after the start.
///
/// An id such as `x-y-1` connects the entities `x` and `y`.
fn listing(rows: &[(&str, &'static str, Option<i64>)]) -> Listing {
    let entity = |id: &str, at| id.splitn(3, '-').nth(at).unwrap_or_default().into();
    let rows = rows.iter().map(|(id, status, expiry)| Connection {
        id: (*id).into(),
        facts: Facts {
            source_entity: entity(id, usize::from(!id.contains('-')) * 9),
            target_entity: entity(id, 1),
            ..Facts::default()
        },
        kind: "oauth",
        status,
        expiry: expiry.map(at),
        ..<Connection>::default()
    });
    let mut builder = ListingBuilder::new("e", 10_000, 10_000);
    builder.add_page(rows.collect(), true).unwrap();
    builder.finish()
}

/// History and last listing of a target, as a poller keeps them.
struct Observed {
    listing: Listing,
    history: ListingHistory,
    healthy: Option<&'static str>,
}

impl Observed {
    fn first(rows: &[(&str, &'static str, Option<i64>)], healthy: Option<&'static str>) -> Self {
        let listing = listing(rows);
        Self {
            history: ListingHistory::first(&listing, at(0), healthy),
            listing,
            healthy,
        }
    }

    fn next(&mut self, seconds: i64, rows: &[(&str, &'static str, Option<i64>)]) {
        let listing = listing(rows);
        let next = self
            .history
            .next(&self.listing, &listing, at(seconds), self.healthy);
        (self.listing, self.history) = (listing, next);
    }

    fn of(&self, id: &str) -> &ConnectionHistory {
        let mut rows = self.listing.connections().zip(&self.history.connections);
        rows.find(|(row, _)| row.id == id).unwrap().1
    }

    fn lost(&self) -> Vec<(&str, i64)> {
        let lost = self.history.lost(&self.listing, "connected");
        lost.map(|lost| (lost.id, i64::from(lost.at.0.get()) - T0))
            .collect()
    }

    fn gone(&self) -> Vec<(&str, i64)> {
        let gone = self.history.gone.iter();
        gone.map(|gone| (&*gone.id, i64::from(gone.at.0.get()) - T0))
            .collect()
    }
}

#[test]
fn renewals_are_dated_with_their_lead_and_the_longest_gap() {
    let mut observed = Observed::first(&[("a", "", Some(HOUR))], None);
    assert_eq!(observed.of("a").expiry_seen, Some(second(0)));
    assert_eq!(observed.of("a").renewal, None);
    // Renewed ten minutes before the expiry.
    observed.next(HOUR - 600, &[("a", "", Some(2 * HOUR))]);
    let renewal = observed.of("a").renewal.unwrap();
    assert_eq!((renewal.at, renewal.lead), (second(HOUR - 600), 600));
    assert_eq!(observed.of("a").longest_gap(observed.history.at), None);
    // A listing without a change changes nothing.
    let before = observed.of("a").clone();
    observed.next(HOUR, &[("a", "", Some(2 * HOUR))]);
    assert_eq!(*observed.of("a"), before);
    // Renewed lazily, five hours after the expiry; and once more a minute later.
    observed.next(7 * HOUR, &[("a", "", Some(8 * HOUR))]);
    observed.next(7 * HOUR + 60, &[("a", "", Some(8 * HOUR + 60))]);
    let history = observed.of("a");
    assert_eq!(
        history.renewal.unwrap().lead,
        i32::try_from(HOUR - 60).unwrap()
    );
    assert_eq!(history.renewals, 3);
    let gap = history.longest_gap(observed.history.at);
    assert_eq!(gap, Some(u32::try_from(6 * HOUR + 600).unwrap()));
    assert_eq!(history.first_seen, second(0));
}

#[test]
fn an_expiry_that_moves_back_or_is_given_late_is_no_renewal() {
    let mut observed = Observed::first(&[("a", "", Some(10)), ("b", "", None)], None);
    observed.next(
        60,
        &[("a", "", Some(5)), ("b", "", Some(100)), ("c", "", Some(5))],
    );
    for id in ["a", "b", "c"] {
        assert_eq!(
            (observed.of(id).renewals, observed.of(id).renewal),
            (0, None),
            "{id}"
        );
        assert_eq!(observed.of(id).expiry_seen, Some(second(60)), "{id}");
    }
    assert_eq!(observed.of("c").first_seen, second(60));
    observed.next(
        120,
        &[("a", "", None), ("b", "", Some(100)), ("c", "", Some(5))],
    );
    assert_eq!(observed.of("a").expiry_seen, None);
    assert_eq!(observed.of("b").expiry_seen, Some(second(60)));
}

#[test]
fn a_gap_counts_for_35_days_and_a_longer_one_replaces_it() {
    let day = i64::from(DAY);
    let mut observed = Observed::first(&[("a", "", Some(0))], None);
    let mut renew = |at: i64| {
        observed.next(at, &[("a", "", Some(at + 1))]);
        observed.of("a").longest_gap(observed.history.at)
    };
    assert_eq!(renew(day), None);
    assert_eq!(renew(4 * day), Some(3 * DAY));
    for n in 5..39 {
        assert_eq!(renew(n * day), Some(3 * DAY), "day {n}");
    }
    assert_eq!(renew(39 * day), Some(DAY));
    assert_eq!(renew(49 * day), Some(10 * DAY));
    // Without another renewal, too.
    observed.next(90 * day, &[("a", "", Some(49 * day + 1))]);
    assert_eq!(observed.of("a").longest_gap(observed.history.at), None);
}

#[test]
fn a_status_is_dated_unless_the_first_listing_had_it() {
    let well = Some("connected");
    let mut observed = Observed::first(&[("a", "connected", None), ("b", "pending", None)], well);
    assert_eq!(observed.of("a").status_changed, None);
    assert_eq!(observed.of("a").last_connected, Some(second(0)));
    assert_eq!(observed.of("b").last_connected, None);
    let rows = [
        ("a", "disconnected", None),
        ("b", "pending", None),
        ("c", "connected", None),
    ];
    observed.next(60, &rows);
    observed.next(120, &rows);
    assert_eq!(observed.of("a").status_changed, Some(second(60)));
    assert_eq!(observed.of("a").last_connected, Some(second(0)));
    assert_eq!(observed.of("b").status_changed, None);
    assert_eq!(observed.of("c").status_changed, Some(second(60)));
    assert_eq!(observed.of("c").last_connected, Some(second(120)));
}

#[test]
fn a_system_without_statuses_has_no_dates_of_them_and_forgets_what_is_gone() {
    let mut observed = Observed::first(&[("a", "", None)], None);
    observed.next(60, &[("b", "", None)]);
    assert_eq!(observed.of("b").status_changed, None);
    assert_eq!(observed.of("b").last_connected, None);
    assert_eq!(observed.gone(), []);
}

#[test]
fn a_connection_that_had_been_connected_is_gone_for_7_days_or_until_it_is_back() {
    let well = Some("connected");
    let all = [
        ("a", "connected", None),
        ("b", "disconnected", None),
        ("c", "connected", None),
    ];
    let mut observed = Observed::first(&all, well);
    observed.next(60, &[]);
    observed.next(120, &[]);
    assert_eq!(observed.gone(), [("a", 60), ("c", 60)]);
    observed.next(180, &[("c", "pending", None)]);
    assert_eq!(observed.gone(), [("a", 60)]);
    let history = observed.of("c");
    assert_eq!(
        (history.first_seen, history.last_connected),
        (second(0), Some(second(0)))
    );
    assert_eq!(history.status_changed, Some(second(180)));
    let week = i64::from(7 * DAY);
    observed.next(59 + week, &[]);
    // What is back and gone once more had been connected all the same.
    assert_eq!(observed.gone(), [("a", 60), ("c", 59 + week)]);
    observed.next(60 + week, &[]);
    assert_eq!(observed.gone(), [("c", 59 + week)]);
}

#[test]
fn a_connection_is_lost_until_its_entities_are_connected_again() {
    let well = Some("connected");
    let rows = |[one, two, three]: [&'static str; 3]| {
        let rows = [("x-y-1", one), ("x-z-1", two), ("w-z-1", three)];
        rows.map(|(id, status)| (id, status, None))
    };
    let mut observed = Observed::first(&rows(["connected", "connected", "disconnected"]), well);
    assert_eq!(observed.lost(), []);
    observed.next(60, &rows(["disconnected", "connected", "disconnected"]));
    observed.next(120, &rows(["disconnected", "connected", "pending"])[..2]);
    assert_eq!(observed.lost(), [("x-y-1", 60)]);
    observed.next(180, &rows(["disconnected", "connected", "pending"])[..1]);
    assert_eq!(observed.lost(), [("x-y-1", 60), ("x-z-1", 180)]);
    // Another connection, requested by the other entity, replaces the first one.
    let replaced = [("x-y-1", "disconnected", None), ("y-x-2", "pending", None)];
    observed.next(240, &replaced);
    assert_eq!(observed.lost(), [("x-y-1", 60), ("x-z-1", 180)]);
    observed.next(300, &[replaced[0], ("y-x-2", "connected", None)]);
    assert_eq!(observed.lost(), [("x-z-1", 180)]);
    let week = i64::from(7 * DAY);
    observed.next(179 + week, &replaced[..1]);
    assert_eq!(observed.lost(), [("x-z-1", 180), ("y-x-2", 179 + week)]);
    observed.next(180 + week, &replaced[..1]);
    assert_eq!(observed.lost(), [("y-x-2", 179 + week)]);
}

#[test]
fn a_deletion_long_after_a_disconnect_loses_nothing() {
    let mut observed = Observed::first(&[("x-y-1", "connected", None)], Some("connected"));
    observed.next(60, &[("x-y-1", "disconnected", None)]);
    observed.next(120, &[]);
    assert_eq!(observed.lost(), [("x-y-1", 60)]);
    let mut observed = Observed::first(&[("x-y-1", "connected", None)], Some("connected"));
    observed.next(60, &[("x-y-1", "disconnected", None)]);
    observed.next(60 + i64::from(8 * DAY), &[]);
    assert_eq!(observed.gone().len(), 1);
    assert_eq!(observed.lost(), []);
}

#[test]
fn what_is_connected_again_is_not_lost() {
    let mut observed = Observed::first(&[("x-y-1", "connected", None)], Some("connected"));
    observed.next(60, &[("x-y-1", "other", None)]);
    assert_eq!(observed.lost(), [("x-y-1", 60)]);
    observed.next(120, &[("x-y-1", "connected", None)]);
    assert_eq!(observed.lost(), []);
}

#[test]
fn of_very_many_that_are_gone_the_last_1000_are_kept() {
    let names: Vec<_> = (0..1500).map(|n| format!("{n:04}")).collect();
    let rows: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), "connected", None))
        .collect();
    let mut observed = Observed::first(&rows, Some("connected"));
    observed.next(60, &rows[700..]);
    observed.next(120, &[]);
    assert_eq!(observed.gone().len(), 1000);
    assert_eq!(observed.gone()[0], ("0500", 60));
    assert_eq!(observed.gone()[999], ("1499", 120));
}

#[test]
fn a_clock_that_is_set_back_or_absurd_does_no_harm() {
    let mut observed = Observed::first(&[("a", "connected", Some(10))], Some("connected"));
    observed.next(-HOUR, &[("a", "connected", Some(20))]);
    observed.next(-2 * HOUR, &[("a", "connected", Some(30))]);
    assert_eq!(observed.of("a").longest_gap(observed.history.at), Some(0));
    for odd in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
        let history = ListingHistory::first(&observed.listing, odd, None);
        let next = history.next(&observed.listing, &listing(&[]), at(0), None);
        assert_eq!(next.connections.len(), 0);
    }
}

proptest! {
    /// The kept gaps give the same maximum as all gaps would.
    #[test]
    fn the_longest_gap_is_that_of_the_window(steps in prop::collection::vec(1_u32..10 * DAY, 1..80)) {
        let (mut gaps, mut all, mut now) = (RenewalGaps::default(), Vec::new(), second(0));
        for step in steps {
            now = Second(NonZeroU32::new(now.0.get() + step).unwrap());
            gaps = gaps.with(now, step);
            all.push((now.0.get() / DAY, step));
            let today = now.0.get() / DAY;
            let recent = all.iter().filter(|(day, _)| today - day < GAP_DAYS);
            prop_assert_eq!(gaps.longest(now), recent.map(|(_, gap)| *gap).max());
            prop_assert!(gaps.0.as_ref().is_none_or(|gaps| gaps.len() <= GAP_DAYS as usize));
        }
    }
}
