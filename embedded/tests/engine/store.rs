//! Time limits, pages of rows, readers beside writers.

use std::sync::atomic::Ordering;

use kafka_taos_embedded::tdengine::engine::{Cell, Outcome, Storage};
use proptest::prelude::*;

use super::{BASE, Db};

const DAY_MS: i64 = 86_400_000;

#[test]
fn keep_bounds_what_is_written_and_what_is_seen() {
    let mut db = Db::new();
    db.run("create database d keep 30");
    db.run("create table d.t (ts timestamp, v int)");
    let oldest = BASE - 30 * DAY_MS;
    assert_eq!(db.code(&format!("insert into d.t values({},1)", oldest - 1)), 0x060b);
    assert_eq!(db.run(&format!("insert into d.t values({oldest},1)({BASE},2)")), 2);
    db.now.fetch_add(1, Ordering::Relaxed);
    assert_eq!(db.text("select v from d.t"), ["2"], "a row grows too old");
    db.run("alter database d keep 3650");
    assert_eq!(db.text("select v from d.t"), ["1", "2"]);
}

#[test]
fn one_time_out_of_range_refuses_its_vgroup_and_no_other() {
    let mut db = Db::new();
    db.run("create database d vgroups 4");
    db.run("create stable d.st (ts timestamp, v int) tags (g int)");
    let mut sql = String::from("insert into");
    for i in 0..20 {
        sql += &format!(" d.t{i} using d.st tags({i}) values({},{i})", if i == 3 { 0 } else { BASE });
    }
    assert_eq!(db.code(&sql), 0x060b);
    let written = db.text("select table_name from information_schema.ins_tables where db_name='d'");
    assert!((1..19).contains(&written.len()) && !written.contains(&"t3".to_owned()), "{written:?}");
    assert_eq!(db.rows("select v from d.st").len(), written.len());
}

#[test]
fn rows_are_read_page_by_page_in_both_directions() {
    let mut db = Db::new();
    db.run("create database d");
    db.run("create table d.t (ts timestamp, k int primary key, v int)");
    for chunk in (0..6000).collect::<Vec<i64>>().chunks(1000) {
        // Three rows a timestamp, so that pages end between rows of one.
        let rows: String = chunk.iter().map(|i| format!("({},{},{i})", BASE + i / 3, i % 3 - 1)).collect();
        db.run(&format!("insert into d.t values{rows}"));
    }
    let forward: Vec<Vec<Cell>> = (0..6000).map(|i| vec![Cell::Int(i)]).collect();
    assert_eq!(db.rows("select v from d.t"), forward);
    let backward: Vec<Vec<Cell>> = forward.iter().rev().cloned().collect();
    assert_eq!(db.rows("select v from d.t order by ts desc"), backward);
    assert_eq!(db.text(&format!("select count(*) from d.t where ts>={} and ts<{}", BASE + 10, BASE + 20)), ["30"]);
    assert_eq!(db.run(&format!("delete from d.t where ts<{}", BASE + 1000)), 3000);
    assert_eq!(db.text("select count(*), min(v) from d.t"), ["3000 3000"]);
}

#[test]
fn a_result_half_read_holds_nobody_up() {
    for storage in [Storage::Memory, Storage::Directory(tempfile::tempdir().unwrap().keep())] {
        let mut db = Db::open(storage.clone());
        db.run("create database d");
        db.run("create table d.t (ts timestamp, v int)");
        let rows: String = (0..5000).map(|i| format!("({},{i})", BASE + i)).collect();
        db.run(&format!("insert into d.t values{rows}"));
        let Ok(Outcome::Rows(mut result)) = db.try_run("select v from d.t") else { panic!("no rows") };
        assert_eq!(result.next_block(10).unwrap().len(), 10);
        db.run(&format!("insert into d.t values({},-1)", BASE - 1));
        db.run("drop table d.t");
        // What was not read yet may be gone; the call answers all the same.
        result.next_block(10_000).unwrap();
        if let Storage::Directory(folder) = storage {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
}

#[test]
fn readers_and_writers_run_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let mut db = Db::open(Storage::Directory(folder.path().to_owned()));
    db.run("create database d");
    db.run("create stable d.st (ts timestamp, v int) tags (g int)");
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (engine, mut session) = (db.engine.clone(), db.session.clone());
            scope.spawn(move || {
                for i in 0..100 {
                    let sql = format!("insert into d.t{writer} using d.st tags({writer}) values({},1)", BASE + i);
                    engine.execute(&mut session, sql.as_bytes()).unwrap();
                }
            });
        }
        let (engine, mut session) = (db.engine.clone(), db.session.clone());
        scope.spawn(move || {
            for _ in 0..50 {
                let Ok(Outcome::Rows(mut rows)) = engine.execute(&mut session, b"select count(*), sum(v) from d.st")
                else {
                    panic!("no rows")
                };
                rows.next_block(1).unwrap();
            }
        });
    });
    assert_eq!(db.text("select count(*) from d.st"), ["300"]);
}

#[test]
fn no_statement_is_too_deep_or_too_long_to_be_answered() {
    let mut db = Db::new();
    db.run("create database d");
    db.run("create table d.t (ts timestamp, v int)");
    db.run(&format!("insert into d.t values({BASE},7)"));
    let many = |part: &str, count: usize| part.repeat(count);
    assert_eq!(db.text(&format!("select v from d.t where v=1{}", many(" or v=7", 50_000))), ["7"]);
    assert_eq!(db.text(&format!("select v from d.t where v=7{}", many(" and v=7", 50_000))), ["7"]);
    assert_eq!(db.text(&format!("select {}1{}", many("(", 40), many(")", 40))), ["1"]);
    for sql in [
        format!("select {}1{}", many("(", 10_000), many(")", 10_000)),
        format!("select 1{}", many("+1", 10_000)),
        format!("select {}1", many("-", 10_000)),
        format!("select v from d.t where {}v=1", many("not ", 10_000)),
        format!("select 1{}", many(" union all select 1", 10_000)),
        format!("select 1 from d.t{}", many(", d.t", 10_000)),
        format!("{}select 1{}", many("(", 10_000), many(")", 10_000)),
        format!("select {}1{}", many("abs(", 10_000), many(")", 10_000)),
        format!("select {}1{}", many("case when 1 then ", 10_000), many(" end", 10_000)),
    ] {
        assert!(db.try_run(&sql).is_err(), "{}", &sql[..40]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_comes_back(text in "\\PC{0,40}", control in "[\\n\\r\\t'\"\\\\%_x]{0,10}") {
        let value = format!("{text}{control}");
        let mut db = Db::new();
        db.run("create database d");
        db.run("create table d.t (ts timestamp, s varchar(400), n nchar(60))");
        let literal = value.replace('\\', "\\\\").replace('\'', "''");
        db.run(&format!("insert into d.t values({BASE},'{literal}','{literal}')"));
        prop_assert_eq!(db.text("select s from d.t"), vec![value.clone()]);
        prop_assert_eq!(db.text("select n from d.t"), vec![value]);
    }

    #[test]
    fn any_statement_is_answered(sql in "(select|insert into|create table|alter table|show|delete from)?[ -~]{0,60}") {
        let mut db = Db::new();
        db.run("create database d");
        db.run("create stable d.st (ts timestamp, v int) tags (g int)");
        let _ = db.try_run(&sql);
        let _ = db.try_run(&format!("select {sql} from d.st"));
        let _ = db.try_run(&format!("insert into d.t using d.st tags({sql}) values({sql})"));
    }
}
