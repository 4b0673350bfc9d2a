//! `cargo bench --bench training`: a step of the real trainer, the ops that differ between models forward and
//! backward, and AdamW, at the sizes of `cases::SIZES`, on the device that `V5_DEVICE` chooses.

mod cases;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn bench(c: &mut Criterion) {
    v5gate::keep_freed_memory();
    cases::device();
    for kind in ["train", "wkv6", "ssd", "attention", "cross_entropy", "adamw"] {
        let mut group = c.benchmark_group(kind);
        group.sample_size(10);
        for name in cases::names(kind) {
            let size = cases::SIZES.iter().find(|s| name.ends_with(s.name)).expect("names end in a size");
            group.throughput(Throughput::Elements((size.batch() * size.time) as u64));
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
