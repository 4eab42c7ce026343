//! Suggestions for unknown keys.

/// Returns the known key nearest to a typed one, if the typed one is certainly not a secret.
///
/// It is certainly not a secret if at most two letters differ, fewer in a short key, or if all of
/// its words occur in the known key.
pub(super) fn nearest<'k>(typed: &str, known: &[&'k str]) -> Option<&'k str> {
    // A longer key is not compared: the cost is the product of both lengths.
    if typed.chars().count() > 64 {
        return None;
    }
    let typed = plain(typed);
    let near = known.iter().filter_map(|known| {
        let meant = plain(known);
        let far = strsim::damerau_levenshtein(&typed, &meant);
        let slips = match typed.chars().count().max(meant.chars().count()) {
            0..3 => 0,
            3..6 => 1,
            _ => 2,
        };
        (far <= slips || has_words(&meant, &typed)).then_some((far, *known))
    });
    near.min_by_key(|(far, _)| *far).map(|(_, known)| known)
}

/// Normalizes what users confuse in keys: case, separators and invisible characters.
fn plain(key: &str) -> String {
    let visible = key.chars().filter(|c| !is_invisible(*c));
    let plain = visible.map(|c| if matches!(c, '-' | '.' | ' ') { '_' } else { c });
    plain.flat_map(char::to_lowercase).collect()
}

/// Returns whether each word of `some` is a word of `all`, in the same order.
fn has_words(all: &str, some: &str) -> bool {
    let mut words = all.split('_');
    some.split('_').all(|one| words.any(|word| word == one))
}

/// Returns a key as messages show it, with invisible characters spelled out.
pub(super) fn visible(key: &str) -> String {
    let shown = key.chars().map(|c| {
        if is_invisible(c) {
            format!("<U+{:04X}>", u32::from(c))
        } else {
            c.to_string()
        }
    });
    shown.collect()
}

/// Returns whether a character is displayed as nothing or as a gap.
///
/// These are control characters, spaces other than the ASCII space, and marks that set the
/// direction or join characters.
pub(super) fn is_invisible(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_hand_is_near_and_a_secret_is_not() {
        let known = [
            "account",
            "base_url",
            "client_secret_file",
            "interval",
            "request_timeout",
            "id",
        ];
        for (typed, meant) in [
            ("base_ulr", "base_url"),
            ("baseUrl", "base_url"),
            ("base-url", "base_url"),
            ("intervall", "interval"),
            ("inter\u{200b}val", "interval"),
            ("timeout", "request_timeout"),
            ("secret_file", "client_secret_file"),
            ("Account", "account"),
            ("ids", "id"),
        ] {
            assert_eq!(nearest(typed, &known), Some(meant), "{typed}");
        }
        let long = "interval".repeat(9);
        for other in [
            "hunter",
            "client_secret_abc",
            "client_secret s3cret",
            "correcthorsebatterystaple",
            "t0ps3cret",
            "",
            "_",
            &long,
        ] {
            assert_eq!(nearest(other, &known), None, "{other}");
        }
    }

    #[test]
    fn what_cannot_be_seen_in_a_key_is_spelled_out() {
        assert_eq!(visible("a\u{200b}b\u{a0}c"), "a<U+200B>b<U+00A0>c");
    }
}
