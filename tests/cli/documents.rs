//! What the documents say is true: their commands run, their settings are taken, their links lead somewhere.

use std::path::Path;

use serde_json::Value;

use crate::common::pair::Pair;
use crate::common::process::{kafka_taos, run};

const DOCUMENTS: [&str; 8] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/embedded.md",
    "docs/dead-letters.md",
    "docs/verify.md",
    "docs/guarantees.md",
];

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The blocks of code in `language`.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|after| after.split("```").next().unwrap()).collect()
}

/// A line of shell as words: single quotes, comments, nothing more.
fn words(line: &str) -> Vec<String> {
    let line = line.split("  #").next().unwrap_or_default();
    let parts = line.split('\'').enumerate();
    parts
        .flat_map(|(number, part)| match number % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

#[test]
fn what_the_readme_says_by_hand_works() {
    let pair = Pair::start();
    let readme = read("README.md");
    let by_hand = readme.split("## By hand").nth(1).and_then(|text| text.split("\n## ").next()).unwrap();
    let lines: Vec<_> = blocks(by_hand, "sh").into_iter().flat_map(str::lines).collect();
    let mut ran = Vec::new();
    for line in lines {
        let words = words(line);
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_mut_slice() {
            // The pair is that, on free ports.
            ["kafka-taos", "embedded"] => continue,
            ["kafka-taos", "consume", ..] => words.push("--until-end"),
            // As many as a test has time for.
            ["kafka-taos", "produce", .., "--records", records] => *records = "20",
            ["kafka-taos", ..] => {}
            _ => continue,
        }
        pair.run(&words[1..]).expect(0);
        ran.push(words[1].to_owned());
    }
    assert_eq!(ran, ["topic", "produce", "consume", "sql"], "the README's commands by hand");
    assert_eq!(pair.scalar("select count(*) from test.stb"), 2000);
}

#[test]
fn the_configuration_in_the_readme_is_taken() {
    let readme = read("README.md");
    let [mapping, file] = blocks(&readme, "toml")[..] else { panic!("a mapping and a configuration in the README") };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mapping.toml");
    std::fs::write(&path, mapping).unwrap();
    run(kafka_taos(&["config"]).arg("--config").arg(&path)).expect(0);
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "hunter2").unwrap();
    let file = file.replace("/run/secrets/kafka", secret.to_str().unwrap());
    let file = file.replace("/run/secrets/tdengine", secret.to_str().unwrap());
    let path = folder.path().join("kafka-taos.toml");
    std::fs::write(&path, &file).unwrap();
    let shown = run(kafka_taos(&["config", "--json"]).arg("--config").arg(&path)).expect(0).json();
    let from_file = |one: &&Value| one["from"].as_str().is_some_and(|from| from.starts_with("file"));
    let count = shown.as_array().unwrap().iter().filter(from_file).count();
    let keys = file.lines().filter(|line| line.contains('=') && !line.trim_start().starts_with('#')).count();
    // The password of TDengine shows in its URL.
    assert_eq!(count, keys - 1, "every key of the file is in force: {shown}");
}

#[test]
fn defaults_in_the_readme_are_those_in_force() {
    let readme = read("README.md");
    let shown = run(&mut kafka_taos(&["config", "--json"])).expect(0).json();
    let default = |setting: &str| {
        let found = shown.as_array().unwrap().iter().find(|one| one["setting"] == setting);
        found.and_then(|one| one["value"].as_str()).unwrap_or_else(|| panic!("no {setting} in {shown}")).to_owned()
    };
    let settings = readme.split("## Settings").nth(1).unwrap_or_default();
    let row = |flag: &str| {
        let row = settings.lines().find(|line| line.starts_with('|') && line.contains(&format!("`--{flag}")));
        row.unwrap_or_else(|| panic!("--{flag} is not in the README's table")).to_owned()
    };
    for flag in [
        "brokers",
        "topic",
        "offset",
        "session-timeout",
        "write",
        "answer-timeout",
        "workers",
        "linger",
        "codec",
        "dead-letter",
        "dead-letter-limit",
        "max-message-bytes",
        "timeout",
    ] {
        let last = row(flag).trim_end_matches('|').rsplit('|').next().unwrap().trim().replace('`', "");
        assert_eq!(last, default(flag), "the default of --{flag}");
    }
    assert!(row("tdengine").contains(&default("tdengine").replace("***", "taosdata")));
    // Numbers of bytes are shown as numbers, and told in units.
    let last = |flag: &str| row(flag).trim_end_matches('|').rsplit('|').next().unwrap().trim().to_owned();
    let mebibytes = |setting: &str| format!("{} MiB", default(setting).parse::<u64>().unwrap() >> 20);
    assert_eq!(last("queue-max-size"), format!("{}, {}", default("queue-max-size"), mebibytes("queue-max-bytes")));
    let batch = ["batch-max-size", "batch-min-size"].map(default).join(", ");
    assert_eq!(last("batch-max-size"), format!("{batch}, {}", mebibytes("batch-max-bytes")));
}

#[test]
fn the_template_of_an_own_record_runs() {
    // As the other tests are built, so that nothing is built twice.
    let mut build = std::process::Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--workspace", "--example", "own_record"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    run(&mut build).expect(0);
    let template = Path::new(env!("CARGO_BIN_EXE_kafka-taos")).with_file_name("examples/own_record");
    let ended = run(&mut std::process::Command::new(template)).expect(0);
    assert!(ended.stdout.contains("100 messages, 100 rows"), "{}", ended.stdout);
}

#[test]
fn every_flag_in_the_readme_exists() {
    let readme = read("README.md");
    let help: String =
        ["demo", "embedded", "produce", "consume", "config", "console consume", "topic create", "preview", "verify"]
            .map(|command| {
                let arguments: Vec<_> = command.split(' ').chain(["--help"]).collect();
                run(&mut kafka_taos(&arguments)).expect(0).stdout
            })
            .concat();
    let of_cargo = ["--release", "--features", "--example", "--open", "--build", "--scale"];
    let is_of_flag = |c: char| c.is_ascii_lowercase() || c == '-' || c == '2';
    for (at, _) in readme.match_indices("--").filter(|(at, _)| readme[..*at].ends_with(['`', ' ', '\n'])) {
        let end = readme[at..].find(|c| !is_of_flag(c)).unwrap_or(readme.len() - at);
        let flag = &readme[at..at + end];
        let known = flag.len() <= 3 || of_cargo.contains(&flag) || ["--taosuri", "--help"].contains(&flag);
        assert!(known || help.contains(flag), "{flag:?} is in the README and in no command's help");
    }
}

#[test]
fn rooms_are_where_the_architecture_says() {
    let text = read("ARCHITECTURE.md");
    let quoted = text.split('`').skip(1).step_by(2);
    let paths: Vec<_> = quoted
        .filter(|word| ["src/", "tests/", "embedded/", "derive/"].iter().any(|room| word.starts_with(room)))
        .collect();
    assert!(paths.len() > 15, "{paths:?}");
    for path in paths {
        assert!(
            Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(),
            "ARCHITECTURE.md names {path}, which is not there"
        );
    }
}

#[test]
fn tests_named_in_the_guarantees_are_there() {
    let cli = ["admin", "elsewhere", "failures", "original", "settings"].map(|name| format!("tests/cli/{name}.rs"));
    let others = ["src/pipeline/tests/complaints.rs", "tests/consumer.rs", "tests/real_kafka/groups.rs"];
    let sources = cli.iter().map(String::as_str).chain(others).map(read).collect::<String>();
    let guarantees = read("docs/guarantees.md");
    let complaints = guarantees.split("## Complaints").skip(1).filter_map(|text| text.split("\n## ").next());
    let names: Vec<_> = complaints.flat_map(|text| text.split('`').skip(1).step_by(2)).collect();
    assert!(names.len() > 35, "{names:?}");
    for name in names {
        assert!(sources.contains(&format!("fn {name}()")), "no test {name}");
    }
}

#[test]
fn links_lead_to_files_that_are_there() {
    for document in DOCUMENTS {
        let text = read(document);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
        let folder = folder.parent().unwrap();
        for link in text.split("](").skip(1).filter_map(|after| after.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            let is_there = target.is_empty() || folder.join(target).exists();
            assert!(link.starts_with("http") || is_there, "{document} links to {link}, which is not there");
        }
    }
}
