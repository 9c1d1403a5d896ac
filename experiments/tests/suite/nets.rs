//! What nets are made of.

use std::sync::{Mutex, PoisonError};

use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor};
use do_conv::{Algorithm, Composition};
use do_conv_experiments::nets::{
    Builder, Classifier, Conv, Detector, Maccs, Net, Options, Segmenter, map,
};
use do_conv_experiments::record::{DMul, DStart, Kind, NetKind, Replaced};

const NETS: [NetKind; 7] = [
    NetKind::Tutorial,
    NetKind::Plain,
    NetKind::ResnetV1,
    NetKind::ResnetV1b,
    NetKind::ResnetV2,
    NetKind::Resnext,
    NetKind::Mobilenet,
];

/// burn's generator of random numbers is one for all threads.
static ALONE: Mutex<()> = Mutex::new(());

fn options(net: NetKind, kind: Kind) -> Options {
    Options {
        net,
        blocks: 1,
        kind,
        d_mul: DMul::Times(1),
        d_init: DStart::Identity,
        replaced: Replaced::All,
        algorithm: Algorithm::Direct,
        seed: 3,
    }
}

fn build<N: Net>(options: &Options) -> (N, Maccs) {
    let device = Device::flex();
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    device.seed(options.seed);
    let mut builder = Builder::new(options, &device);
    let net = N::build(&mut builder, options).expect("valid");
    (net, builder.maccs())
}

fn outputs<N: Net>(net: &N) -> Vec<f32> {
    let device = Device::flex();
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    device.seed(9);
    let shape = [3, 1, N::SIDE, N::SIDE];
    let images = Tensor::random(shape, Distribution::Uniform(0.0, 1.0), &device);
    net.outputs(images).try_into_vec_as().expect("numbers")
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The largest difference beside the largest value.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let pairs = a.iter().zip(b);
    pairs.fold(0f32, |most, (a, b)| most.max((a - b).abs())) / largest
}

fn forms_agree<N: Net>(kind: NetKind) {
    let plain = outputs(&build::<N>(&options(kind, Kind::Plain)).0);
    assert!(plain.iter().all(|value| value.is_finite()) && plain.iter().any(|&value| value != 0.0));
    // From the identity it starts as the same function, whatever S is.
    let (net, _) = build::<N>(&options(kind, Kind::DoConv));
    assert_eq!(bits(&outputs(&net)), bits(&plain), "{kind:?}");

    let random = Options { d_init: DStart::Random, ..options(kind, Kind::DoConv) };
    let (net, _) = build::<N>(&random);
    let unfolded = outputs(&net);
    assert!(distance(&unfolded, &plain) > 1e-3, "{kind:?}");
    let folded = map(&net, Conv::fold);
    assert_eq!(bits(&outputs(&folded)), bits(&unfolded), "{kind:?}");
    assert!(folded.num_params() < net.num_params());
    let features = net.try_map(&|conv: &Conv| conv.composing(Composition::Feature));
    let features = outputs(&features.expect("paired by input channel"));
    assert!(distance(&features, &unfolded) < 1e-4, "{kind:?}");
}

#[test]
fn classifiers_agree_in_every_form() {
    NETS.into_iter().for_each(forms_agree::<Classifier>);
}

#[test]
fn scenes_nets_agree_in_every_form() {
    forms_agree::<Segmenter>(NetKind::ResnetV1);
    forms_agree::<Detector>(NetKind::ResnetV1);
}

#[test]
fn separable_layers_take_the_place_of_dense_ones() {
    let (plain, of_plain) = build::<Classifier>(&options(NetKind::ResnetV1, Kind::Plain));
    let (net, maccs) = build::<Classifier>(&options(NetKind::ResnetV1, Kind::Separable));
    assert!(2 * net.num_params() < plain.num_params());
    assert!(2 * maccs.training < of_plain.training);
    assert_eq!(maccs.training, maccs.folded);
    assert_eq!(outputs(&net).len(), outputs(&plain).len());
}

/// Three 3×3 convolutions, with outputs of 14, 7 and 4 rows.
#[test]
fn multiply_accumulates_are_counted() {
    let plain = 16 * 9 * 14 * 14 + 16 * 16 * 9 * 7 * 7 + 10 * 16 * 9 * 4 * 4;
    let compose = (16 + 16 * 16 + 10 * 16) * 9 * 9;
    let (_, maccs) = build::<Classifier>(&options(NetKind::Tutorial, Kind::Plain));
    assert_eq!(maccs, Maccs { training: plain, folded: plain });
    let (_, maccs) = build::<Classifier>(&options(NetKind::Tutorial, Kind::DoConv));
    assert_eq!(maccs, Maccs { training: plain + compose, folded: plain });
    let twice = Options { d_mul: DMul::Times(2), ..options(NetKind::Tutorial, Kind::DoConv) };
    let (_, maccs) = build::<Classifier>(&twice);
    assert_eq!(maccs, Maccs { training: plain + 2 * compose, folded: plain });
}

/// Replaced layers have a `D` of `I·9·S` more numbers.
#[test]
fn layers_are_replaced_where_they_are_asked_for() {
    let (plain, _) = build::<Classifier>(&options(NetKind::ResnetV1, Kind::Plain));
    let more = |replaced| {
        let options = Options { replaced, ..options(NetKind::ResnetV1, Kind::DoConv) };
        build::<Classifier>(&options).0.num_params() - plain.num_params()
    };
    let d = |inputs: &[usize]| inputs.iter().sum::<usize>() * 9 * 9;
    assert_eq!(more(Replaced::Stem), d(&[1]));
    assert_eq!(more(Replaced::First), d(&[16, 16]));
    assert_eq!(more(Replaced::Middle), d(&[16, 32]));
    assert_eq!(more(Replaced::Last), d(&[32, 64]));
    assert_eq!(more(Replaced::All), d(&[1, 16, 16, 16, 32, 32, 64]));
    assert_eq!(more(Replaced::Backbone), more(Replaced::All));
    assert_eq!(more(Replaced::Head), 0);

    let (plain, _) = build::<Detector>(&options(NetKind::ResnetV1, Kind::Plain));
    let head = Options { replaced: Replaced::Head, ..options(NetKind::ResnetV1, Kind::DoConv) };
    let (net, _) = build::<Detector>(&head);
    assert_eq!(net.num_params() - plain.num_params(), d(&[64]));
}
