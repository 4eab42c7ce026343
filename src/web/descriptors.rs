//! The limit of open files, and the share of it for client connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::ServerLimits;

/// Maximum limit to request. More is of no use, and some containers allow a billion.
const MAX_ROWS: u64 = 1 << 20;

/// Descriptors that are open in any case: sockets and timers, and files of the configuration and of
/// the state directory while they are read or written.
const RESERVED: u64 = 32;

/// Minimum number of connections: one for a scraper and one for a health check.
const LEAST_CONNECTIONS: usize = 2;

/// Raises the soft limit of open files to the hard limit, and returns the limit in force.
///
/// The soft limit is low for programs that use `select`, which this one does not.
pub(crate) fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let now = limit.current.unwrap_or(u64::MAX);
    let wanted = limit.maximum.unwrap_or(MAX_ROWS).min(MAX_ROWS);
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
    /// Lowers the number of connections to what the file descriptors allow.
    ///
    /// The remaining descriptors are for files, and for as many connections to vendors as to
    /// clients.
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
