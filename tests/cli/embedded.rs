//! `embedded`: two servers until a signal.

use crate::common::pair::{Pair, simulator};
use crate::common::process::{Process, Signal, kafka_taos, run};

#[test]
fn data_in_a_folder_outlives_the_servers() {
    let folder = tempfile::tempdir().unwrap();
    let keep = ["--data-dir", folder.path().to_str().unwrap()];
    let simulator = simulator(5, 2, 20);
    let pair = Pair::start_with(&keep);
    pair.create_topic("kept", 2);
    pair.produce("kept", &simulator, &[]);
    pair.consume("kept", &["--group", "first"]);
    pair.process.signal(Signal::TERM);
    pair.process.wait().expect(143);

    let pair = Pair::start_with(&keep);
    pair.assert_stored(&simulator);
    assert_eq!(pair.consume("kept", &["--group", "first"])["consumed"], 0, "offsets are kept too");
    let again = pair.consume("kept", &["--group", "second"]);
    assert_eq!(again["consumed"], 100, "{again}");
    pair.assert_stored(&simulator);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (used, free) in [("--kafka-port", "--tdengine-port"), ("--tdengine-port", "--kafka-port")] {
        let refused = Process::start(&mut kafka_taos(&["embedded", used, &port, free, "0"])).wait().expect(1);
        assert!(refused.stderr.contains(&port), "{}", refused.stderr);
        assert_eq!(refused.stdout, "", "not ready");
    }
}

#[test]
fn faults_are_switched_on_by_flag() {
    let pair = Pair::start_with(&[
        "--fault",
        "tdengine:login:nth=1:refuse",
        "--fault",
        "tdengine:statement:nth=2:code=0x060B",
        "--fault",
        "kafka:create-topics:nth=1:error=POLICY_VIOLATION",
    ]);
    let refused = pair.run(&["sql", "show databases"]).expect(1);
    assert!(refused.stderr.contains("password"), "{}", refused.stderr);
    pair.run(&["sql", "show databases"]).expect(0);
    let struck = pair.run(&["sql", "show databases"]).expect(1);
    assert!(struck.stderr.contains("fault injected"), "{}", struck.stderr);
    pair.run(&["sql", "show databases"]).expect(0);
    let refused = pair.run(&["topic", "create", "--topic", "t"]).expect(1);
    assert!(refused.stderr.to_lowercase().contains("policy"), "{}", refused.stderr);
    pair.create_topic("t", 1);
}

#[test]
fn rows_are_stored_once_through_all_kinds_of_faults() {
    let faults = [
        "tdengine:exec:nth=2:drop-after",
        "tdengine:exec:nth=5:code=0x0125",
        "tdengine:bind:nth=3:drop-before",
        "tdengine:bind:every=4:delay=20ms",
        "kafka:fetch:nth=3:drop-after",
        "kafka:fetch:nth=6:error=NOT_LEADER_OR_FOLLOWER",
        "kafka:offset-commit:nth=1:error=COORDINATOR_LOAD_IN_PROGRESS",
    ];
    let flags: Vec<_> = faults.iter().flat_map(|fault| ["--fault", fault]).collect();
    let (pair, simulator) = (Pair::start_with(&flags), simulator(20, 3, 100));
    pair.create_topic("t", 3);
    pair.produce("t", &simulator, &[]);
    pair.consume("t", &["--batch-max-size", "100"]);
    pair.assert_stored(&simulator);
}

#[test]
fn a_fault_that_is_none_is_wrong_usage() {
    for (spec, words) in [
        ("exec:stall", "kafka:SPEC or tdengine:SPEC"),
        ("tdengine:exec:sometimes:stall", "unknown time `sometimes`"),
        ("kafka:produce:error=NOPE", "unknown action `error=NOPE`"),
    ] {
        let refused = run(&mut kafka_taos(&["embedded", "--fault", spec])).expect(2);
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
}
