//! The whole way in one command.

use crate::common::process::{Process, Signal, kafka_taos, run};

#[test]
fn every_record_of_the_demo_is_stored_once_with_its_value() {
    let arguments = ["demo", "--tables", "10", "--columns", "5", "--records", "100", "--consumers", "2", "--json"];
    let report = run(&mut kafka_taos(&arguments)).expect(0).json();
    let expected = [("produced", 1000), ("rows_in_store", 1000), ("lost", 0), ("wrong", 0), ("duplicated", 0)];
    for (name, number) in expected {
        assert_eq!(report[name], number, "{name} in {report}");
    }
    assert!(report["consumed"].as_u64() >= Some(1000), "{report}");
}

#[test]
fn a_demo_that_is_kept_can_be_queried() {
    let arguments = ["demo", "--tables", "2", "--columns", "1", "--records", "5", "--keep", "--json"];
    let demo = Process::start(&mut kafka_taos(&arguments));
    demo.stderr_line("left up until a signal");
    let report: serde_json::Value = serde_json::from_str(&demo.stdout_line("produced")).unwrap();
    let url = report["tdengine"].as_str().unwrap().replace("***", "taosdata");
    let database = url.rsplit('/').next().unwrap();
    let statement = format!("select count(*) from {database}.stb");
    let counted = run(&mut kafka_taos(&["sql", &statement, "--tdengine", &url, "--json"])).expect(0).json();
    assert_eq!(counted["rows"][0][0], 10, "{counted}");
    demo.signal(Signal::INT);
    demo.wait().expect(0);
}
