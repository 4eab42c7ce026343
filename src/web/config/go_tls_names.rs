//! TLS versions, cipher suites and curves by Go's names; what rustls does not support is refused.

use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{CipherSuite, ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion};

use crate::settings::Validator;

/// Go's names of cipher suites that rustls omits: no forward secrecy, or CBC.
const WEAK_SUITES: [&str; 8] = [
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];

/// Returns the versions from the minimum to the maximum.
///
/// rustls supports TLS 1.2 and later. A lower minimum has the same effect as TLS 1.2, and a lower
/// maximum is an error.
pub(super) fn versions(
    min: Option<String>,
    max: Option<String>,
    here: &mut Validator<'_>,
) -> Option<Vec<&'static SupportedProtocolVersion>> {
    let mut number = |key: &str, name: Option<String>, default| match name.as_deref() {
        None => Some(default),
        Some("TLS13") => Some(13),
        Some("TLS12") => Some(12),
        Some("TLS11" | "TLS10") if key == "min_version" => Some(12),
        Some("TLS11" | "TLS10") => {
            here.problem(
                key,
                "this program speaks TLS 1.2 and 1.3 only: expected TLS12 or TLS13",
            );
            None
        }
        Some(_) => {
            here.problem(key, "expected TLS10, TLS11, TLS12 or TLS13");
            None
        }
    };
    let (min, max) = (
        number("min_version", min, 12),
        number("max_version", max, 13),
    );
    let (min, max) = (min?, max?);
    if min > max {
        here.problem("min_version", "is above max_version: no version is left");
        return None;
    }
    let known = [(13, &rustls::version::TLS13), (12, &rustls::version::TLS12)];
    let allowed = known
        .into_iter()
        .filter(|(number, _)| (min..=max).contains(number));
    Some(allowed.map(|(_, version)| version).collect())
}

/// Returns Go's name of a cipher suite.
fn go_name(suite: SupportedCipherSuite) -> String {
    let name = suite.suite().as_str().unwrap_or_default();
    name.replace("TLS13_", "TLS_")
}

/// Returns all suites of TLS 1.3, then the named suites of TLS 1.2 in their order.
///
/// As in Go, the suites of TLS 1.3 cannot be chosen. Without names, returns all suites.
pub(super) fn suites(
    provider: &CryptoProvider,
    names: Option<Vec<String>>,
    here: &mut Validator<'_>,
) -> Vec<SupportedCipherSuite> {
    let known = &provider.cipher_suites;
    let Some(names) = names.filter(|names| !names.is_empty()) else {
        return known.clone();
    };
    let fixed = known
        .iter()
        .filter(|suite| suite.version().version == ProtocolVersion::TLSv1_3);
    let mut chosen: Vec<_> = fixed.copied().collect();
    for (index, name) in names.iter().enumerate() {
        match known.iter().find(|suite| go_name(**suite) == *name) {
            Some(suite) if chosen.contains(suite) => {}
            Some(suite) => chosen.push(*suite),
            None => {
                let spoken: Vec<_> = known.iter().map(|suite| go_name(*suite)).collect();
                let why = if WEAK_SUITES.contains(&name.as_str()) {
                    format!(
                        "{name} is not spoken here, since it lacks forward secrecy or \
                            authenticated encryption"
                    )
                } else {
                    "is no cipher suite of Go's".to_owned()
                };
                let what = format!("{why}: expected one of {}", spoken.join(", "));
                here.problem(&format!("cipher_suites[{index}]"), what);
            }
        }
    }
    chosen
}

/// Reports an error if HTTP/2 over TLS 1.2 lacks a cipher suite that every client has.
///
/// RFC 9113, 9.2.2 requires such a suite, and Go refuses to serve without one.
pub(super) fn http2_suites(
    provider: &CryptoProvider,
    versions: &[&SupportedProtocolVersion],
    here: &mut Validator<'_>,
) {
    let old = ProtocolVersion::TLSv1_2;
    let mut of_old = (provider.cipher_suites.iter())
        .filter(|suite| suite.version().version == old)
        .map(rustls::SupportedCipherSuite::suite)
        .peekable();
    let needed = [
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ];
    // Without any suite of TLS 1.2, that version is not spoken.
    let spoken = versions.iter().any(|version| version.version == old) && of_old.peek().is_some();
    if spoken && !of_old.any(|suite| needed.contains(&suite)) {
        here.problem(
            "cipher_suites",
            "HTTP/2 over TLS 1.2 needs TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 or \
                TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: add one, or set min_version: TLS13, or \
                http2: false in http_server_config",
        );
    }
}

/// Returns the named curves in their order, or all curves without names.
pub(super) fn curves(
    provider: &CryptoProvider,
    names: Option<Vec<String>>,
    here: &mut Validator<'_>,
) -> Vec<&'static dyn SupportedKxGroup> {
    let Some(names) = names.filter(|names| !names.is_empty()) else {
        return provider.kx_groups.clone();
    };
    let mut chosen = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let why = match name.as_str() {
            "X25519" => {
                chosen.push(aws_lc_rs::kx_group::X25519);
                continue;
            }
            "CurveP256" => {
                chosen.push(aws_lc_rs::kx_group::SECP256R1);
                continue;
            }
            "CurveP384" => {
                chosen.push(aws_lc_rs::kx_group::SECP384R1);
                continue;
            }
            "X25519MLKEM768" => {
                chosen.push(aws_lc_rs::kx_group::X25519MLKEM768);
                continue;
            }
            "CurveP521" => "CurveP521 is not among the key exchanges of this program",
            _ => "is no curve of exporter-toolkit's",
        };
        let what = format!("{why}: expected X25519, CurveP256, CurveP384 or X25519MLKEM768");
        here.problem(&format!("curve_preferences[{index}]"), what);
    }
    if chosen.is_empty() {
        provider.kx_groups.clone()
    } else {
        chosen
    }
}
