//! `console` and `sql`.

use crate::common::pair::Pair;

#[test]
fn lines_go_to_a_topic_and_come_back_with_their_keys() {
    let pair = Pair::start();
    pair.create_topic("lines", 1);
    let produce = ["console", "produce", "--topic", "lines", "--key-separator", ":"];
    pair.run_with_input(&produce, "d1:{\"a\":1}\nd2:grüße\nno key\n".as_bytes()).expect(0);
    let consume = ["console", "consume", "--topic", "lines", "--from-beginning", "--max"];
    let with_keys = pair.run(&[&consume[..], &["3", "--key-separator", " = "]].concat()).expect(0);
    assert_eq!(with_keys.stdout, "d1 = {\"a\":1}\nd2 = grüße\n = no key");
    let without = pair.run(&[&consume[..], &["2"]].concat()).expect(0);
    assert_eq!(without.stdout, "{\"a\":1}\ngrüße");
}

#[test]
fn a_statement_is_answered_for_people_and_for_programs() {
    let pair = Pair::start();
    pair.run(&["sql", "create database test"]).expect(0);
    pair.run(&["sql", "create table test.t (ts timestamp, v int, name nchar(9))"]).expect(0);
    let insert = "insert into test.t values (1764547200000, 7, 'it''s') (1764547201000, null, null)";
    assert_eq!(pair.json(&["sql", insert])["affected_rows"], 2);
    let select = "select * from test.t";
    let answer = pair.json(&["sql", select]);
    assert_eq!(answer["columns"], serde_json::json!(["ts", "v", "name"]));
    let times = ["2025-12-01T00:00:00.000Z", "2025-12-01T00:00:01.000Z"];
    assert_eq!(answer["rows"], serde_json::json!([[times[0], 7, "it's"], [times[1], null, null]]));
    let table = pair.run(&["sql", select]).expect(0).stdout;
    assert!(table.contains("it's") && table.contains("NULL") && table.ends_with("2 rows"), "{table}");
    let refused = pair.run(&["sql", "select * from test.nothing"]).expect(1);
    assert!(refused.stderr.contains("0x2603") || refused.stderr.contains("does not exist"), "{}", refused.stderr);
}
