//! `bench`: whatever it measures, it says so for people, for programs, and as a drawing.

use crate::common::process::{kafka_taos, run};

const SMALL: [&str; 7] = ["--quiet", "bench", "--rounds", "1", "--records", "2000", "--workload"];

#[test]
fn the_parts_of_the_way_and_the_whole_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let plot = folder.path().join("bench.svg");
    let rest = ["w2", "--json", "--plot", plot.to_str().unwrap()];
    let result = run(&mut kafka_taos(&[&SMALL[..], &rest].concat())).expect(0).json();
    assert_eq!(result["rounds"], 1);
    let results = result["results"].as_array().unwrap();
    let names: Vec<&str> = results.iter().map(|result| result["name"].as_str().unwrap()).collect();
    for name in ["decode", "encode-sql", "encode-stmt2", "poll", "queue", "whole-null", "whole-embedded"] {
        assert!(names.contains(&name), "{names:?}");
    }
    for one in results {
        assert_eq!(one["workload"], "w2");
        for figure in ["rows_per_second", "mb_per_second", "cpu_us_per_row"] {
            assert!(one[figure].as_f64().unwrap() > 0.0, "{one}");
        }
        // Without the feature there is no count; a name that is not there would be another null.
        let allocations = one.as_object().unwrap().get("allocations_per_row").unwrap();
        assert_eq!(allocations.is_null(), !cfg!(feature = "count-allocations"));
        assert!(one["peak_memory_bytes"].as_u64().is_none_or(|bytes| bytes > 1_000_000));
    }
    let drawn = std::fs::read_to_string(plot).unwrap();
    assert!(drawn.starts_with("<svg") && drawn.contains("whole-null"), "{drawn}");
}

#[test]
fn some_of_them_alone_as_a_table() {
    let rest = ["w1", "--only", "decode,encode-stmt2", "--scatter"];
    let table = run(&mut kafka_taos(&[&SMALL[..], &rest].concat())).expect(0).stdout;
    let lines: Vec<&str> = table.lines().map(str::trim).collect();
    assert!(lines[0].contains("CPU us/row"), "{table}");
    assert!(lines[1].starts_with("w1 decode") && lines[2].starts_with("w1 encode-stmt2"), "{table}");
    assert_eq!(lines.len(), 3, "{table}");
}
