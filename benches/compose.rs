//! The composition of `D` and `W` alone: the composed kernel, for the sizes of ResNet's layers and of
//! depthwise ones.

mod cases;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use do_conv::{DoConv2d, DoConv2dConfig};

use cases::criterion;

fn compose(c: &mut Criterion) {
    let mut group = c.benchmark_group("compose");
    let dense = |channels| DoConv2dConfig::new(channels, channels, [3, 3]);
    let cases = [
        ("64", dense(64)),
        ("128", dense(128)),
        ("256", dense(256)),
        ("512", dense(512)),
        ("512, d_mul 18", dense(512).d_mul(18)),
        ("depthwise 256", dense(256).groups(256)),
        ("depthwise 120, 5×5", DoConv2dConfig::new(120, 120, [5, 5]).groups(120)),
    ];
    for (name, config) in cases {
        let layer: DoConv2d<f32> = config.init(1).expect("valid");
        group.throughput(Throughput::Elements(layer.w().len() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| black_box(&layer).weight());
        });
    }
}

criterion_group! {
    name = benches;
    config = criterion();
    targets = compose
}
criterion_main!(benches);
