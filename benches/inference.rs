//! `cargo bench --bench inference`: prefill of 1,024 tokens and greedy generation of 128, batch 1,
//! on the device that `V5_DEVICE` chooses.

mod cases;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn bench(c: &mut Criterion) {
    v5gate::keep_freed_memory();
    cases::device();
    for (kind, tokens) in [("prefill", cases::PREFILL), ("generate", cases::GENERATED)] {
        let mut group = c.benchmark_group(kind);
        group.sample_size(10).throughput(Throughput::Elements(tokens as u64));
        for name in cases::names(kind) {
            group.bench_function(&name[kind.len() + 1..], |b| {
                let mut work = cases::work(&name).expect("a listed case");
                b.iter_custom(|units| cases::timed(&mut work, units).expect("the case runs"));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
