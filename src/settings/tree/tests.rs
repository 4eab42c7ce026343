//! Tests of the parsed tree and of the positions of its values.

use std::fmt::Write as _;

use super::*;

fn read(text: &str) -> Node {
    let mut problems = ConfigErrors::new("c");
    Node::parse(text, &mut problems).unwrap_or_else(|| panic!("{problems}"))
}

fn refused(text: &str) -> String {
    let mut problems = ConfigErrors::new("c");
    assert!(Node::parse(text, &mut problems).is_none(), "{text}");
    problems.to_string()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test may wait for files")]
fn what_is_read_is_what_serde_yaml_reads() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/config/good");
    let good = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|file| file.is_file());
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.yaml").into();
    for file in good.chain([example]) {
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.trim_start_matches('\u{feff}');
        let mut expected: Value = serde_yaml::from_str(text).unwrap();
        expected.apply_merge().unwrap();
        assert_eq!(read(text).to_value(), expected, "{}", file.display());
    }
    for text in [
        "",
        "a",
        "- 1\n- 1.5\n- -3\n- 0x1F\n- 0o17\n- 017\n- .inf\n- 1e3\n- 1_000\n- +5\n- 0b11",
        "[true, True, no, on, null, ~, '', \"\", 'null', NULL, y]",
        "a: |\n  b\n  c\nd: >-\n  e\n  f\n",
        "{a: 1, 'b': [c, {d: e}], 7: x}",
        "a: ---\nc: --\nd: 2001-01-01\ne: 12:30",
        "a: !!str 12\nb: !!int 12",
        "a: b # c\n# d\ne: 'f''g'\nh: \"\\u00e9\\n\"",
        "a: &x [1, 2]\nb: *x",
    ] {
        assert_eq!(
            read(text).to_value(),
            serde_yaml::from_str::<Value>(text).unwrap(),
            "{text}"
        );
    }
}

#[test]
fn a_value_stands_where_it_is_written() {
    let tree = read("\u{feff}a:\n  - b: 'c'\n  - x\nk_file: é\nempty:\n");
    for (key, place) in [
        ("a", "2:3"),
        ("a[0]", "2:5"),
        ("a[1]", "3:5"),
        ("k_file", "4:9"),
        // A key that can be set in several ways has the position of the one that is used.
        ("k", "4:9"),
        // Only the key is written.
        ("empty", "5:1"),
        // The mapping without the key.
        ("missing", "1:1"),
    ] {
        assert_eq!(tree.position(key).to_string(), place, "{key}");
    }
    assert_eq!(tree.below("a[0]").unwrap().position("b").to_string(), "2:8");
}

#[test]
fn own_keys_come_before_merged_ones_and_earlier_merged_ones_before_later() {
    let text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  <<: [*a, *b]\n  x: 3\n";
    let merged = read(text).below("c").unwrap().to_value();
    assert_eq!(
        merged,
        serde_yaml::from_str::<Value>("{x: 3, y: 1, z: 2}").unwrap()
    );
}

#[test]
fn a_key_that_is_there_twice_keeps_its_first_value_and_the_place_of_the_second() {
    let tree = read("a: 1\nb: 2\na: 3\na: 4\n");
    let entry = tree.get("a").unwrap();
    let again: Vec<_> = entry.again.iter().map(|at| at.line).collect();
    assert_eq!((entry.value.scalar(), again), (Some(1.into()), vec![3, 4]));
}

#[test]
fn aliases_are_bounded_by_what_they_become() {
    let aliases = "- *a\n".repeat(1000);
    read(&format!("- &a {}\n{aliases}", "x".repeat(100)));
    let said = refused(&format!("- &a {}\n{aliases}", "x".repeat(10_000)));
    assert!(said.contains("repeat more than 1 MiB"), "{said}");
    let mut text = "a0: &a0 [x]\n".to_owned();
    for n in 1..40 {
        writeln!(text, "a{n}: &a{n} [*a{}]", n - 1).unwrap();
    }
    assert!(refused(&text).starts_with("c:32:"), "{}", refused(&text));
}

#[test]
fn what_is_no_yaml_is_told_where_it_is_and_in_words_of_people() {
    let indentation =
        "check the indentation: this line does not stand under the line that it belongs to";
    let tabs = "tabs cannot indent YAML: use spaces";
    for (text, said) in [
        ("a:\n\tb: 1\n", format!("c:2:1: {tabs}")),
        ("a:\n  b: 1\n  \tc: 2\n", format!("c:3:3: {tabs}")),
        ("a:\n  b: c\n\n\td: 2\n", format!("c:4:1: {tabs}")),
        ("a:\n  - b: c\n   d: e\n", format!("c:3:4: {indentation}")),
        ("a:\n  b: c\n    d: e\n", format!("c:3:5: {indentation}")),
        ("a:\n    b: c\n  d: e\n", format!("c:3:3: {indentation}")),
        (
            "a: 'b\n",
            "c:1:4: these quotes are not closed, or their next line is not indented".into(),
        ),
        (
            "a: @b\n",
            "c:1:4: a value that begins with this character needs quotes".into(),
        ),
        (
            "a: b: c\n",
            "c:1:5: a value that holds a colon and a space needs quotes".into(),
        ),
        (
            "- a:b\n  c: d\n",
            "c:1:3: expected a key, a colon and a space, such as interval: 5m".into(),
        ),
    ] {
        assert_eq!(refused(text), said, "{text}");
    }
}
