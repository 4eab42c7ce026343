//! Natural order of names: `acme_2` comes before `acme_10`, and case does not matter.

use std::cmp::Ordering;

/// Compares two names: runs of digits by their number, other characters by their lower case.
///
/// Names that are equal in that sense are compared as texts, so the order is total.
pub(super) fn natural(one: &str, other: &str) -> Ordering {
    let (mut a, mut b) = (one, other);
    loop {
        let (Some(x), Some(y)) = (a.chars().next(), b.chars().next()) else {
            return a.len().cmp(&b.len()).then_with(|| one.cmp(other));
        };
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (first, second);
            (first, a) = digits(a);
            (second, b) = digits(b);
            (first.len(), first).cmp(&(second.len(), second))
        } else {
            a = &a[x.len_utf8()..];
            b = &b[y.len_utf8()..];
            x.to_lowercase().cmp(y.to_lowercase())
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Splits a text after its leading digits, and drops leading zeros from them.
fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    (digits.trim_start_matches('0'), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_compared_as_numbers() {
        let mut names = [
            "b",
            "acme_10",
            "acme_9",
            "Acme_2",
            "acme",
            "acme_02b",
            "É",
            "acme_2",
            "é",
            "",
            "acme_18446744073709551617",
        ];
        names.sort_by(|a, b| natural(a, b));
        let expected = [
            "",
            "acme",
            "Acme_2",
            "acme_2",
            "acme_02b",
            "acme_9",
            "acme_10",
            "acme_18446744073709551617",
            "b",
            "É",
            "é",
        ];
        assert_eq!(names, expected);
    }
}
