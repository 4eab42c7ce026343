//! Configurations that load, and a directory of invalid ones, each with its exact errors.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use connections_exporter::config::Config;
use connections_exporter::settings::ConfigErrors;
use connections_simulator::{Simulator, Sizes, World};
use jiff::Timestamp;
use serde_json::Value;

use crate::daemon::exporter;

const REFUSED: &str = "# refused: ";
const UNSEEN: &str = "# unseen by the schema: ";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Lists the configurations in a directory of `tests/fixtures/config`.
fn configurations(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("tests/fixtures/config").join(folder)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "yaml"));
    files.sort();
    files
}

fn env(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("t0ken".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

/// Returns the lines that start with `begin`, without that prefix.
fn lines<'a>(text: &'a str, begin: &str) -> Vec<&'a str> {
    text.lines()
        .filter_map(|line| line.strip_prefix(begin))
        .collect()
}

fn schema() -> jsonschema::Validator {
    let schema = fs::read_to_string(root().join("docs/config.schema.json")).unwrap();
    let schema = serde_json::from_str(&schema).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

/// Returns the schema errors of a configuration, as an editor shows them; `None` if it is not YAML.
fn against(schema: &jsonschema::Validator, text: &str) -> Option<Vec<String>> {
    let value: Value = serde_yaml::from_str(text).ok()?;
    let errors = schema.iter_errors(&value);
    Some(
        errors
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect(),
    )
}

/// Loads a configuration, and asserts that the schema accepts it.
///
/// Tests load their configurations here, so the schema is checked against all of them.
pub(crate) async fn taken(
    text: &str,
    env: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
) -> Config {
    assert_eq!(against(&schema(), text), Some(Vec::new()), "{text}");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    Config::load(file.path(), env).await.unwrap()
}

#[tokio::test]
async fn each_bad_configuration_is_refused_with_its_sentences() {
    let files = configurations("bad");
    assert!(files.len() >= 40);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let problems = Config::load(&file, env)
            .await
            .expect_err(&file.display().to_string());
        let said = problems.to_string();
        assert!(
            !said.contains("hunter2") && !said.contains("s3cret"),
            "quotes a secret: {said}"
        );
        let begin = format!("{}:", file.display());
        let said: Vec<_> = said
            .lines()
            .map(|line| line.strip_prefix(&begin).unwrap().trim_start())
            .collect();
        assert_eq!(said, lines(&text, REFUSED), "{}", file.display());
    }
}

#[tokio::test]
async fn each_bad_configuration_ends_the_program_with_1_and_its_sentences() {
    for file in configurations("bad") {
        let text = fs::read_to_string(&file).unwrap();
        let mut command = exporter(&["--config.check", "--log.level=error", "--config.file"]);
        command.arg(&file);
        let output = command
            .env("TOKEN", "t0ken")
            .env("EMPTY", "")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let expected = lines(&text, REFUSED);
        let expected = expected.iter().map(|line| {
            // An error about the whole file has no line and column.
            let place = line.starts_with(|c: char| c.is_ascii_digit());
            let gap = if place { "" } else { " " };
            format!("{}:{gap}{line}", file.display())
        });
        assert_eq!(
            said.lines().collect::<Vec<_>>(),
            expected.collect::<Vec<_>>()
        );
        assert_eq!(output.status.code(), Some(1), "{}", file.display());
    }
}

/// Returns the configuration errors of a file with this content.
async fn said_of(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let problems = Config::load(file.path(), env).await.unwrap_err();
    let problems = problems.to_string();
    problems.replace(file.path().to_str().unwrap(), "c")
}

#[tokio::test]
async fn a_file_that_is_no_text_is_told_from_one_with_a_mistake() {
    for (bytes, said) in [
        (
            &b"\xff\xfez\0i\0s\0"[..],
            "c:1:1: the file is UTF-16: save it as UTF-8",
        ),
        (
            b"\xfe\xff\0z\0i\0s",
            "c:1:1: the file is UTF-16: save it as UTF-8",
        ),
        (
            b"poll:\n  x: \xe9\n",
            "c:2:6: the file is not text in UTF-8: here is a byte that is no character",
        ),
        (
            b"\x7fELF\x02\x01\0\0",
            "c:1:1: the control character U+007F cannot stand in YAML: remove it, or save the file \
                as text in UTF-8",
        ),
    ] {
        assert_eq!(said_of(bytes).await, said);
    }
}

#[tokio::test]
async fn a_byte_order_mark_is_no_part_of_a_configuration() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text =
        fs::read_to_string(root().join("tests/fixtures/config/good/days_and_weeks.yaml")).unwrap();
    fs::write(file.path(), format!("\u{feff}{text}")).unwrap();
    assert_eq!(
        Config::load(file.path(), env)
            .await
            .unwrap()
            .poll
            .interval
            .as_secs(),
        86_400
    );
}

#[test]
fn an_account_may_take_its_keys_from_another_one() {
    let text = "zis:\n  - &a {account: a, subdomain: a, integrations: [{name: n, token_env: TOKEN}]}\n  - <<: *a\n    account: b\n";
    let config = Config::parse(text, "".as_ref(), &env, ConfigErrors::new("c")).unwrap();
    let names: Vec<_> = config
        .accounts
        .iter()
        .map(|account| account.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(config.accounts[1].targets[0].id, "n");
}

#[test]
fn a_variable_may_end_in_the_line_end_that_a_file_may_end_in() {
    let text = "zis: [{account: a, subdomain: a, integrations: [{name: n, token_env: T}]}]";
    let parse = |value: &'static str| {
        let env = move |_: &str| Some(value.to_owned());
        Config::parse(text, "".as_ref(), &env, ConfigErrors::new("c"))
    };
    for good in ["t", "t\n", "t\r\n"] {
        assert!(parse(good).is_ok(), "{good:?}");
    }
    for bad in ["\n", "t\n\n", "\nt", "t "] {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn an_id_of_digits_that_begins_with_0_is_text() {
    let text = "zuora: [{account: no, base_url: 'https://a.test', client_id: x, client_secret_env: TOKEN, entities: [{id: 00001111222233334444555566667777}]}]";
    let config = Config::parse(text, "".as_ref(), &env, ConfigErrors::new("c")).unwrap();
    assert_eq!(config.accounts[0].name, "no");
}

#[tokio::test]
async fn ten_thousands_of_mistakes_are_told_in_one_pass() {
    let integrations = "      - 7\n".repeat(30_000);
    let text = format!("zis:\n  - account: a\n    subdomain: a\n    integrations:\n{integrations}");
    let begun = Instant::now();
    let said = said_of(text.as_bytes()).await;
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(said.lines().count(), 101);
    assert!(
        said.starts_with("c:5:9: zis[0].integrations[0]: expected the name of an integration"),
        "{said}"
    );
    assert!(said.ends_with("\nc: and 29900 more problems"), "{said}");
}

#[tokio::test]
async fn nesting_without_end_is_refused_at_once() {
    let begun = Instant::now();
    for opening in ["[", "{a: ", "- ", "? ", "a: &a [", "{"] {
        let said = said_of(opening.repeat(100_000).as_bytes()).await;
        assert!(
            said.contains("nested deeper than 32 levels"),
            "{opening}: {said}"
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(30));
}

/// Returns a copy of the text for each of its words, with that word replaced by a secret.
pub(crate) fn with_a_secret<'a>(
    text: &'a str,
    secret: &'a str,
) -> impl Iterator<Item = String> + 'a {
    let words = text.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || "_-./".contains(c)));
    words
        .scan(0, |at, word| {
            let from = *at;
            *at += word.len();
            Some((
                from,
                word.trim_end_matches(|c: char| !(c.is_ascii_alphanumeric() || "_-./".contains(c))),
            ))
        })
        .filter(|(_, word)| word.len() > 1)
        .map(move |(from, word)| format!("{}{secret}{}", &text[..from], &text[from + word.len()..]))
}

#[test]
fn whatever_stands_in_place_of_a_key_or_a_value_is_not_quoted() {
    let example = fs::read_to_string(root().join("config.example.yaml")).unwrap();
    // Secrets as people paste them: also lower-case letters only, after a key, or a path.
    let mut refused = 0;
    for secret in [
        "S3cretS3cret",
        "mysecretpassphrase",
        "a_S3cret",
        "/S3cret/S3cret",
        "S3cret: x",
        "{S3cret",
        "client_secret:S3cret",
        "token_S3cret",
    ] {
        for text in with_a_secret(&example, secret) {
            let anything = |_: &str| Some("anything".to_owned());
            if let Err(problems) = Config::parse(
                &text,
                "/nonexistent".as_ref(),
                &anything,
                ConfigErrors::new("c"),
            ) {
                refused += 1;
                let said = problems.to_string();
                assert!(
                    !said.contains("S3cret") && !said.contains("passphrase"),
                    "{said}"
                );
            }
        }
    }
    assert!(refused > 500, "{refused}");
}

#[test]
fn the_schema_refuses_what_it_can_see() {
    let schema = schema();
    for file in configurations("bad") {
        let text = fs::read_to_string(&file).unwrap();
        let accepts = against(&schema, &text).is_none_or(|errors| errors.is_empty());
        let unseen = lines(&text, UNSEEN);
        assert_eq!(
            accepts,
            !unseen.is_empty(),
            "{}: {unseen:?}",
            file.display()
        );
    }
}

/// Returns the YAML blocks of a document.
pub(crate) fn blocks(document: &str) -> Vec<String> {
    blocks_of("yaml", document)
}

/// Returns the code blocks of one language in a document.
pub(crate) fn blocks_of(language: &str, document: &str) -> Vec<String> {
    let begin = format!("```{language}");
    let text = fs::read_to_string(root().join(document)).unwrap();
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == begin {
            let indent = line.len() - line.trim_start().len();
            let block = lines.by_ref().take_while(|line| line.trim() != "```");
            let block: Vec<_> = block.map(|line| line.get(indent..).unwrap_or("")).collect();
            blocks.push(block.join("\n") + "\n");
        }
    }
    blocks
}

/// Returns the YAML blocks that are whole configurations.
fn whole(document: &str) -> Vec<String> {
    let mut blocks = blocks(document);
    blocks.retain(|block| {
        ["poll:", "zuora:", "zis:"]
            .iter()
            .any(|key| block.starts_with(key))
    });
    blocks
}

#[test]
fn the_schema_takes_what_is_documented_and_what_the_simulator_writes() {
    let example = fs::read_to_string(root().join("config.example.yaml")).unwrap();
    let first = example.lines().next().unwrap();
    let named = first
        .strip_prefix("# yaml-language-server: $schema=")
        .unwrap();
    assert!(root().join(named).exists(), "{first}");

    let world = World::new(Sizes::default(), 1, Timestamp::UNIX_EPOCH);
    let simulator = Simulator::new(world, Vec::new(), None, Timestamp::now);
    let address = SocketAddr::from(([127, 0, 0, 1], 9933));
    let (simulated, _) = simulator.configuration(address, "  interval: 10s\n");

    let good = configurations("good")
        .into_iter()
        .map(|file| fs::read_to_string(file).unwrap());
    let readme = whole("README.md");
    assert!(!readme.is_empty());
    let documented = readme.into_iter().chain(whole("docs/credentials.md"));
    let schema = schema();
    for text in [example, simulated]
        .into_iter()
        .chain(good)
        .chain(documented)
    {
        assert_eq!(against(&schema, &text), Some(Vec::new()), "{text}");
    }
}

#[tokio::test]
async fn each_good_configuration_is_taken() {
    let files = configurations("good");
    assert!(!files.is_empty());
    for file in files {
        if let Err(problems) = Config::load(&file, env).await {
            panic!("{problems}");
        }
    }
}

/// The request estimate follows each configuration in `docs/credentials.md`.
#[tokio::test]
async fn the_documented_costs_are_the_plan_that_is_printed() {
    let page = fs::read_to_string(root().join("docs/credentials.md")).unwrap();
    let examples = whole("docs/credentials.md");
    assert!(examples.len() >= 3);
    for text in examples {
        let anything = |_: &str| Some("anything".to_owned());
        for account in &taken(&text, anything).await.accounts {
            let plan =
                connections_exporter::polling::request_estimate::RequestEstimate::of(account)
                    .to_string();
            assert!(
                page.contains(&format!("```text\n{plan}```\n")),
                "the page lacks\n{plan}"
            );
        }
    }
}
