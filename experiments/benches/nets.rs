//! What over-parameterization costs in inference, over whole nets: plain, unfolded by kernel and by feature
//! composition, and folded, for one image and for 32.

use std::hint::black_box;

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use do_conv::{Algorithm, Composition};
use do_conv_experiments::nets::{
    Builder, Classifier, Conv, Detector, Net, Options, Segmenter, map,
};
use do_conv_experiments::record::{DMul, DStart, Kind, NetKind, Replaced};

const BATCHES: [usize; 2] = [1, 32];

fn options(net: NetKind, kind: Kind) -> Options {
    Options {
        net,
        blocks: 2,
        kind,
        d_mul: DMul::Times(1),
        d_init: DStart::Identity,
        replaced: Replaced::All,
        algorithm: Algorithm::Direct,
        seed: 0,
    }
}

/// The net in each of its forms. Nothing is trained: time doesn't depend on what parameters are.
fn forms<N: Net>(net: NetKind) -> [(&'static str, N); 4] {
    let device = Device::flex();
    let make = |kind| {
        let options = options(net, kind);
        device.seed(0);
        N::build(&mut Builder::new(&options, &device), &options).expect("valid")
    };
    let over: N = make(Kind::DoConv);
    let composing = |composition| {
        over.try_map(&|conv: &Conv| conv.composing(composition)).expect("paired by input channel")
    };
    [
        ("plain", map(&make(Kind::Plain), Conv::fold)),
        ("kernel", composing(Composition::Kernel)),
        ("feature", composing(Composition::Feature)),
        ("folded", map(&over, Conv::fold)),
    ]
}

fn net<N: Net>(c: &mut Criterion, name: &str, kind: NetKind) {
    let forms = forms::<N>(kind);
    let mut group = c.benchmark_group(name);
    group.sample_size(20);
    for batch in BATCHES {
        let device = Device::flex();
        let shape = [batch, 1, N::SIDE, N::SIDE];
        let x = Tensor::<4>::random(shape, Distribution::Uniform(0.0, 1.0), &device);
        group.throughput(Throughput::Elements(batch as u64));
        for (form, net) in &forms {
            group.bench_function(BenchmarkId::new(*form, batch), |b| {
                b.iter(|| net.outputs(black_box(x.clone())));
            });
        }
    }
}

fn nets(c: &mut Criterion) {
    net::<Classifier>(c, "tutorial", NetKind::Tutorial);
    net::<Classifier>(c, "plain", NetKind::Plain);
    net::<Classifier>(c, "resnet-v1", NetKind::ResnetV1);
    net::<Classifier>(c, "resnet-v1b", NetKind::ResnetV1b);
    net::<Classifier>(c, "resnet-v2", NetKind::ResnetV2);
    net::<Classifier>(c, "resnext", NetKind::Resnext);
    net::<Classifier>(c, "mobilenet", NetKind::Mobilenet);
    net::<Segmenter>(c, "segmenter", NetKind::ResnetV1);
    net::<Detector>(c, "detector", NetKind::ResnetV1);
}

criterion_group!(benches, nets);
criterion_main!(benches);
