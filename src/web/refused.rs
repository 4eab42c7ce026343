//! Log of refused TLS connections: at most one line a minute.

use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::{AlertDescription, CertificateError, Error};
use tokio::time::Instant;

/// Minimum time between two log lines.
const INTERVAL: Duration = Duration::from_mins(1);

/// Refused TLS connections, counted between two log lines.
#[derive(Debug, Default)]
pub(super) struct RefusedConnections(Mutex<RefusalLog>);

#[derive(Debug, Default)]
struct RefusalLog {
    last: Option<Instant>,
    since: u64,
}

impl RefusedConnections {
    /// Logs a refused connection, unless one was logged within the last minute.
    ///
    /// The line contains the number of connections that were refused since the previous line.
    pub(super) fn log(&self, client: IpAddr, error: &Error) {
        let Some(others) = self.due() else {
            return;
        };
        let reason = reason(error);
        tracing::warn!(%client, reason, others, "a TLS connection was refused");
    }

    /// Records a refused connection. Returns how many were not logged before it, or `None` if this
    /// one is not logged either.
    fn due(&self) -> Option<u64> {
        let (mut log, now) = (self.0.lock(), Instant::now());
        if log.last.is_some_and(|last| now < last + INTERVAL) {
            log.since += 1;
            return None;
        }
        log.last = Some(now);
        Some(std::mem::take(&mut log.since))
    }
}

/// Describes an error in fixed text, because rustls' own text may contain data that the client
/// sent.
fn reason(error: &Error) -> &'static str {
    match error {
        Error::NoCertificatesPresented => "the client shows no certificate",
        Error::InvalidCertificate(error) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the client's certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the client's certificate is not valid yet"
            }
            CertificateError::UnknownIssuer => {
                "the client's certificate is by no authority in client_ca_file, nor in it itself"
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "the client's certificate is not for client authentication"
            }
            CertificateError::ApplicationVerificationFailure => {
                "the client's certificate has none of the names in client_allowed_sans"
            }
            CertificateError::BadSignature => {
                "the client's certificate, or the handshake, is not signed by the key that it says"
            }
            CertificateError::BadEncoding => "the client's certificate cannot be read",
            CertificateError::UnhandledCriticalExtension => {
                "the client's certificate has a critical extension that is not known here"
            }
            // webpki's errors have no variant of their own here, and their type is not public. Such
            // a certificate was looked up in `client_ca_file` before, and is not in it.
            CertificateError::Other(other)
                if format!("{other:?}").contains("CaUsedAsEndEntity") =>
            {
                "the client's certificate is that of an authority (CA:TRUE), and is not itself in \
                    client_ca_file"
            }
            _ => "the client's certificate cannot be verified",
        },
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired,
        ) => "the client does not trust the certificate of this server",
        Error::AlertReceived(_) => "the client ended the handshake",
        Error::PeerIncompatible(_) => {
            "the client speaks no version, cipher suite, curve or protocol that is allowed here"
        }
        Error::NoApplicationProtocol => "the client speaks no protocol that is allowed here",
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            "the client does not speak TLS"
        }
        _ => "the handshake failed",
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_refusal_a_minute_is_logged_with_the_number_of_the_others() {
        let refusals = RefusedConnections::default();
        assert_eq!(refusals.due(), Some(0));
        for _ in 0..7 {
            assert_eq!(refusals.due(), None);
        }
        advance(INTERVAL).await;
        assert_eq!(refusals.due(), Some(7));
        assert_eq!(refusals.due(), None);
        advance(INTERVAL).await;
        assert_eq!(refusals.due(), Some(1));
    }
}
