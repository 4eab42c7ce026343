//! Strict parser for certificates in PEM (RFC 7468).
//!
//! A tolerant parser skips a broken block, and the missing certificate is noticed only much later.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::invalid::Invalid;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Returns the certificates of a PEM file.
///
/// Complete blocks of other kinds and text between blocks are skipped. The error completes a
/// sentence that begins with the file's name. It quotes only the kinds of blocks.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Invalid> {
    // DER begins with a SEQUENCE whose length takes two bytes.
    if pem.starts_with(&[0x30, 0x82]) {
        return Err(
            "holds no certificate in PEM form, it may be DER: openssl x509 -inform DER converts it"
                .into(),
        );
    }
    // Some editors put a byte order mark before the first line.
    let pem = pem.strip_prefix(b"\xef\xbb\xbf").unwrap_or(pem);
    let mut list = Vec::new();
    let mut other = None;
    for block in blocks(pem)? {
        let PemBlock { kind, line, text } = block;
        if kind == "CERTIFICATE" {
            let certificate = CertificateDer::from_pem_slice(text).map_err(|_| {
                format!("has a certificate in line {line} that is not whole: its base64 is broken")
            })?;
            if certificate.is_empty() {
                return Err(format!("has an empty certificate in line {line}").into());
            }
            list.push(certificate);
        } else {
            other.get_or_insert((kind, line));
        }
    }
    match (list.is_empty(), other) {
        (false, _) => Ok(list),
        (true, None) => Err("holds no certificate in PEM form".into()),
        (true, Some((kind, line))) => {
            Err(format!("holds no certificate in PEM form: line {line} begins a {kind}").into())
        }
    }
}

/// PEM block, with the number of its first line, counted from 1.
struct PemBlock<'a> {
    kind: &'a str,
    line: usize,
    text: &'a [u8],
}

fn blocks(pem: &[u8]) -> Result<Vec<PemBlock<'_>>, Invalid> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, usize, usize)> = None;
    let mut from = 0;
    for (line, bytes) in pem.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let (line, start) = (line + 1, from);
        from += bytes.len();
        // A line that is not UTF-8 cannot be a boundary.
        let text = std::str::from_utf8(bytes).unwrap_or_default().trim();
        if !text.contains(BEGIN) && !text.contains(END) {
            continue;
        }
        let kind = |boundary| {
            let kind = text.strip_prefix(boundary)?.strip_suffix(DASHES)?;
            let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ';
            ((1..=64).contains(&kind.len()) && kind.chars().all(plain)).then_some(kind)
        };
        open = match (open, kind(BEGIN), kind(END)) {
            (None, Some(kind), _) => Some((kind, line, start)),
            (Some((kind, begun, start)), _, Some(end)) if kind == end => {
                let text = &pem[start..from];
                let line = begun;
                blocks.push(PemBlock { kind, line, text });
                None
            }
            (Some((kind, begun, _)), Some(_), _) => {
                return Err(format!(
                    "has a {kind} in line {begun} that does not end before line {line} begins \
                        another"
                )
                .into());
            }
            (_, _, Some(kind)) => {
                return Err(
                    format!("has an end of a {kind} in line {line} where none was begun").into(),
                );
            }
            (_, None, None) => {
                return Err(format!(
                    "has more than one -----BEGIN or -----END in line {line}, or other text \
                        in that line: put each on a line of its own (files that are joined need a line end \
                        between them)"
                )
                .into());
            }
        };
    }
    match open {
        Some((kind, line, _)) => {
            Err(format!("has a {kind} in line {line} that does not end").into())
        }
        None => Ok(blocks),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem() -> String {
        rcgen::generate_simple_self_signed(vec!["a.test".to_owned()])
            .unwrap()
            .cert
            .pem()
    }

    fn refused(pem: &str) -> String {
        certificates(pem.as_bytes()).unwrap_err().into()
    }

    #[test]
    fn bundles_with_comments_keys_and_other_line_ends_are_read() {
        let (one, two) = (pem(), pem());
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let bundle = format!("\u{feff}{one}\n# Ö, an authority\n=====\n{key}{two}");
        assert_eq!(certificates(bundle.as_bytes()).unwrap().len(), 2);
        let bundle = bundle.replace('\n', "\r\n");
        assert_eq!(certificates(bundle.as_bytes()).unwrap().len(), 2);
        let last = bundle.trim_end();
        assert_eq!(certificates(last.as_bytes()).unwrap().len(), 2);
        let latin = [b"# caf\xe9\n", one.as_bytes()].concat();
        assert_eq!(certificates(&latin).unwrap().len(), 1);
    }

    #[test]
    fn files_joined_without_a_line_end_between_them_are_refused_with_the_line() {
        let (one, two) = (pem(), pem());
        let joined = format!("{}{two}", one.trim_end());
        let line = one.trim_end().lines().count();
        let said = refused(&joined);
        assert!(said.contains(&format!("in line {line},")), "{said}");
        assert!(said.contains("a line of its own"), "{said}");
    }

    #[test]
    fn a_block_that_is_broken_is_refused_with_its_line() {
        let one = pem();
        let lines = one.lines().count();
        let cut = |n: usize| one.lines().take(n).collect::<Vec<_>>().join("\n");
        let said = refused(&cut(lines - 1));
        assert_eq!(said, "has a CERTIFICATE in line 1 that does not end");
        let said = refused(&format!("{}\n{one}", cut(lines - 1)));
        assert!(
            said.contains("in line 1 that does not end before line"),
            "{said}"
        );
        let said = refused(&one.lines().skip(1).collect::<Vec<_>>().join("\n"));
        assert!(said.contains("where none was begun"), "{said}");
        let said = refused(&one.replacen("MII", "M*I", 1));
        assert!(said.contains("in line 1 that is not whole"), "{said}");
        let said = refused("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n");
        assert_eq!(said, "has an empty certificate in line 1");
        let said = refused("-----BEGIN CERTIFICATE-----\nAAAA\n-----END PRIVATE KEY-----\n");
        assert!(said.contains("line 3"), "{said}");
    }

    #[test]
    fn what_stands_in_place_of_a_certificate_is_named() {
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let said = refused(&key);
        assert_eq!(
            said,
            "holds no certificate in PEM form: line 1 begins a PRIVATE KEY"
        );
        let crl = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
        assert!(refused(crl).ends_with("line 1 begins a X509 CRL"));
        let trusted =
            "-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n-----END TRUSTED CERTIFICATE-----";
        assert!(refused(trusted).ends_with("a TRUSTED CERTIFICATE"));
        assert_eq!(refused("S3cret"), "holds no certificate in PEM form");
        assert_eq!(refused(""), "holds no certificate in PEM form");
        let der = CertificateDer::from_pem_slice(pem().as_bytes()).unwrap();
        assert!(String::from(certificates(&der).unwrap_err()).contains("DER"));
    }
}
