//! Throw-away measurement of the engine's write paths.
use kafka_taos_embedded::tdengine::engine::*;
use std::time::Instant;

fn main() {
    let arg = std::env::args().nth(1).unwrap_or_default();
    let storage = || {
        if arg.is_empty() {
            Storage::Memory
        } else {
            let d = std::path::PathBuf::from(&arg);
            let _ = std::fs::remove_dir_all(&d);
            Storage::Directory(d)
        }
    };
    for (tables, rows_per_table, batches) in [(100usize, 500usize, 20usize), (10_000, 5, 20)] {
        let engine = Engine::open(storage()).unwrap();
        let mut s = Session::new("root");
        engine.execute(&mut s, b"create database p").unwrap();
        engine.use_database(&mut s, "p").unwrap();
        engine.execute(&mut s, b"create stable m (ts timestamp, current float, voltage int, phase float) tags (groupid int, location varchar(24))").unwrap();
        for mode in [BindMode::Many, BindMode::Once] {
            let Prepared::Insert(mut ins) = engine
                .prepare(
                    &s,
                    b"insert into m (tbname,groupid,location,ts,current,voltage,phase) values(?,?,?,?,?,?,?)",
                    mode,
                )
                .unwrap()
            else {
                panic!()
            };
            let names: Vec<String> =
                (0..tables).map(|i| format!("{}{i}", if mode == BindMode::Many { "d" } else { "e" })).collect();
            let zeros = vec![0u8; rows_per_table];
            let start = Instant::now();
            let (mut bind, mut exec) = (0.0, 0.0);
            for b in 0..batches {
                let ts: Vec<u8> = (0..rows_per_table)
                    .flat_map(|r| (1_764_547_200_000i64 + (b * rows_per_table + r) as i64 * 1000).to_le_bytes())
                    .collect();
                let f: Vec<u8> = (0..rows_per_table).flat_map(|r| (r as f32).to_le_bytes()).collect();
                let i: Vec<u8> = (0..rows_per_table).flat_map(|r| (r as i32).to_le_bytes()).collect();
                let gid = 7i32.to_le_bytes();
                let len = 10i32.to_le_bytes();
                let t = Instant::now();
                let frame: Vec<BindTable> = names
                    .iter()
                    .map(|n| BindTable {
                        name: Some(n.as_bytes()),
                        tags: Some(vec![
                            BindColumn { type_code: 4, is_null: &[0], lengths: None, data: &gid },
                            BindColumn { type_code: 8, is_null: &[0], lengths: Some(&len), data: b"California" },
                        ]),
                        columns: vec![
                            BindColumn { type_code: 9, is_null: &zeros, lengths: None, data: &ts },
                            BindColumn { type_code: 6, is_null: &zeros, lengths: None, data: &f },
                            BindColumn { type_code: 4, is_null: &zeros, lengths: None, data: &i },
                            BindColumn { type_code: 6, is_null: &zeros, lengths: None, data: &f },
                        ],
                    })
                    .collect();
                engine.bind(&mut ins, &frame).unwrap();
                bind += t.elapsed().as_secs_f64();
                let t = Instant::now();
                let n = engine.exec(&mut ins).unwrap();
                exec += t.elapsed().as_secs_f64();
                assert_eq!(n as usize, tables * rows_per_table);
            }
            let total = tables * rows_per_table * batches;
            let secs = start.elapsed().as_secs_f64();
            println!(
                "narrow {tables}x{rows_per_table} {mode:?}: {:.0} rows/s (bind {bind:.2}s exec {exec:.2}s)",
                total as f64 / secs
            );
        }
        let t = Instant::now();
        if let Outcome::Rows(mut r) = engine.execute(&mut s, b"select count(*), sum(voltage) from m").unwrap() {
            println!("{:?} in {:?}", r.next_block(10).unwrap(), t.elapsed());
        }
    }
    // wide: 100 tables x 20 rows x 100 binary(10)
    let engine = Engine::open(storage()).unwrap();
    let mut s = Session::new("root");
    engine.execute(&mut s, b"create database p").unwrap();
    engine.use_database(&mut s, "p").unwrap();
    let cols: Vec<String> = (0..100).map(|i| format!("col{i} binary(10)")).collect();
    engine
        .execute(
            &mut s,
            format!("create stable stb (ts timestamp, {}) tags (device binary(10))", cols.join(",")).as_bytes(),
        )
        .unwrap();
    let q = vec!["?"; 101].join(",");
    let Prepared::Insert(mut ins) =
        engine.prepare(&s, format!("insert into ? using stb tags(?) values({q})").as_bytes(), BindMode::Many).unwrap()
    else {
        panic!()
    };
    let names: Vec<String> = (0..100).map(|i| format!("tb{i}")).collect();
    let rows = 20usize;
    let zeros = vec![0u8; rows];
    let data = vec![b'x'; rows * 10];
    let lens: Vec<u8> = (0..rows).flat_map(|_| 10i32.to_le_bytes()).collect();
    let start = Instant::now();
    let (mut bind, mut exec) = (0.0, 0.0);
    let batches = 50;
    for b in 0..batches {
        let ts: Vec<u8> =
            (0..rows).flat_map(|r| (1_764_547_200_000i64 + (b * rows + r) as i64 * 1000).to_le_bytes()).collect();
        let len = 3i32.to_le_bytes();
        let t = Instant::now();
        let frame: Vec<BindTable> = names
            .iter()
            .map(|n| {
                let mut columns = vec![BindColumn { type_code: 9, is_null: &zeros, lengths: None, data: &ts }];
                columns.extend((0..100).map(|_| BindColumn {
                    type_code: 8,
                    is_null: &zeros,
                    lengths: Some(&lens),
                    data: &data,
                }));
                BindTable {
                    name: Some(n.as_bytes()),
                    tags: Some(vec![BindColumn { type_code: 8, is_null: &[0], lengths: Some(&len), data: b"tb1" }]),
                    columns,
                }
            })
            .collect();
        engine.bind(&mut ins, &frame).unwrap();
        bind += t.elapsed().as_secs_f64();
        let t = Instant::now();
        engine.exec(&mut ins).unwrap();
        exec += t.elapsed().as_secs_f64();
    }
    println!(
        "wide: {:.0} rows/s (bind {bind:.2}s exec {exec:.2}s)",
        (100 * rows * batches) as f64 / start.elapsed().as_secs_f64()
    );
    // SQL insert
    let mut sql = String::from("insert into ");
    for i in 0..5000 {
        if i % 100 == 0 {
            sql += &format!("q{} using m2 tags(1,'x') values", i / 100);
        }
        sql += &format!("({},1.5,220,0.31)", 1_764_547_200_000i64 + i * 1000);
    }
    engine.execute(&mut s, b"create stable m2 (ts timestamp, current float, voltage int, phase float) tags (groupid int, location varchar(24))").unwrap();
    let t = Instant::now();
    for _ in 0..20 {
        engine.execute(&mut s, sql.as_bytes()).unwrap();
    }
    println!("sql: {:.0} rows/s", 100_000.0 / t.elapsed().as_secs_f64());
    let t = Instant::now();
    let mut n = 0;
    if let Outcome::Rows(mut r) = engine.execute(&mut s, b"select * from stb").unwrap() {
        loop {
            let b = r.next_block(4096).unwrap();
            if b.is_empty() {
                break;
            }
            n += b.len();
        }
    }
    println!("scan wide: {:.0} rows/s", n as f64 / t.elapsed().as_secs_f64());
}
