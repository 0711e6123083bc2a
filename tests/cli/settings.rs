//! Where settings come from, and that secrets do not show.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::process::{kafka_taos, run};

const FILE: &str = r#"
workers = 3

[kafka]
brokers = ["file-a:9092", "file-b:9092"]
topics = "from-file"
group = "file-group"

[kafka.properties]
"client.rack" = "r1"
"ssl.key.password" = "hunter2"

[tdengine]
url = "ws://file:hunter2@db:6041/power"
stable = "meters"

[queue]
linger = "70ms"
"#;

struct Shown(Vec<Value>);

impl Shown {
    fn of(command: &mut Command) -> (Self, String) {
        let ended = run(command.arg("--json")).expect(0);
        let settings = ended.json().as_array().expect("an array").clone();
        (Self(settings), ended.stdout)
    }

    fn of_config(arguments: &[&str], file: Option<&Path>, environment: &[(&str, &str)]) -> Self {
        let mut command = kafka_taos(&[&["config"], arguments].concat());
        command.envs(environment.iter().copied());
        if let Some(file) = file {
            command.arg("--config").arg(file);
        }
        Self::of(&mut command).0
    }

    #[track_caller]
    fn assert(&self, setting: &str, value: &str, from: &str) {
        let shown = self.0.iter().find(|shown| shown["setting"] == setting).expect("the setting");
        assert_eq!(shown["value"], value, "{shown}");
        assert!(shown["from"].as_str().is_some_and(|text| text.starts_with(from)), "{from}: {shown}");
    }
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("my.toml");
    std::fs::write(&file, FILE).unwrap();
    let environment = [("KAFKA_BROKERS", "env:9092"), ("KAFKA_TAOS_WORKERS", "5")];

    let nothing = Shown::of_config(&[], None, &[]);
    nothing.assert("brokers", "localhost:9092", "default");
    nothing.assert("workers", "4", "default");
    let shown = Shown::of_config(&[], Some(&file), &[]);
    shown.assert("brokers", "file-a:9092,file-b:9092", "file");
    shown.assert("topic", "from-file", "file");
    shown.assert("group", "file-group", "file");
    shown.assert("stable", "meters", "file");
    shown.assert("linger", "70ms", "file");
    shown.assert("timeout", "10s", "default");
    let shown = Shown::of_config(&[], Some(&file), &environment);
    shown.assert("brokers", "env:9092", "environment");
    shown.assert("workers", "5", "environment");
    let shown = Shown::of_config(&["--brokers", "flag:9092", "--workers", "6"], Some(&file), &environment);
    shown.assert("brokers", "flag:9092", "flag");
    shown.assert("workers", "6", "flag");
    shown.assert("topic", "from-file", "file");
}

#[test]
fn the_file_in_the_working_folder_is_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("kafka-taos.toml"), FILE).unwrap();
    let (shown, _) = Shown::of(kafka_taos(&["config"]).current_dir(folder.path()));
    shown.assert("topic", "from-file", "file");
}

#[test]
fn secrets_are_stars() {
    let folder = tempfile::tempdir().unwrap();
    let (file, password) = (folder.path().join("my.toml"), folder.path().join("password"));
    std::fs::write(&file, FILE).unwrap();
    std::fs::write(&password, "hunter2\n").unwrap();
    let mut command = kafka_taos(&["config", "--user", "me", "--kafka", "sasl.oauthbearer.client.secret=hunter2"]);
    command.arg("--config").arg(&file).arg("--password-file").arg(&password);
    let (shown, text) = Shown::of(&mut command);
    shown.assert("password-file", "***", "flag");
    shown.assert("tdengine", "ws://file:***@db:6041/power", "file");
    assert!(!text.contains("hunter2"), "{text}");
    let table = run(kafka_taos(&["config"]).arg("--config").arg(&file).env("TDENGINE_PASSWORD", "hunter2")).expect(0);
    assert!(!table.stdout.contains("hunter2") && !table.stderr.contains("hunter2"), "{}", table.stdout);
}

#[test]
fn a_file_that_says_what_none_can_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("my.toml");
    for (text, words) in [
        ("[kafka]\nbrokers = \"a:1\"\ntopic = \"t\"\n", &["line 3", "topic", "topics"][..]),
        ("workers = \"four\"\n", &["line 1"]),
        ("[queue]\nlinger = \"50\"\n", &["queue.linger", "50ms"]),
        ("[tdengine]\nurl = \"localhost\"\n", &["tdengine.url", "ws://"]),
        ("[kafka\n", &["line 1"]),
    ] {
        std::fs::write(&file, text).unwrap();
        let refused = run(kafka_taos(&["config"]).arg("--config").arg(&file)).expect(2);
        for word in ["my.toml"].iter().chain(words) {
            assert!(refused.stderr.contains(word), "{word:?} is not in {}", refused.stderr);
        }
    }
}
