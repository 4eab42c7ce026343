//! Content negotiation: format and content encoding of a response (RFC 9110, 12.5).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::exposition::{Encoding, Format, Representation};

/// Media types of a metrics page, with their versions. The first is the default.
///
/// The names of all metrics and labels are valid in every version, so pages of one format are the
/// same in all its versions.
const OFFERS: [Offer; 4] = [
    Offer::new(Format::Text, "text", "plain", "0.0.4"),
    Offer::new(
        Format::OpenMetrics,
        "application",
        "openmetrics-text",
        "1.0.0",
    ),
    Offer::new(Format::Text, "text", "plain", "1.0.0"),
    Offer::new(
        Format::OpenMetrics,
        "application",
        "openmetrics-text",
        "0.0.1",
    ),
];

/// Schemes for names that are not valid in earlier versions. No name here needs one.
const ESCAPING: [&str; 4] = ["allow-utf-8", "underscores", "dots", "values"];

/// Media type that the server can send.
struct Offer {
    format: Format,
    kind: &'static str,
    subtype: &'static str,
    version: &'static str,
}

impl Offer {
    const fn new(
        format: Format,
        kind: &'static str,
        subtype: &'static str,
        version: &'static str,
    ) -> Self {
        Self {
            format,
            kind,
            subtype,
            version,
        }
    }

    /// Returns how specifically a media range matches; `None` if it does not.
    fn matched_by(&self, range: &Item<'_>) -> Option<u8> {
        let (kind, subtype) = range.name.split_once('/')?;
        let is = |asked: &str, own: &str| asked.eq_ignore_ascii_case(own);
        match range.parameter("version") {
            _ if (kind, subtype) == ("*", "*") => Some(0),
            _ if is(kind, self.kind) && subtype == "*" => Some(1),
            None if is(kind, self.kind) && is(subtype, self.subtype) => Some(2),
            Some(version) if is(kind, self.kind) && is(subtype, self.subtype) => {
                (version == self.version).then_some(3)
            }
            _ => None,
        }
    }

    fn content_type(&self, escaping: Option<&str>) -> HeaderValue {
        let Self {
            kind,
            subtype,
            version,
            ..
        } = self;
        let escaping = escaping.map(|scheme| format!("; escaping={scheme}"));
        let escaping = escaping.unwrap_or_default();
        let value = format!("{kind}/{subtype}; version={version}; charset=utf-8{escaping}");
        // Every part is one of the constants above.
        HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("text/plain"))
    }
}

/// Item of a header field that lists alternatives with weights.
struct Item<'a> {
    name: &'a str,
    parameters: &'a str,
    weight: f32,
}

impl<'a> Item<'a> {
    fn parse(text: &'a str) -> Self {
        let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
        let mut item = Self {
            name: name.trim(),
            parameters,
            weight: 1.0,
        };
        if let Some(weight) = item.parameter("q") {
            item.weight = weight.parse().unwrap_or(1.0_f32).clamp(0.0, 1.0);
        }
        item
    }

    /// Returns the value of a parameter, without quotes.
    fn parameter(&self, name: &str) -> Option<&'a str> {
        let mut parameters = split(self.parameters, ';');
        parameters.find_map(|parameter| {
            let (of, value) = parameter.split_once('=')?;
            let value = value.trim().trim_matches('"');
            of.trim().eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Splits text at a separator that is not inside a quoted string (RFC 9110, 5.6.4).
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |next| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        escaped = quoted && next == '\\';
        quoted ^= next == '"';
        next == separator && !quoted
    })
}

/// Returns the items of all header fields of this name.
fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = Item<'a>> {
    let values = headers.get_all(name).iter();
    let values = values.filter_map(|value| str::from_utf8(value.as_bytes()).ok());
    values.flat_map(|value| split(value, ',')).map(Item::parse)
}

/// Selects the representation of a metrics page, and returns it with its `Content-Type`.
///
/// Among equally wanted types, the first in the request wins. If none is acceptable, the default is
/// sent nevertheless: a scraper can do more with it than with an error.
pub(super) fn representation(headers: &HeaderMap) -> (Representation, HeaderValue) {
    let ranges: Vec<_> = items(headers, &header::ACCEPT).collect();
    let wanted = |offer: &'static Offer| {
        let matching = ranges.iter().enumerate().filter_map(|(position, range)| {
            Some((offer.matched_by(range)?, std::cmp::Reverse(position), range))
        });
        let (specific, position, range) =
            matching.max_by_key(|(specific, position, _)| (*specific, *position))?;
        let rank = (range.weight, specific, position);
        (range.weight > 0.0).then_some((rank, offer, range))
    };
    // The first of equal offers has to win, and `max_by` returns the last.
    let best = OFFERS.iter().rev().filter_map(wanted).max_by(|a, b| {
        let weights = a.0.0.total_cmp(&b.0.0);
        weights.then_with(|| (a.0.1, a.0.2).cmp(&(b.0.1, b.0.2)))
    });
    let (offer, range) = best.map_or((&OFFERS[0], None), |(_, offer, range)| (offer, Some(range)));
    let escaping = range.and_then(|range| range.parameter("escaping"));
    let escaping = escaping.filter(|scheme| ESCAPING.contains(scheme));
    let representation = Representation {
        format: offer.format,
        encoding: encoding(headers),
    };
    (representation, offer.content_type(escaping))
}

/// Selects the content encoding of a response: gzip, if it is accepted by name or by `*` and no
/// less wanted than `identity`.
pub(super) fn encoding(headers: &HeaderMap) -> Encoding {
    let items: Vec<_> = items(headers, &header::ACCEPT_ENCODING).collect();
    let weight = |names: &[&str]| {
        let is = |item: &&Item<'_>| {
            names
                .iter()
                .any(|name| item.name.eq_ignore_ascii_case(name))
        };
        items.iter().find(is).map(|item| item.weight)
    };
    let gzip = weight(&["gzip", "x-gzip"]).or_else(|| weight(&["*"]));
    let identity = weight(&["identity"]).unwrap_or_default();
    match gzip {
        Some(gzip) if gzip > 0.0 && gzip >= identity => Encoding::Gzip,
        _ => Encoding::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let values = values.iter().map(|value| {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            (name.clone(), value)
        });
        values.collect()
    }

    #[test]
    fn each_scraper_gets_the_format_that_it_prefers() {
        const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
        const UTF_8: &str = "; escaping=allow-utf-8";
        for (accept, expected) in [
            // Prometheus 2.42.
            (
                "application/openmetrics-text;version=1.0.0,\
                    application/openmetrics-text;version=0.0.1;q=0.75,\
                    text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OPEN.to_owned(),
            ),
            // Prometheus 3.
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                    application/openmetrics-text;version=0.0.1;q=0.4,\
                    text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                    text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                format!("{OPEN}{UTF_8}"),
            ),
            // Prometheus 3 with native histograms: protobuf is not offered.
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                    encoding=delimited;q=0.6,\
                    application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.5,\
                    text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                format!("{OPEN}; escaping=underscores"),
            ),
            // Prometheus 3 with `scrape_protocols: [PrometheusText1.0.0]` or `[…0.0.4]`.
            (
                "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,*/*;q=0.2",
                format!("text/plain; version=1.0.0; charset=utf-8{UTF_8}"),
            ),
            ("text/plain;version=0.0.4;q=0.3,*/*;q=0.2", TEXT.to_owned()),
            // VictoriaMetrics and vmagent.
            ("text/plain;version=0.0.4;q=1,*/*;q=0.1", TEXT.to_owned()),
            // Prometheus before 2.31, Telegraf.
            (
                "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OPEN.replace("1.0.0", "0.0.1"),
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                    encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3",
                TEXT.to_owned(),
            ),
            // curl, and a browser.
            ("*/*", TEXT.to_owned()),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                TEXT.to_owned(),
            ),
            ("application/openmetrics-text", OPEN.to_owned()),
            (
                "APPLICATION/OpenMetrics-Text; Version=\"1.0.0\"",
                OPEN.to_owned(),
            ),
            // Separators in quoted strings separate nothing.
            (
                "application/openmetrics-text;x=\"a;q=0\\\";q=0\";q=0.9,text/plain;q=0.5",
                OPEN.to_owned(),
            ),
            (
                "text/plain;q=0.5;x=\"é, application/openmetrics-text;b\"",
                TEXT.to_owned(),
            ),
            (
                "text/plain;q=0.9, application/openmetrics-text;x=\"",
                OPEN.to_owned(),
            ),
            // A weight is at most 1.
            (
                "text/plain, application/openmetrics-text;q=7",
                TEXT.to_owned(),
            ),
            ("text/plain, application/openmetrics-text", TEXT.to_owned()),
            ("application/openmetrics-text, text/plain", OPEN.to_owned()),
            ("text/*;q=0.5, application/*", OPEN.to_owned()),
            ("text/plain;q=0, */*", OPEN.to_owned()),
            // Neither a known version nor a known scheme.
            (
                "application/openmetrics-text;version=2.0.0",
                TEXT.to_owned(),
            ),
            (
                "application/openmetrics-text;escaping=none",
                OPEN.to_owned(),
            ),
            // Nothing that is offered, or nothing at all.
            ("application/json", TEXT.to_owned()),
            ("*/*;q=0", TEXT.to_owned()),
            (";;,=,/", TEXT.to_owned()),
            ("", TEXT.to_owned()),
        ] {
            let (chosen, content_type) = representation(&headers(&header::ACCEPT, &[accept]));
            assert_eq!(content_type, expected, "{accept:?}");
            let is_open = expected.starts_with("application");
            assert_eq!(chosen.format == Format::OpenMetrics, is_open, "{accept:?}");
        }
        let (none, _) = representation(&HeaderMap::new());
        assert_eq!(none, Encoding::Plain.into());
        let two = ["text/plain;q=0.5", "application/openmetrics-text;q=0.6"];
        let (chosen, _) = representation(&headers(&header::ACCEPT, &two));
        assert_eq!(chosen.format, Format::OpenMetrics);
    }

    #[test]
    fn gzip_is_sent_only_to_those_who_take_it() {
        for (value, gzip) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000, *", false),
            ("*;q=0", false),
            ("identity, gzip", true),
            ("identity, gzip;q=0.5", false),
            ("gzip;q=0.3, identity;q=0.2", true),
            ("gzip;q=1.0, identity; q=0.5, *;q=0", true),
            ("identity", false),
            ("", false),
        ] {
            let chosen = encoding(&headers(&header::ACCEPT_ENCODING, &[value]));
            assert_eq!(chosen == Encoding::Gzip, gzip, "{value:?}");
        }
        assert_eq!(encoding(&HeaderMap::new()), Encoding::Plain);
    }
}
