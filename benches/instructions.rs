//! A fixed amount of work, to have its instructions counted: `.ci/instructions` runs it under callgrind.
//!
//! `instructions NAME TIMES` does the work NAME so often; without arguments it prints the names. Counting two numbers of
//! times, what lies between them is the work alone.

mod workloads;

use std::hint::black_box;

use kafka_taos::encode::{sql, stmt2};
use workloads::Batch;

/// Once.
type Work = fn(&mut Batch, &[u32], &mut Vec<u8>);

const WORKS: [(&str, Work); 4] = [
    ("decode", |batch, _, _| batch.decode()),
    ("order", |batch, _, _| drop(black_box(batch.blocks[0].order()))),
    ("stmt2", |batch, rows, frame| stmt2::bind_frame(frame, &batch.blocks[0], rows, true)),
    ("sql", |batch, rows, _| {
        let mut statements = Vec::new();
        black_box(sql::block_statements(&batch.blocks[0], rows, sql::MAX_STATEMENT_BYTES, &mut statements));
    }),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    for (workload, make) in workloads::ALL {
        for (work, run) in WORKS {
            let name = format!("{workload}-{work}");
            match arguments.as_slice() {
                [wanted, times] if *wanted == name => {
                    let mut batch = make();
                    batch.decode();
                    let rows = batch.blocks[0].order().rows;
                    let mut frame = Vec::new();
                    for _ in 0..times.parse().unwrap_or(1) {
                        run(&mut batch, &rows, &mut frame);
                    }
                    println!("{} rows", rows.len());
                }
                [] => println!("{name}"),
                _ => {}
            }
        }
    }
}
