//! Prepared inserts: what the frames of the recorded cases do not reach.

use kafka_taos_embedded::tdengine::engine::{BindColumn, BindMode, BindTable, Prepared, PreparedInsert, TdError};

use super::{BASE, Db};

/// The values of one column: a number or nothing.
struct Ints {
    is_null: Vec<u8>,
    data: Vec<u8>,
}

fn ints(values: &[Option<i32>]) -> Ints {
    Ints {
        is_null: values.iter().map(|value| u8::from(value.is_none())).collect(),
        data: values.iter().flat_map(|value| value.unwrap_or(0).to_le_bytes()).collect(),
    }
}

fn times(values: &[i64]) -> Ints {
    Ints { is_null: vec![0; values.len()], data: values.iter().flat_map(|value| value.to_le_bytes()).collect() }
}

impl Ints {
    fn column(&self, type_code: i32) -> BindColumn<'_> {
        BindColumn { type_code, is_null: &self.is_null, lengths: None, data: &self.data }
    }
}

fn prepare(db: &Db, sql: &str, mode: BindMode) -> Result<Box<PreparedInsert>, TdError> {
    match db.engine.prepare(&db.session, sql.as_bytes(), mode)? {
        Prepared::Insert(insert) => Ok(insert),
        Prepared::Query { .. } => panic!("{sql} is a query"),
    }
}

fn bind(
    db: &Db,
    insert: &mut PreparedInsert,
    name: &str,
    tag: i32,
    ts: i64,
    value: Option<i32>,
) -> Result<(), TdError> {
    let (tag, ts, value) = (ints(&[Some(tag)]), times(&[ts]), ints(&[value]));
    let table = BindTable {
        name: Some(name.as_bytes()),
        tags: Some(vec![tag.column(4)]),
        columns: vec![ts.column(9), value.column(4)],
    };
    db.engine.bind(insert, &[table])
}

fn db() -> Db {
    let mut db = Db::new();
    db.run("create database d");
    db.run("use d");
    db.run("create stable st (ts timestamp, v int) tags (g int)");
    db
}

#[test]
fn of_two_tags_for_a_new_table_many_takes_the_last_and_once_the_first() {
    for (mode, expected) in [(BindMode::Many, "2"), (BindMode::Once, "1")] {
        let mut db = db();
        let mut insert = prepare(&db, "insert into ? using st tags(?) values(?,?)", mode).unwrap();
        bind(&db, &mut insert, "t", 1, BASE, Some(1)).unwrap();
        bind(&db, &mut insert, "t", 2, BASE + 1, Some(1)).unwrap();
        assert_eq!(db.engine.exec(&mut insert), Ok(2));
        assert_eq!(db.text("select distinct g from st"), [expected]);
    }
}

#[test]
fn an_old_statement_leaves_a_new_column_alone() {
    let mut db = db();
    let mut insert = prepare(&db, "insert into ? using st tags(?) values(?,?)", BindMode::Many).unwrap();
    db.run(&format!("insert into t using st tags(1) values({BASE},1)"));
    db.run("alter stable st add column w int");
    db.run(&format!("insert into t (ts,w) values({BASE},7)"));
    bind(&db, &mut insert, "t", 1, BASE, Some(2)).unwrap();
    assert_eq!(db.engine.exec(&mut insert), Ok(1));
    assert_eq!(db.text("select v, w from t"), ["2 7"]);
}

#[test]
fn a_bound_column_that_was_dropped_makes_the_schema_old() {
    let mut db = db();
    db.run("alter stable st add column w int");
    let mut insert = prepare(&db, "insert into st (tbname,g,ts,w) values(?,?,?,?)", BindMode::Many).unwrap();
    db.run("alter stable st drop column w");
    bind(&db, &mut insert, "t", 1, BASE, Some(2)).unwrap();
    assert_eq!(db.engine.exec(&mut insert).unwrap_err().code, 0x061b);
    assert_eq!(db.text("select count(*) from st"), ["0"]);
}

#[test]
fn a_stable_made_anew_is_not_the_one_that_was_prepared() {
    let mut db = db();
    let mut insert = prepare(&db, "insert into ? using st tags(?) values(?,?)", BindMode::Many).unwrap();
    bind(&db, &mut insert, "t", 1, BASE, Some(2)).unwrap();
    db.run("drop stable st");
    db.run("create stable st (ts timestamp, s varchar(4)) tags (g int)");
    assert_eq!(db.engine.exec(&mut insert).unwrap_err().code, 0x2603);
}

#[test]
fn names_are_bytes_and_a_dot_names_the_database() {
    let mut db = db();
    db.run("create database e");
    let mut insert = prepare(&db, "insert into ? using st tags(?) values(?,?)", BindMode::Once).unwrap();
    for (name, code) in [("nope.t", Some(0x0388)), ("", Some(0x022b)), ("`Up`", None), ("d.t", None)] {
        assert_eq!(bind(&db, &mut insert, name, 1, BASE, None).err().map(|error| error.code), code, "{name}");
    }
    assert_eq!(bind(&db, &mut insert, &"n".repeat(193), 1, BASE, None).unwrap_err().code, 0x0200);
    assert!(!insert.has_rows(), "a failed bind drops what was pending");
    for name in ["`Up`", "d.t"] {
        bind(&db, &mut insert, name, 1, BASE, None).unwrap();
    }
    assert_eq!(db.engine.exec(&mut insert), Ok(2));
    assert_eq!(db.text("select distinct tbname from st order by tbname"), ["`Up`", "t"]);
}

#[test]
fn tags_may_be_written_out_beside_bound_ones() {
    let mut db = db();
    db.run("create stable s2 (ts timestamp, v int) tags (a varchar(4), g int)");
    let mut insert = prepare(&db, "insert into ? using s2 tags('x',?) values(?,?)", BindMode::Once).unwrap();
    bind(&db, &mut insert, "t", 5, BASE, Some(1)).unwrap();
    assert_eq!(db.engine.exec(&mut insert), Ok(1));
    assert_eq!(db.text("select a, g from s2"), ["x 5"]);
}

#[test]
fn a_buffer_too_short_is_refused() {
    let db = db();
    let mut insert = prepare(&db, "insert into ? using st tags(?) values(?,?)", BindMode::Many).unwrap();
    let (tag, ts) = (ints(&[Some(1)]), times(&[BASE, BASE + 1]));
    let short = BindColumn { type_code: 4, is_null: &[0, 0], lengths: None, data: &[1, 0, 0, 0] };
    let table = BindTable { name: Some(b"t"), tags: Some(vec![tag.column(4)]), columns: vec![ts.column(9), short] };
    assert!(db.engine.bind(&mut insert, &[table]).is_err());
}
