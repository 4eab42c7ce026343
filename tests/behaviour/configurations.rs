//! Configurations that are taken, and a folder of those that are not, each with what is said of it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use connections_exporter::clock::Clock;
use connections_exporter::config::{Config, Problems};
use connections_exporter::simulator::{Simulator, Sizes, World};
use jiff::Timestamp;
use serde_json::Value;

use crate::daemon::exporter;

const REFUSED: &str = "# refused: ";
const UNSEEN: &str = "# unseen by the schema: ";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The configurations in a folder of `tests/fixtures/config`.
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

/// The rest of the lines that begin so.
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

/// What the schema says against a configuration, as an editor shows it; `None` where that is no YAML.
fn against(schema: &jsonschema::Validator, text: &str) -> Option<Vec<String>> {
    let value: Value = serde_yaml::from_str(text).ok()?;
    let errors = schema.iter_errors(&value);
    Some(
        errors
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect(),
    )
}

/// The configuration of this text, which the schema takes, too: every one that a test writes passes here.
pub(crate) fn taken(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Config {
    assert_eq!(against(&schema(), text), Some(Vec::new()), "{text}");
    Config::parse(text, "".as_ref(), env, Problems::new("test")).unwrap()
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
        let begin = format!("{}: ", file.display());
        let said: Vec<_> = said
            .lines()
            .map(|line| line.strip_prefix(&begin).unwrap())
            .collect();
        assert_eq!(said, lines(&text, REFUSED), "{}", file.display());
    }
}

#[test]
fn each_bad_configuration_ends_the_program_with_1_and_its_sentences() {
    for file in configurations("bad") {
        let text = fs::read_to_string(&file).unwrap();
        let mut command = exporter(&["--config.check", "--config.file", file.to_str().unwrap()]);
        let output = command
            .env("TOKEN", "t0ken")
            .env("EMPTY", "")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let expected = lines(&text, REFUSED);
        let expected = expected
            .iter()
            .map(|line| format!("{}: {line}", file.display()));
        assert_eq!(
            said.lines().collect::<Vec<_>>(),
            expected.collect::<Vec<_>>()
        );
        assert_eq!(output.status.code(), Some(1), "{}", file.display());
    }
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

/// The blocks of YAML in a document.
pub(crate) fn blocks(document: &str) -> Vec<String> {
    blocks_of("yaml", document)
}

/// The blocks of a language in a document.
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

/// Those that are whole configurations.
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
    let simulator = Simulator::new(world, Vec::new(), None, Clock::system());
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

/// The block of text that follows a block of YAML in the page of credentials.
#[test]
fn the_documented_costs_are_the_plan_that_is_printed() {
    let page = fs::read_to_string(root().join("docs/credentials.md")).unwrap();
    let examples = whole("docs/credentials.md");
    assert!(examples.len() >= 3);
    for text in examples {
        let anything = |_: &str| Some("anything".to_owned());
        for account in &taken(&text, &anything).accounts {
            let plan = connections_exporter::plan::Plan::of(account).to_string();
            assert!(
                page.contains(&format!("```text\n{plan}```\n")),
                "the page lacks\n{plan}"
            );
        }
    }
}
