//! What was answered with success is there after the process was killed.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use kafka_taos_embedded::tdengine::engine::{Cell, Engine, OpenError, Storage};

use super::{BASE, Db};

const FOLDER: &str = "KAFKA_TAOS_TEST_STORE";

/// Not a test by itself: the process that [`rows_answered_before_a_kill_are_there`] kills. It inserts row after row and
/// prints each one's number once it is answered.
#[test]
#[ignore = "runs as a child of another test"]
fn child_that_inserts_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut db = Db::open(Storage::Directory(PathBuf::from(folder)));
    db.run("create database d");
    db.run("create stable d.st (ts timestamp, v int) tags (g int)");
    for i in 0.. {
        db.run(&format!("insert into d.t{} using d.st tags({i}) values({},{i})", i % 7, BASE + i));
        println!("answered {i}");
    }
}

#[test]
fn rows_answered_before_a_kill_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "durability::child_that_inserts_until_it_is_killed", "--ignored", "--nocapture"])
        .env(FOLDER, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answered = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // The test harness writes its own words on the first line.
        if let Some((_, number)) = line.unwrap().rsplit_once("answered ") {
            answered = number.parse::<i64>().unwrap();
            if answered == 200 {
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    assert!(answered >= 200);
    let mut db = Db::open(Storage::Directory(folder.path().to_owned()));
    let rows = db.rows("select v from d.st order by ts");
    assert!(rows.len() as i64 > answered, "{} rows, {answered} answered", rows.len());
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row, &[Cell::Int(i as i64)]);
    }
}

#[test]
fn a_store_opened_again_has_tables_tags_and_users() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::Directory(folder.path().to_owned());
    {
        let mut db = Db::open(storage.clone());
        db.run("create database d precision 'us' keep 365");
        db.run("create stable d.st (ts timestamp, a int, b varchar(8)) tags (g int, `T` nchar(8))");
        db.run("insert into d.`x y` using d.st tags(1,'中') values(1764547200000001,5,'q')");
        db.run("alter stable d.st add column c double");
        db.run("alter table d.`x y` set tag g=9");
        db.run("create table d.n (ts timestamp, v int) comment 'c' ttl 3");
        db.run("create user u1 pass 'Abc123!@#'");
    }
    let mut db = Db::open(storage);
    assert_eq!(db.text("select tbname, ts, a, b, c, g, `T` from d.st"), ["x y 1764547200000001 5 q null 9 中"]);
    assert_eq!(
        db.text("select `keep`, `precision` from information_schema.ins_databases where name='d'"),
        ["365d,365d,365d us"]
    );
    assert!(db.text("show create table d.n")[0].ends_with("COMMENT 'c' TTL 3"));
    assert_eq!(db.engine.login("u1", "Abc123!@#"), Ok(()));
    assert_eq!(db.engine.login("u1", "x").unwrap_err().code, 0x0357);
    // New ids do not collide with the old ones.
    db.run("create table d.m (ts timestamp, v int)");
    db.run("insert into d.m values(1764547200000000,1)");
    assert_eq!(db.text("select count(*) from d.n"), ["0"]);
}

#[test]
fn a_directory_has_one_engine_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::Directory(folder.path().to_owned());
    let first = Engine::open(storage.clone()).unwrap();
    assert!(matches!(Engine::open(storage.clone()), Err(OpenError::InUse { .. })));
    drop(first);
    Engine::open(storage).unwrap();
}
