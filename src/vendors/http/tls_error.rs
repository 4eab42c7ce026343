//! TLS failures as sentences, with what to do about them.
//!
//! rustls's own messages contain the names of its types.

use rustls::AlertDescription as Alert;
use rustls::CertificateError as Bad;
use rustls::{Error, InvalidMessage};

const OF_SERVER: &str = "have the server's certificate replaced by who runs it";
const ISSUER: &str = "if the server is the right one, name its authority's certificate in ca_file; \
    a proxy that inspects TLS has an authority of its own";
const CLOCK: &str =
    "have the server's certificate replaced by who runs it, or set this machine's clock";
const NAME: &str = "check base_url: its host must be one of the certificate's names";
const CLIENT: &str = "the server asks for a client certificate, and this program has none: check \
    base_url, or ask who runs the server";
const VERSIONS: &str =
    "the server must offer TLS 1.2 or 1.3 with a cipher suite of ECDHE and AES-GCM or ChaCha20";
const PLAIN: &str = "check the scheme and the port of base_url";
const ANY: &str = "check base_url, and what stands between: a proxy or a firewall can end TLS";

/// Returns what happened, and what an operator can do about it.
pub(crate) fn explain(error: &Error) -> (String, &'static str) {
    let (what, remedy) = match error {
        Error::InvalidCertificate(bad) => return certificate(bad),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            ("what answered does not speak TLS at this port", PLAIN)
        }
        Error::AlertReceived(Alert::CertificateRequired) => {
            ("the server requires a client certificate", CLIENT)
        }
        Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::UnknownCA,
        ) => (
            "the server does not accept the client's certificate",
            CLIENT,
        ),
        Error::AlertReceived(
            Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity,
        )
        | Error::PeerIncompatible(_) => (
            "the server and this program have no TLS version or cipher suite in common",
            VERSIONS,
        ),
        Error::AlertReceived(Alert::UnrecognisedName) => {
            ("the server does not know the host of this name", NAME)
        }
        Error::NoApplicationProtocol | Error::AlertReceived(Alert::NoApplicationProtocol) => {
            ("the server speaks neither HTTP/1.1 nor HTTP/2", PLAIN)
        }
        Error::NoCertificatesPresented => ("the server shows no certificate", OF_SERVER),
        Error::AlertReceived(alert) => {
            return (
                format!("the server ended the handshake with the TLS alert {alert:?}"),
                ANY,
            );
        }
        Error::InvalidMessage(_) | Error::PeerMisbehaved(_) | Error::DecryptError => {
            ("what answered does not keep to TLS", ANY)
        }
        _ => ("the TLS handshake failed", ANY),
    };
    (what.to_owned(), remedy)
}

fn certificate(bad: &Bad) -> (String, &'static str) {
    let (what, remedy) = match bad {
        Bad::Expired | Bad::ExpiredContext { .. } => ("has expired", CLOCK),
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => ("is not valid yet", CLOCK),
        Bad::UnknownIssuer => (
            "comes from an authority that this machine does not trust",
            ISSUER,
        ),
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => ("is for another name", NAME),
        Bad::Revoked => ("was revoked", OF_SERVER),
        Bad::BadEncoding => ("cannot be read", OF_SERVER),
        Bad::BadSignature => (
            "is not signed by the authority that it names; a trusted one has the same name and \
                another key",
            ISSUER,
        ),
        Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. } => {
            ("is not for use by servers", OF_SERVER)
        }
        Bad::UnhandledCriticalExtension => {
            ("has a critical extension that is not known", OF_SERVER)
        }
        // webpki's own errors have no variant here, and their type is not public.
        Bad::Other(other) => match format!("{other:?}") {
            text if text.contains("CaUsedAsEndEntity") => (
                "is that of an authority (CA:TRUE), which no server may show as its own",
                "have a certificate for servers (CA:FALSE) issued; a self-signed one must say so, \
                    too",
            ),
            text if text.contains("EndEntityUsedAsCa") => (
                "is signed by a certificate that is none of an authority",
                OF_SERVER,
            ),
            text if text.contains("EkuError") || text.contains("RequiredEku") => {
                ("is not for use by servers", OF_SERVER)
            }
            text if text.contains("NameConstraint") => {
                ("has a name that its authority may not certify", OF_SERVER)
            }
            text if text.contains("UnsupportedCertVersion") => {
                ("is of X.509 version 1, expected 3", OF_SERVER)
            }
            _ => ("is not acceptable", OF_SERVER),
        },
        _ => ("is not acceptable", OF_SERVER),
    };
    (format!("the server's certificate {what}"), remedy)
}

#[cfg(test)]
mod tests {
    use rustls::{OtherError, PeerIncompatible};

    use super::*;

    #[test]
    fn no_word_of_the_library_is_shown_but_the_name_of_an_alert_that_says_no_more() {
        let other = |text: &'static str| {
            #[derive(Debug)]
            struct Other(#[expect(dead_code, reason = "shown by Debug")] &'static str);
            impl std::fmt::Display for Other {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("other")
                }
            }
            impl std::error::Error for Other {}
            Error::InvalidCertificate(Bad::Other(OtherError(std::sync::Arc::new(Other(text)))))
        };
        for (error, what) in [
            (other("CaUsedAsEndEntity"), "(CA:TRUE)"),
            (other("whatever it is"), "is not acceptable"),
            (
                Error::InvalidCertificate(Bad::UnknownIssuer),
                "does not trust",
            ),
            (
                Error::AlertReceived(Alert::ProtocolVersion),
                "no TLS version or cipher suite in common",
            ),
            (
                Error::AlertReceived(Alert::HandshakeFailure),
                "no TLS version or cipher suite in common",
            ),
            (
                Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
                "no TLS version or cipher suite in common",
            ),
            (
                Error::AlertReceived(Alert::CertificateRequired),
                "requires a client certificate",
            ),
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "does not speak TLS",
            ),
            (
                Error::AlertReceived(Alert::InternalError),
                "the TLS alert InternalError",
            ),
            (
                Error::General("libraries say".to_owned()),
                "handshake failed",
            ),
        ] {
            let (said, remedy) = explain(&error);
            assert!(said.contains(what), "{said}");
            assert!(!remedy.is_empty());
            for word in ["Other", "Error(", "libraries", "whatever"] {
                assert!(!said.contains(word), "{said}");
            }
        }
    }
}
