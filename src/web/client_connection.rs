//! State of one client connection: peer address, number of requests, abandoned responses.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use tokio_util::sync::CancellationToken;

use super::slots::{Slot, SlotHolder};

/// Consecutive responses that a client may abandon before its connection is closed.
///
/// Streams that are opened and reset cost the client next to nothing (HTTP/2 rapid reset,
/// CVE-2023-44487).
const ABANDONED: u32 = 100;

/// Client of one connection, shared by the tasks of its requests.
#[derive(Debug)]
pub(super) struct ClientConnection {
    /// Address of the peer.
    pub(super) address: IpAddr,
    /// Holder of the connection's slot.
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

    /// Returns the number of requests whose headers were read.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Records that the headers of a request were read, and tracks its response.
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

/// Response in progress, from its request's headers to its last chunk.
///
/// A response that is dropped before `finish` counts as abandoned.
#[derive(Debug)]
pub(super) struct Answering {
    client: Arc<ClientConnection>,
    place: Option<Slot>,
    finished: bool,
}

impl Answering {
    /// Keeps a response slot until the response ends.
    pub(super) fn hold(&mut self, place: Slot) {
        self.place = Some(place);
    }

    /// Records progress: hyper took a chunk, so the client accepts data.
    pub(super) fn progress(&self) {
        self.client.holder.progress();
        if let Some(place) = &self.place {
            place.holder.progress();
        }
    }

    /// Records that hyper took the last chunk.
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
            self.client.holder.cancellation.cancel();
        }
    }
}
