//! What cannot work fails with the right code, and with words that help.

use crate::common::free_port;
use crate::common::pair::{Pair, simulator};
use crate::common::process::{Signal, kafka_taos, run};

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    let wrong = [
        (&["consume", "--no-such-flag"][..], "--no-such-flag"),
        (&["topic"], "Usage"),
        (&["config", "--tdengine", "mysql://root@localhost/db"], "ws://"),
        (&["config", "--tdengine", "localhost:6041"], "ws://USER"),
        (&["config", "--linger", "50"], "50ms"),
        (&["config", "--workers", "0"], "above 0"),
        (&["config", "--offset", "soon"], "earliest"),
        (&["config", "--write", "stmt2", "--tdengine", "http://localhost:6041/test"], "--write rest"),
        (&["config", "--kafka", "enable.auto.commit=true"], "enable.auto.commit"),
        (&["config", "--kafka", "group.protocol=consumer", "--session-timeout", "5s"], "the broker decides"),
        (&["config", "--queue-max-size", "10", "--batch-max-size", "100"], "queue"),
        (&["config", "--tls-cert", "cert.pem"], "--tls-key"),
        (&["config", "--user", "me"], "password"),
        (&["consume", "--topic", "a", "--topic", "b"], "--group"),
        (&["produce", "--topic", "^a"], "one --topic"),
        (&["produce", "--columns", "5000"], "4094"),
        (&["produce", "--interval", "0s"], "interval"),
        (&["config", "--config", "no-such-file.toml"], "no-such-file.toml"),
    ];
    for (arguments, words) in wrong {
        let refused = run(&mut kafka_taos(arguments));
        assert_eq!(refused.code, Some(2), "{arguments:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(words), "{arguments:?} does not say {words:?}: {}", refused.stderr);
    }
}

#[test]
fn a_wrong_password_fails_at_once_and_is_not_shown() {
    let pair = Pair::start();
    pair.create_topic("t", 1);
    let url = format!("ws://root:hunter2@{}/test", pair.tdengine);
    for arguments in [&["consume", "--topic", "t"][..], &["produce", "--topic", "t"], &["sql", "show databases"]] {
        let refused = pair.run(&[arguments, &["--tdengine", &url]].concat()).expect(1);
        assert!(refused.stderr.contains("password"), "{arguments:?}: {}", refused.stderr);
        assert!(!refused.stderr.contains("hunter2"), "{arguments:?}: {}", refused.stderr);
    }
}

#[test]
fn a_broker_without_kip_848_is_told() {
    let pair = Pair::start();
    pair.create_topic("t", 1);
    pair.produce("t", &simulator(1, 1, 1), &[]);
    let waiting = pair.start_command(&["consume", "--topic", "t", "--kafka", "group.protocol=consumer"]);
    waiting.stderr_line("the broker must have KIP-848");
    waiting.signal(Signal::TERM);
    waiting.wait().expect(143);
}

#[test]
fn servers_that_are_away_are_named() {
    let nowhere = format!("127.0.0.1:{}", free_port());
    let url = format!("ws://root:taosdata@{nowhere}/test");
    for arguments in [
        &["topic", "list", "--brokers", &nowhere][..],
        &["topic", "create", "--brokers", &nowhere, "--topic", "t"],
        &["consume", "--until-end", "--brokers", &nowhere],
        &["console", "consume", "--brokers", &nowhere, "--topic", "t"],
        &["sql", "--tdengine", &url, "show databases"],
    ] {
        let failed = run(&mut kafka_taos(&[arguments, &["--timeout", "1s"]].concat())).expect(1);
        assert!(failed.stderr.contains(&nowhere), "{arguments:?}: {}", failed.stderr);
    }
}

#[test]
fn up_to_the_end_of_an_unknown_topic_is_a_failure() {
    let pair = Pair::start();
    let failed = pair.run(&["consume", "--until-end", "--topic", "nowhere"]).expect(1);
    assert!(failed.stderr.contains("\"nowhere\" does not exist"), "{}", failed.stderr);
}

#[test]
fn up_to_the_end_without_a_super_table_is_a_failure() {
    let pair = Pair::start();
    pair.create_topic("t", 1);
    for make in [None, Some("create database test")] {
        if let Some(statement) = make {
            pair.run(&["sql", statement]).expect(0);
        }
        let failed = pair.run(&["consume", "--until-end", "--topic", "t"]).expect(1);
        assert!(failed.stderr.contains("test"), "{}", failed.stderr);
    }
}

#[test]
fn a_super_table_of_another_shape_is_not_overwritten() {
    let pair = Pair::start();
    pair.create_topic("t", 1);
    pair.run(&["sql", "create database test"]).expect(0);
    pair.run(&["sql", "create stable test.stb (ts timestamp, v int) tags (device binary(10))"]).expect(0);
    let small = ["produce", "--topic", "t", "--tables", "1", "--records", "1", "--columns", "1"];
    let refused = pair.run(&small).expect(1);
    assert!(refused.stderr.contains("col0") && refused.stderr.contains("--reset"), "{}", refused.stderr);
    pair.run(&[&small[..], &["--reset"]].concat()).expect(0);
}

#[test]
fn completions_are_a_script() {
    let script = run(&mut kafka_taos(&["completions", "bash"])).expect(0).stdout;
    let checked = run(std::process::Command::new("bash").args(["-n", "-c", &script]));
    checked.expect(0);
    assert!(script.contains("--until-end"));
}
