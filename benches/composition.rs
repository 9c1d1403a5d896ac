//! What over-parameterization costs: a folded layer against the same layer unfolded, by kernel and by
//! feature composition, in a forward pass and in a training step (forward pass and every gradient).
//!
//! Every buffer is allocated beforehand where the form allows it, so what is timed is the work.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use do_conv::{Composition, DoConv2d, DoConv2dConfig};
use ndarray::Array4;

/// Name, layer and input of each case.
fn layers() -> [(&'static str, DoConv2dConfig, [usize; 4]); 4] {
    [
        ("dense", DoConv2dConfig::new(64, 64, [3, 3]).padding(1), [4, 64, 28, 28]),
        ("grouped", DoConv2dConfig::new(64, 64, [3, 3]).padding(1).groups(8), [4, 64, 28, 28]),
        ("depthwise", DoConv2dConfig::new(64, 64, [3, 3]).padding(1).groups(64), [4, 64, 28, 28]),
        // The wide end of a network, where feature composition takes fewer multiply-accumulates.
        ("wide", DoConv2dConfig::new(128, 256, [3, 3]).padding(1), [1, 128, 4, 4]),
    ]
}

/// Numbers without subnormals or repetition, the same every time.
fn image(shape: [usize; 4]) -> Array4<f32> {
    let mut index = 0u32;
    Array4::from_shape_simple_fn(shape, || {
        index = index.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (index >> 8) as f32 / (1 << 23) as f32 - 1.0
    })
}

fn forms(config: &DoConv2dConfig) -> [(&'static str, DoConv2d<f32>); 2] {
    [("kernel", Composition::Kernel), ("feature", Composition::Feature)]
        .map(|(name, order)| (name, config.clone().composition(order).init(1).expect("valid")))
}

fn forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("forward");
    for (name, config, input) in layers() {
        let x = image(input);
        let [(_, source), _] = forms(&config);
        let cost = source.cost(input).expect("small");
        group.throughput(Throughput::Elements(cost.plain.maccs));
        let mut y = Array4::zeros(cost.output_shape);
        let folded = source.fold();
        group.bench_function(BenchmarkId::new("folded", name), |b| {
            b.iter(|| folded.forward_into(black_box(&x), &mut y));
        });
        for (form, layer) in forms(&config) {
            group.bench_function(BenchmarkId::new(form, name), |b| {
                b.iter(|| layer.forward_into(black_box(&x), &mut y));
            });
        }
    }
}

fn step(c: &mut Criterion) {
    let mut group = c.benchmark_group("step");
    for (name, config, input) in layers() {
        let x = image(input);
        let [(_, source), _] = forms(&config);
        let cost = source.cost(input).expect("small");
        group.throughput(Throughput::Elements(cost.plain.training_maccs));
        let dy = image(cost.output_shape);
        let plain = source.fold();
        let mut gradients = plain.gradients(Some(x.dim())).unwrap();
        let mut y = Array4::zeros(cost.output_shape);
        group.bench_function(BenchmarkId::new("plain", name), |b| {
            b.iter(|| {
                plain.forward_into(black_box(&x), &mut y)?;
                plain.backward_into(&x, black_box(&dy), gradients.view_mut())
            });
        });
        for (form, layer) in forms(&config) {
            let mut gradients = layer.gradients(Some(x.dim())).unwrap();
            group.bench_function(BenchmarkId::new(form, name), |b| {
                b.iter(|| {
                    let (y, saved) = layer.forward_train(black_box(&x))?;
                    black_box(y);
                    layer.backward_into(&saved, black_box(&dy), gradients.view_mut())
                });
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = forward, step
}
criterion_main!(benches);
