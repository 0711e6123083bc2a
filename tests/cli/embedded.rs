//! `embedded`: two servers until a signal.

use crate::common::pair::{Pair, simulator};
use crate::common::process::{Process, Signal, kafka_taos};

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
