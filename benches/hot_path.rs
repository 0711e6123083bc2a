//! What a batch costs on its way: `cargo bench --bench hot_path`.

mod workloads;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kafka_taos::encode::{sql, stmt2};

fn hot_path(criterion: &mut Criterion) {
    for (name, make) in workloads::ALL {
        let mut batch = make();
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20).throughput(Throughput::Elements(batch.messages.len() as u64));
        group.bench_function("decode", |bencher| bencher.iter(|| batch.decode()));
        let [block] = &mut batch.blocks;
        group.bench_function("order", |bencher| bencher.iter(|| black_box(block.order())));
        let rows = block.order().rows;
        let mut frame = Vec::new();
        for (name, with_tags) in [("stmt2", true), ("stmt2, known tables", false)] {
            group.bench_function(name, |bencher| {
                bencher.iter(|| stmt2::bind_frame(&mut frame, block, &rows, with_tags));
            });
        }
        group.bench_function("sql", |bencher| {
            bencher.iter(|| {
                let mut statements = Vec::new();
                sql::block_statements(block, &rows, sql::MAX_STATEMENT_BYTES, &mut statements)
            });
        });
        group.finish();
    }
}

criterion_group!(benches, hot_path);
criterion_main!(benches);
