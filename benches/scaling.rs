//! How the time of a folded 3×3 layer grows with the image, the batch and the channels, and falls with
//! threads: the throughput is in multiply-accumulates, and flat where growth is linear.

mod cases;

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use criterion::{criterion_group, criterion_main};
use do_conv::{DoConv2d, DoConv2dConfig};
use ndarray::Array4;
use rayon::ThreadPoolBuilder;

use cases::criterion;
use cases::layers::image;

/// Times a layer of as many output as input channels, on so many threads.
fn time(
    group: &mut BenchmarkGroup<WallTime>,
    [name, size]: [&str; 2],
    input: [usize; 4],
    threads: usize,
) {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    let config = DoConv2dConfig::new(input[1], input[1], [3, 3]).padding(1);
    let layer: DoConv2d<f32> = config.init(1).expect("valid");
    let (conv, x) = (layer.fold(), image(input));
    let mut y = Array4::zeros(layer.output_shape(input).expect("small"));
    group.throughput(Throughput::Elements(layer.cost(input).expect("small").plain.maccs));
    group.bench_function(BenchmarkId::new(name, size), |b| {
        b.iter(|| pool.install(|| conv.forward_into(black_box(&x), &mut y)));
    });
}

fn scaling(c: &mut Criterion) {
    let mut group = c.benchmark_group("scaling");
    let most = std::thread::available_parallelism().map_or(1, usize::from);
    for side in [14, 28, 56, 112, 224] {
        time(&mut group, ["image", &side.to_string()], [4, 64, side, side], most);
    }
    for batch in [1, 4, 16, 64] {
        time(&mut group, ["batch", &batch.to_string()], [batch, 64, 28, 28], most);
    }
    for channels in [16, 32, 64, 128, 256] {
        time(&mut group, ["channels", &channels.to_string()], [4, channels, 28, 28], most);
    }
    for threads in (0..).map(|power| 1 << power).take_while(|&threads| threads <= most) {
        time(&mut group, ["threads", &threads.to_string()], [8, 64, 56, 56], threads);
    }
}

criterion_group! {
    name = benches;
    config = criterion();
    targets = scaling
}
criterion_main!(benches);
