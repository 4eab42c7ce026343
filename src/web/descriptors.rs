//! How many files the process may have open, and how many of these are for clients.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::ServerLimits;

/// More than this helps nobody; some containers allow a billion.
const MOST: u64 = 1 << 20;

/// What the process has open anyway: its sockets and timers, and files of the configuration and of the
/// state folder while they are read or written.
const RESERVED: u64 = 32;

/// Below it, a scraper could not be served beside a health check.
const LEAST_CONNECTIONS: usize = 2;

/// Raises the soft limit of open files to the hard one, and gives what holds then. The soft one is low for
/// programs that use `select`, which this one does not.
pub(crate) fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let now = limit.current.unwrap_or(u64::MAX);
    let wanted = limit.maximum.unwrap_or(MOST).min(MOST);
    let raised = Rlimit {
        current: Some(wanted),
        ..limit
    };
    if now < wanted && setrlimit(Resource::Nofile, raised).is_ok() {
        return wanted;
    }
    now
}

impl ServerLimits {
    /// Leaves room for everything else among so many descriptors: as many connections to vendors as to clients, and
    /// files.
    pub(crate) fn fit(&mut self, descriptors: u64) {
        let free = descriptors.saturating_sub(RESERVED) / 2;
        let fits = usize::try_from(free).unwrap_or(usize::MAX);
        let connections = self.connections.min(fits.max(LEAST_CONNECTIONS));
        if connections < self.connections {
            tracing::warn!(
                descriptors,
                connections,
                "few files may be open at once (ulimit -n), so fewer clients may be connected"
            );
            self.connections = connections;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(descriptors: u64) -> usize {
        let mut limits = ServerLimits::default();
        limits.fit(descriptors);
        limits.connections
    }

    #[test]
    fn clients_get_no_more_than_half_of_the_descriptors_that_are_free() {
        assert_eq!(connections(u64::MAX), ServerLimits::default().connections);
        assert_eq!(connections(1 << 20), ServerLimits::default().connections);
        assert_eq!(connections(64), 16);
        assert_eq!(connections(20), LEAST_CONNECTIONS);
        assert_eq!(connections(0), LEAST_CONNECTIONS);
    }
}
