//! Wrong configurations, a file each: every one is refused before anything is connected, with what is wrong and what to
//! write. Its first line says which words the refusal must have.

use std::path::Path;

use crate::common::process::{kafka_taos, run};

#[test]
fn each_wrong_file_gets_its_message() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/wrong_config");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 30, "{paths:?}");
    let mut failures = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let wanted =
            text.lines().next().and_then(|line| line.strip_prefix("# says: ")).expect("a first line with # says:");
        let refused = run(kafka_taos(&["config"]).arg("--config").arg(&path));
        let missing: Vec<_> = wanted.split(" | ").filter(|part| !refused.stderr.contains(part.trim())).collect();
        if refused.code != Some(2) || !missing.is_empty() {
            failures.push(format!("{name}: code {:?}, without {missing:?}: {}", refused.code, refused.stderr));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
