//! Clients that others wrote; see `../clients/README.md`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use kafka_taos_embedded::tdengine::{Fault, FaultAction, Operation};
use tokio::process::Command;

use crate::support::start;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Says, past the capture of the test runner, that a client could not be run; a failure where everything is meant to be there.
fn skipped(client: &str, reason: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{client} must run here: {reason}");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {client}: {reason}");
}

async fn run(command: &mut Command) -> Result<String, String> {
    let output = command.kill_on_drop(true).output().await.map_err(|error| error.to_string())?;
    let Output { status, stdout, stderr } = output;
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    if status.success() { Ok(text) } else { Err(text) }
}

/// Does nothing but count the executions of stmt2 statements.
fn counter() -> Fault {
    Fault::new(Operation::Exec, FaultAction::Delay(Duration::ZERO))
}

#[tokio::test]
async fn python_clients_write_and_read() {
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-clients");
    if let Err(reason) = run(Command::new(folder().join("setup")).arg(&environment)).await {
        return skipped("python clients", reason.lines().last().unwrap_or("python3 does not run"));
    }
    let python = environment.join("bin/python");
    let endpoint = start().await;
    let execs = endpoint.faults().add(counter());
    let script = folder().join("python_clients.py");
    let result = run(Command::new(&python).arg(script).arg(endpoint.address().to_string())).await;
    assert!(endpoint.faults().struck(execs) > 0, "nothing was written by stmt2: {result:?}");
    endpoint.shutdown().await;
    assert!(result.as_ref().is_ok_and(|text| text.contains("python clients: ok")), "{result:?}");
}

#[tokio::test]
async fn the_java_driver_writes_and_reads() {
    let libraries = Path::new(env!("CARGO_TARGET_TMPDIR")).join("jdbc");
    if let Err(reason) = fetch_driver(&libraries).await {
        return skipped("java driver", &reason);
    }
    let endpoint = start().await;
    let execs = endpoint.faults().add(counter());
    let result = run(&mut java(&libraries, endpoint.address())).await;
    assert!(endpoint.faults().struck(execs) > 0, "nothing was written by stmt2: {result:?}");
    endpoint.shutdown().await;
    assert!(result.as_ref().is_ok_and(|text| text.contains("java client: ok")), "{result:?}");
}

async fn fetch_driver(libraries: &Path) -> Result<(), String> {
    run(Command::new("java").arg("-version")).await.map_err(|_| "java does not run".to_owned())?;
    let fetched = std::fs::read_dir(libraries).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("taos-jdbcdriver"))
    });
    if fetched {
        return Ok(());
    }
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "dependency:copy-dependencies", "-f"]).arg(folder().join("java/pom.xml"));
    maven.arg(format!("-DoutputDirectory={}", libraries.display()));
    run(&mut maven).await.map(drop).map_err(|text| format!("the driver cannot be fetched: {text}"))
}

fn java(libraries: &Path, endpoint: SocketAddr) -> Command {
    let mut command = Command::new("java");
    command.arg("-cp").arg(libraries.join("*")).arg(folder().join("java/JdbcClient.java")).arg(endpoint.to_string());
    command
}
