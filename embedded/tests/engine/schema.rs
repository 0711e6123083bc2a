//! Rows outlive changes of their table's columns.

use super::{BASE, Db};

#[test]
fn a_dropped_column_does_not_come_back_with_its_name() {
    let mut db = Db::new();
    db.run("create database d");
    db.run("create table d.t (ts timestamp, a int, b int)");
    db.run(&format!("insert into d.t values({BASE},1,2)"));
    db.run("alter table d.t drop column a");
    assert_eq!(db.text("select * from d.t"), [format!("{BASE} 2")]);
    db.run("alter table d.t add column a varchar(4)");
    assert_eq!(db.text("select * from d.t"), [format!("{BASE} 2 null")]);
    db.run(&format!("insert into d.t (ts,a) values({BASE},'new')"));
    assert_eq!(db.text("select b, a from d.t"), ["2 new"]);
}

#[test]
fn a_renamed_tag_keeps_its_values() {
    let mut db = Db::new();
    db.run("create database d");
    db.run("create stable d.st (ts timestamp, v int) tags (g int, h int)");
    db.run(&format!("insert into d.t1 using d.st tags(1,2) values({BASE},5)"));
    db.run("alter stable d.st rename tag g k");
    db.run("alter stable d.st drop tag h");
    db.run("alter stable d.st add tag h varchar(4)");
    assert_eq!(db.text("select v, k, h from d.st"), ["5 1 null"]);
}

#[test]
fn what_is_out_of_scope_says_so() {
    let mut db = Db::new();
    db.run("create database d");
    db.run("create table d.t (ts timestamp, v int)");
    for sql in [
        "create view d.v as select 1",
        "explain select * from d.t",
        "select twa(v) from d.t",
        "show grants",
        "compact database d",
    ] {
        let error = db.try_run(sql).map(|outcome| format!("{outcome:?}")).unwrap_err();
        assert!(error.message.contains("not supported by the embedded endpoint"), "{sql}: {error}");
    }
}
