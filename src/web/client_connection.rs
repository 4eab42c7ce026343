//! The client of one connection: where it is, what it asks, and whether it asks in good faith.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use tokio_util::sync::CancellationToken;

use super::slots::{Slot, SlotHolder};

/// So many answers that a client abandons one after the other end its connection. Streams that are
/// opened and reset cost the client next to nothing (CVE-2023-44487).
const ABANDONED: u32 = 100;

/// The client of one connection.
#[derive(Debug)]
pub(super) struct ClientConnection {
    /// Where it is.
    pub(super) address: IpAddr,
    /// Its connection's hold on a place.
    pub(super) holder: Arc<SlotHolder>,
    requests: AtomicU64,
    abandoned: AtomicU32,
}

impl ClientConnection {
    pub(super) fn new(address: IpAddr) -> Self {
        Self {
            address,
            holder: Arc::new(SlotHolder::new(CancellationToken::new())),
            requests: AtomicU64::new(0),
            abandoned: AtomicU32::new(0),
        }
    }

    /// How many requests were read.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// The head of a request was read.
    pub(super) fn asks(self: &Arc<Self>) -> Answering {
        self.requests.fetch_add(1, Relaxed);
        self.holder.begin();
        Answering {
            client: self.clone(),
            place: None,
            finished: false,
        }
    }
}

/// An answer under way, from the head of its request to its last piece.
#[derive(Debug)]
pub(super) struct Answering {
    client: Arc<ClientConnection>,
    place: Option<Slot>,
    finished: bool,
}

impl Answering {
    /// The answer has this place among those of its kind.
    pub(super) fn hold(&mut self, place: Slot) {
        self.place = Some(place);
    }

    /// The client took a piece.
    pub(super) fn progress(&self) {
        self.client.holder.progress();
        if let Some(place) = &self.place {
            place.holder.progress();
        }
    }

    /// The last piece is on its way.
    pub(super) fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.client.holder.finish();
        if self.finished {
            self.client.abandoned.store(0, Relaxed);
        } else if self.client.abandoned.fetch_add(1, Relaxed) >= ABANDONED {
            self.client.holder.ended.cancel();
        }
    }
}
