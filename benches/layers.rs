//! What over-parameterization costs on eleven layers: the plain layer, the folded one and the unfolded
//! one by kernel and by feature composition, in a forward pass and in a training step (forward pass and
//! every gradient). 3×3 layers are timed by Winograd's larger algorithm as well.
//!
//! Images are allocated beforehand, so what is timed is the work. Parameters count as changed before
//! each step, as they are in training.

mod cases;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use do_conv::{Algorithm, Composition, Conv2d, DoConv2d};
use ndarray::Array4;

use cases::criterion;
use cases::layers::{LAYERS, Layer, image};

/// The layer in each composition, and by Winograd's algorithm if that applies.
fn forms(layer: &Layer) -> Vec<(&'static str, DoConv2d<f32>)> {
    let config = layer.do_config();
    let mut configs = vec![
        ("kernel", config.clone()),
        ("feature", config.clone().composition(Composition::Feature)),
    ];
    if layer.has_winograd() {
        configs.push(("kernel-winograd4", config.algorithm(Algorithm::Winograd4)));
    }
    configs.into_iter().map(|(name, config)| (name, config.init(1).expect("valid"))).collect()
}

/// The plain layer, and by Winograd's algorithm if that applies.
fn plain_forms(layer: &Layer) -> Vec<(&'static str, Conv2d<f32>)> {
    let config = layer.plain_config();
    let mut configs = vec![("plain", config.clone())];
    if layer.has_winograd() {
        configs.push(("plain-winograd4", config.algorithm(Algorithm::Winograd4)));
    }
    configs.into_iter().map(|(name, config)| (name, config.init(1).expect("valid"))).collect()
}

fn forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("forward");
    for case in LAYERS {
        let (name, input) = (case.name, case.input_shape());
        let x = image(input);
        let source: DoConv2d<f32> = case.do_config().init(1).expect("valid");
        let cost = source.cost(input).expect("small");
        group.throughput(Throughput::Elements(cost.plain.maccs));
        let mut y = Array4::zeros(cost.output_shape);
        for (form, conv) in plain_forms(&case).into_iter().chain([("folded", source.fold())]) {
            group.bench_function(BenchmarkId::new(form, name), |b| {
                b.iter(|| conv.forward_into(black_box(&x), &mut y));
            });
        }
        for (form, layer) in forms(&case) {
            group.bench_function(BenchmarkId::new(form, name), |b| {
                b.iter(|| layer.forward_into(black_box(&x), &mut y));
            });
        }
    }
}

fn step(c: &mut Criterion) {
    let mut group = c.benchmark_group("step");
    for case in LAYERS {
        let (name, input) = (case.name, case.input_shape());
        let x = image(input);
        let source: DoConv2d<f32> = case.do_config().init(1).expect("valid");
        let cost = source.cost(input).expect("small");
        group.throughput(Throughput::Elements(cost.plain.training_maccs));
        let dy = image(cost.output_shape);
        let mut y = Array4::zeros(cost.output_shape);
        for (form, mut plain) in plain_forms(&case) {
            let mut gradients = plain.gradients(Some(x.dim().into())).unwrap();
            group.bench_function(BenchmarkId::new(form, name), |b| {
                b.iter(|| {
                    black_box(plain.parameters_mut().count());
                    plain.forward_into(black_box(&x), &mut y)?;
                    plain.backward_into(&x, black_box(&dy), gradients.view_mut())
                });
            });
        }
        for (form, mut layer) in forms(&case) {
            let mut gradients = layer.gradients(Some(x.dim().into())).unwrap();
            group.bench_function(BenchmarkId::new(form, name), |b| {
                b.iter(|| {
                    black_box(layer.parameters_mut().count());
                    layer.forward_into(black_box(&x), &mut y)?;
                    layer.backward_into(black_box(&x), black_box(&dy), gradients.view_mut())
                });
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = criterion();
    targets = forward, step
}
criterion_main!(benches);
