//! Limits on connections and responses: if all slots are taken, a newcomer evicts the holder that
//! has been idle or stalled for longest.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Time without progress after which a busy holder counts as stalled.
///
/// Taking one chunk of a response (16 KiB) is progress. Keeping a slot therefore needs 32 KiB/s,
/// which is less than any link used for scraping.
const STALLED: Duration = Duration::from_millis(500);

/// Limited number of slots.
#[derive(Debug)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    held: Mutex<Vec<Arc<SlotHolder>>>,
}

/// Holder of a slot: a connection, or the sender of a response.
#[derive(Debug)]
pub(super) struct SlotHolder {
    /// Cancelled when the holder must end, as after an eviction.
    pub(super) cancellation: CancellationToken,
    activity: Mutex<Activity>,
}

#[derive(Debug)]
struct Activity {
    /// Number of operations in progress; 0 if the holder is idle.
    busy: usize,
    /// Time of creation, or of the last `begin`, `progress` or `finish`.
    since: Instant,
}

/// Slot in use, released when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) holder: Arc<SlotHolder>,
    slots: Arc<Slots>,
    _permit: OwnedSemaphorePermit,
}

impl SlotHolder {
    /// Creates an idle holder; eviction cancels `cancellation`.
    pub(super) fn new(cancellation: CancellationToken) -> Self {
        let since = Instant::now();
        Self {
            cancellation,
            activity: Mutex::new(Activity { busy: 0, since }),
        }
    }

    /// Starts an operation.
    pub(super) fn begin(&self) {
        let mut activity = self.activity.lock();
        activity.busy += 1;
        activity.since = Instant::now();
    }

    /// Records progress of an operation.
    pub(super) fn progress(&self) {
        self.activity.lock().since = Instant::now();
    }

    /// Finishes an operation.
    pub(super) fn finish(&self) {
        let mut activity = self.activity.lock();
        activity.busy -= 1;
        activity.since = Instant::now();
    }
}

impl Slots {
    pub(super) fn new(number: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(number)),
            held: Mutex::default(),
        })
    }

    /// Waits for a slot. If none is free, evicts an idle or stalled holder.
    pub(super) async fn acquire(self: &Arc<Self>, holder: Arc<SlotHolder>) -> Slot {
        let permit = self.permit().await;
        self.held.lock().push(holder.clone());
        Slot {
            holder,
            slots: self.clone(),
            _permit: permit,
        }
    }

    async fn permit(&self) -> OwnedSemaphorePermit {
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            return permit;
        }
        let evictions = async {
            loop {
                sleep_until(self.evict_one()).await;
            }
        };
        tokio::select! {
            // Polled first, so that newcomers get slots in their order of arrival.
            biased;
            Ok(permit) = self.free.clone().acquire_owned() => permit,
            never = evictions => never,
        }
    }

    /// Evicts the longest idle holder or, if none is idle, the longest stalled one.
    ///
    /// Returns the time of the next attempt, in case no slot is released before.
    fn evict_one(&self) -> Instant {
        let held = self.held.lock();
        let oldest = held
            .iter()
            .filter(|holder| !holder.cancellation.is_cancelled())
            .map(|holder| {
                let activity = holder.activity.lock();
                (activity.busy > 0, activity.since, holder)
            })
            .min_by_key(|(busy, since, _)| (*busy, *since));
        let now = Instant::now();
        match oldest {
            Some((true, since, _)) if since + STALLED > now => since + STALLED,
            Some((_, _, holder)) => {
                holder.cancellation.cancel();
                now + STALLED
            }
            None => now + STALLED,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut held = self.slots.held.lock();
        if let Some(place) = held
            .iter()
            .position(|holder| Arc::ptr_eq(holder, &self.holder))
        {
            held.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    fn holder() -> Arc<SlotHolder> {
        Arc::new(SlotHolder::new(CancellationToken::new()))
    }

    /// Takes `number` slots, each a moment later than the one before.
    async fn holders(slots: &Arc<Slots>, number: usize) -> Vec<Slot> {
        let mut held = Vec::new();
        for _ in 0..number {
            held.push(slots.acquire(holder()).await);
            advance(SHORT).await;
        }
        held
    }

    fn cancelled(held: &[Slot]) -> Vec<bool> {
        held.iter()
            .map(|place| place.holder.cancellation.is_cancelled())
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_gets_the_place_of_who_is_idle_for_longest() {
        let slots = Slots::new(3);
        let mut held = holders(&slots, 3).await;
        held[0].holder.begin();
        held[0].holder.finish();
        let newcomer = slots.acquire(holder());
        tokio::pin!(newcomer);
        assert!(timeout(SHORT, newcomer.as_mut()).await.is_err());
        assert_eq!(cancelled(&held), [false, true, false]);
        drop(held.remove(1));
        assert!(timeout(SHORT, newcomer).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_busy_keeps_its_place_unless_it_stalls_and_nobody_is_idle() {
        let slots = Slots::new(3);
        let held = holders(&slots, 3).await;
        held[0].holder.begin();
        held[1].holder.begin();
        let newcomer = slots.acquire(holder());
        tokio::pin!(newcomer);
        advance(STALLED * 10).await;
        assert!(timeout(SHORT, newcomer.as_mut()).await.is_err());
        assert_eq!(cancelled(&held), [false, false, true], "the idle one");

        let slots = Slots::new(2);
        let held = holders(&slots, 2).await;
        held[0].holder.begin();
        held[1].holder.begin();
        let newcomer = slots.acquire(holder());
        tokio::pin!(newcomer);
        for _ in 0..10 {
            let progress = timeout(STALLED / 2, newcomer.as_mut()).await;
            assert!(progress.is_err());
            held[0].holder.progress();
            assert!(
                !held[0].holder.cancellation.is_cancelled(),
                "it makes progress"
            );
        }
        assert_eq!(cancelled(&held), [false, true], "the stalled one");
    }

    #[tokio::test(start_paused = true)]
    async fn each_newcomer_ends_one_holder_and_they_come_in_their_order() {
        let slots = Slots::new(3);
        let mut held = holders(&slots, 3).await;
        let (first, second) = (slots.acquire(holder()), slots.acquire(holder()));
        tokio::pin!(first, second);
        assert!(timeout(SHORT, first.as_mut()).await.is_err());
        assert!(timeout(SHORT, second.as_mut()).await.is_err());
        assert_eq!(cancelled(&held), [true, true, false]);
        drop(held.remove(0));
        assert!(timeout(SHORT, second.as_mut()).await.is_err());
        assert!(timeout(SHORT, first).await.is_ok());
        drop(held.remove(0));
        assert!(timeout(SHORT, second).await.is_ok());
    }
}
