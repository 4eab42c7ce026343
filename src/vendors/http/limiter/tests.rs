//! Tests of the rate limiter in paused time.

use std::sync::Arc;

use super::*;

fn pace(requests_per_minute: u32) -> RequestLimiter {
    RequestLimiter::new(NonZeroU32::new(requests_per_minute).unwrap(), 1)
}

#[tokio::test(start_paused = true)]
async fn no_minute_sees_more_than_the_budget() {
    let pace = pace(30);
    let mut sent = Vec::new();
    for _ in 0..200 {
        pace.acquire().await;
        sent.push(Instant::now());
    }
    for window in sent.windows(31) {
        assert!(window[30] - window[0] >= Duration::from_mins(1));
    }
    assert!(
        sent[199] - sent[0] <= Duration::from_secs(2 * 199 + 1),
        "and the budget can be used up"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_back_everybody_and_a_longer_one_wins() {
    let pace = pace(6000);
    pace.pause(Duration::from_secs(10));
    pace.pause(Duration::from_secs(5));
    let begun = Instant::now();
    pace.acquire().await;
    assert!(begun.elapsed() >= Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn no_pause_is_longer_than_an_hour() {
    assert_eq!(
        pace(60).back_off(Instant::now(), Some(Duration::from_hours(8760))),
        Duration::from_hours(1)
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_word_from_the_vendor_the_wait_doubles_up_to_a_minute() {
    let pace = pace(60);
    let mut ceiling = INITIAL_BACKOFF;
    for _ in 0..10 {
        tokio::time::advance(MAX_BACKOFF).await;
        assert!(pace.back_off(Instant::now(), None) <= ceiling);
        ceiling = (ceiling * 2).min(MAX_BACKOFF);
    }
    assert_eq!(pace.budget().consecutive_429s, 10);
    pace.reset_backoff();
    assert_eq!(pace.budget().consecutive_429s, 0);
}

#[tokio::test(start_paused = true)]
async fn who_asks_first_goes_first() {
    let pace = Arc::new(pace(60));
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for target in ["many pages", "one page", "another"] {
        let (pace, order) = (pace.clone(), order.clone());
        tasks.spawn(async move {
            for _ in 0..if target == "many pages" { 10 } else { 1 } {
                pace.acquire().await;
                order.lock().push(target);
            }
        });
        tokio::task::yield_now().await;
    }
    tasks.join_all().await;
    // The first task got its first permit before the others came, and waits for its second.
    let expected = [
        "many pages",
        "many pages",
        "one page",
        "another",
        "many pages",
    ];
    assert_eq!(order.lock()[..5], expected);
}

#[tokio::test(start_paused = true)]
async fn a_429_halves_the_rate_once_for_all_in_flight_and_it_grows_back() {
    let pace = pace(100);
    let rate = || pace.per_second().1 * 60.0;
    let since = Instant::now();
    for _ in 0..4 {
        tokio::time::advance(Duration::from_millis(100)).await;
        pace.back_off(since, Some(Duration::ZERO));
    }
    assert!((rate() - 50.0).abs() < 1e-9);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert!((rate() - 50.0).abs() < 1e-9, "not yet");
    tokio::time::advance(Duration::from_mins(1)).await;
    assert!((rate() - 60.0).abs() < 1e-9);
    pace.back_off(Instant::now(), Some(Duration::ZERO));
    assert!((rate() - 30.0).abs() < 1e-9);
    tokio::time::advance(Duration::from_mins(10)).await;
    assert!((rate() - 100.0).abs() < 1e-9, "and no further");
    for _ in 0..20 {
        tokio::time::advance(Duration::from_millis(1)).await;
        pace.back_off(Instant::now(), Some(Duration::ZERO));
    }
    assert!((rate() - MIN_RATE).abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn a_changing_rate_never_lets_more_through_than_the_configured_one() {
    let pace = pace(60);
    let mut sent = Vec::new();
    for n in 0..400 {
        drop(pace.acquire().await);
        sent.push(Instant::now());
        if n % 37 == 0 {
            pace.back_off(Instant::now(), Some(Duration::from_millis(10)));
        }
    }
    for window in sent.windows(61) {
        assert!(window[60] - window[0] >= Duration::from_mins(1));
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_than_four_are_in_flight() {
    let pace = pace(60_000);
    let mut turns = Vec::new();
    for _ in 0..MAX_IN_FLIGHT {
        turns.push(pace.acquire().await);
    }
    let fifth = tokio::time::timeout(Duration::from_mins(1), pace.acquire()).await;
    assert!(fifth.is_err());
    turns.pop();
    pace.acquire().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_are_sent_than_the_quota_has_left_whatever_is_under_way() {
    let pace = pace(60_000);
    let (first, second) = (pace.acquire().await, pace.acquire().await);
    pace.record_quota(2, Duration::from_mins(1));
    drop(first);
    let third = pace.acquire().await;
    let soon = Duration::from_secs(10);
    assert!(
        tokio::time::timeout(soon, pace.acquire()).await.is_err(),
        "two are left, and two are under way"
    );
    drop((second, third));
    let begun = Instant::now();
    drop(pace.acquire().await);
    assert!(
        (Duration::from_secs(49)..Duration::from_secs(51)).contains(&begun.elapsed()),
        "whole again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_restart_forgets_neither_the_pause_nor_the_rate_nor_that_there_was_a_request() {
    let date: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    let before = pace(60);
    drop(before.acquire().await);
    before.back_off(Instant::now(), Some(Duration::from_secs(30)));
    let kept = before.snapshot(date);

    let after = pace(60);
    assert_eq!(
        after.restore(Some(&kept), date + Duration::from_secs(10)),
        Duration::from_secs(20)
    );
    assert!((after.per_second().1 * 60.0 - 30.0).abs() < 1e-9);
    let begun = Instant::now();
    drop(after.acquire().await);
    assert!(begun.elapsed() >= Duration::from_secs(20));

    // Whatever happened to the file and the clock: a whole period, and no pause beyond an hour.
    for (kept, date) in [
        (None, date),
        (Some(&kept), date + Duration::from_hours(1000)),
        (Some(&kept), date - Duration::from_hours(1000)),
    ] {
        let after = pace(60);
        let paused = after.restore(kept, date);
        assert!(paused <= MAX_PAUSE);
        let begun = Instant::now();
        drop(after.acquire().await);
        assert!(begun.elapsed() >= Duration::from_secs(1).max(paused));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_in_line_goes_before_a_request_in_the_background() {
    let pace = Arc::new(pace(60));
    pace.acquire().await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let ask = |name: &'static str, behind: bool| {
        let (pace, order) = (pace.clone(), order.clone());
        tokio::spawn(async move {
            let _turn = if behind {
                pace.acquire_in_background().await
            } else {
                pace.acquire().await
            };
            order.lock().push(name);
        })
    };
    let behind = ask("behind", true);
    tokio::task::yield_now().await;
    let others = ["first", "second", "third"].map(|name| ask(name, false));
    for other in others {
        other.await.unwrap();
    }
    behind.await.unwrap();
    assert_eq!(*order.lock(), ["first", "second", "third", "behind"]);
}

#[tokio::test(start_paused = true)]
async fn requests_in_the_background_are_inside_the_budget_and_the_pauses() {
    let pace = pace(60);
    let begun = Instant::now();
    for _ in 0..3 {
        pace.acquire().await;
        pace.acquire_in_background().await;
    }
    assert!(begun.elapsed() >= Duration::from_secs(5));
    pace.pause(Duration::from_secs(30));
    let paused = Instant::now();
    pace.acquire_in_background().await;
    assert!(paused.elapsed() >= Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_request_in_the_background_that_hangs_takes_no_place_in_flight() {
    let pace = pace(6000);
    let _hangs = pace.acquire_in_background().await;
    let mut in_flight = Vec::new();
    for _ in 0..MAX_IN_FLIGHT {
        in_flight.push(
            timeout(Duration::from_secs(1), pace.acquire())
                .await
                .unwrap(),
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_always_used_up_lets_a_request_in_the_background_through_at_last() {
    let pace = Arc::new(pace(60));
    let mut busy = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let pace = pace.clone();
        busy.spawn(async move {
            loop {
                pace.acquire().await;
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let begun = Instant::now();
    pace.acquire_in_background().await;
    let waited = begun.elapsed();
    assert!(
        (MAX_BACKGROUND_WAIT..MAX_BACKGROUND_WAIT * 2).contains(&waited),
        "{waited:?}"
    );
}
