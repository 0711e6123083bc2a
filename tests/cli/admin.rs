//! The admin address of a running consumer, over HTTP.

use std::time::Duration;

use serde_json::Value;

use crate::common::pair::{Pair, simulator};
use crate::common::process::{Process, Signal};
use crate::common::until;

/// Status and text of an answer.
fn get(address: &str, path: &str) -> (u16, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().expect("a client");
        let response = client.get(format!("http://{address}{path}")).send().await.expect("an answer");
        (response.status().as_u16(), response.text().await.expect("a text"))
    })
}

fn address(process: &Process) -> String {
    let line = process.stderr_line("admin page");
    line.rsplit("http://").next().unwrap().trim().to_owned()
}

fn metric(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.split([' ', '{']).next() == Some(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_consumer_says_what_it_does_and_what_holds_it() {
    let (pair, simulator) = (Pair::start(), simulator(5, 2, 40));
    pair.create_topic("t", 2);
    let consumer = pair.start_command(&["consume", "--topic", "t", "--admin", "127.0.0.1:0"]);
    let address = address(&consumer);
    assert_eq!(get(&address, "/healthz").0, 200);
    let (status, reason) = get(&address, "/readyz");
    assert!(status == 503 && reason.contains("not there yet"), "before there is a super table: {status} {reason}");

    pair.produce("t", &simulator, &[]);
    until("all is written", || {
        let (_, text) = get(&address, "/metrics");
        (metric(&text, "kafka_taos_rows_written_total") == Some(200.0)).then_some(())
    });
    until("it is ready", || (get(&address, "/readyz").0 == 200).then_some(()));
    until("nothing holds it", || (get(&address, "/gaps").1 == "[]").then_some(()));
    let (_, text) = get(&address, "/metrics");
    assert_eq!(metric(&text, "kafka_taos_messages_consumed_total"), Some(200.0), "{text}");
    assert_eq!(metric(&text, "kafka_taos_partitions_assigned"), Some(2.0), "{text}");
    assert!(text.contains("kafka_taos_partition_read_offset{topic=\"t\",partition=\"0\"}"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(get(&address, "/").1.contains("rows written"));
    consumer.signal(Signal::TERM);
    consumer.wait().expect(143);
}

#[test]
fn a_database_that_is_away_shows_in_health_and_gaps() {
    let (pair, simulator) =
        (Pair::start_with(&["--fault", "tdengine:exec:first=1000000:code=0x012E"]), simulator(5, 2, 10));
    pair.create_topic("t", 1);
    pair.produce("t", &simulator, &[]);
    let consumer = pair.start_command(&["consume", "--topic", "t", "--admin", "127.0.0.1:0"]);
    let address = address(&consumer);
    let gap: Value = until("it is held", || {
        let gaps: Value = serde_json::from_str(&get(&address, "/gaps").1).unwrap();
        let held = gaps.get(0).filter(|gap| gap["waits_for"] == "retry" && gap["failures"].as_u64() > Some(2));
        held.cloned()
    });
    assert_eq!((&gap["topic"], &gap["partition"], &gap["offset"]), (&"t".into(), &0.into(), &0.into()), "{gap}");
    assert!(gap["reason"].as_str().is_some_and(|reason| reason.contains("0x012E")), "{gap}");
    let reason = until("it is not ready", || {
        let (status, reason) = get(&address, "/readyz");
        (status == 503).then_some(reason)
    });
    assert!(reason.contains("0x012E") && reason.contains("t/0"), "{reason}");
    let (_, text) = get(&address, "/metrics");
    assert_eq!(
        (metric(&text, "kafka_taos_paused"), metric(&text, "kafka_taos_ready")),
        (Some(1.0), Some(0.0)),
        "{text}"
    );
    assert!(text.contains("kafka_taos_write_retries_total{class=\"operator\"}"), "{text}");
    assert_eq!(get(&address, "/healthz").0, 200, "alive all the same");
}

#[test]
fn an_address_that_is_taken_is_a_failure() {
    let pair = Pair::start();
    let taken = pair.run(&["consume", "--topic", "t", "--admin", &pair.tdengine]).expect(1);
    assert!(taken.stderr.contains("admin address"), "{}", taken.stderr);
    let wrong = pair.run(&["consume", "--topic", "t", "--admin", "nowhere"]).expect(2);
    assert!(wrong.stderr.contains("HOST:PORT"), "{}", wrong.stderr);
}
