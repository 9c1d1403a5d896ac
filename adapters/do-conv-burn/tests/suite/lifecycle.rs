//! A layer's life: from the start or from pretrained weights, through training and records, to the
//! fold; and the same as a reparameterization of burn's own layers.

use crate::common::{array, device};
use burn::config::Config;
use burn::module::{Module, Param, ParamGroup};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Distribution, FloatDType, Tensor};
use do_conv_burn::{
    Composition, DepthwiseKernel, DoConv2d, DoConv2dConfig, OverParameterize, Pairing,
};

fn random<const N: usize>(shape: [usize; N]) -> Tensor<N> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device())
}

fn config() -> DoConv2dConfig {
    DoConv2dConfig::new([4, 6], [3, 2])
        .with_stride([2, 2])
        .with_groups(2)
        .with_padding(PaddingConfig2d::Explicit(1, 0, 0, 2))
}

fn same_bits<const N: usize>(a: Tensor<N>, b: Tensor<N>) -> bool {
    array(&a).mapv(f64::to_bits) == array(&b).mapv(f64::to_bits)
}

fn largest_difference<const N: usize>(a: Tensor<N>, b: Tensor<N>) -> f32 {
    (a - b).abs().max().into_scalar()
}

/// Steps of Adam towards another function that the model can be; the losses.
fn train<M: Module>(
    mut model: M,
    forward: impl Fn(&M) -> Tensor<4>,
    steps: usize,
) -> (M, Vec<f32>) {
    let target = (forward(&model) * 0.5 + 0.5).detach();
    let mut optimizer = AdamConfig::new().init();
    let mut losses = Vec::new();
    for _ in 0..steps {
        let loss = (forward(&model) - target.clone()).square().mean();
        losses.push(loss.clone().into_scalar());
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(0.02, model, gradients);
    }
    (model, losses)
}

#[test]
fn parameters_have_the_names_and_shapes_of_the_published_checkpoints() {
    use burn::store::ModuleSnapshot;
    let shapes = |config: DoConv2dConfig| {
        let tensors = config.init(&device()).collect(None, None, false);
        let shapes =
            tensors.iter().map(|tensor| format!("{} {:?}", tensor.name, tensor.shape.to_vec()));
        shapes.collect::<Vec<_>>()
    };
    assert_eq!(shapes(config()), ["W [6, 2, 6]", "D [4, 6, 6]", "bias [6]"]);
    let pointwise = DoConv2dConfig::new([4, 6], [1, 1]).with_bias(false);
    assert_eq!(shapes(pointwise), ["W [6, 4, 1]"]);
    let over = DoConv2dConfig::new([2, 3], [3, 3]).with_bias(false).with_d_mul(Some(11));
    assert_eq!(shapes(over), ["W [3, 2, 11]", "D [2, 9, 11]"]);
}

#[test]
fn a_new_layer_is_the_plain_convolution_by_w() {
    let layer = config().init(&device());
    let w: Tensor<4> = layer.W.val().reshape([6, 2, 3, 2]);
    assert!(same_bits(layer.weight(), w.clone()));
    let largest: f32 = w.abs().max().into_scalar();
    let bound = 1.0 / 12f32.sqrt();
    assert!(largest <= bound && largest > 0.7 * bound, "{largest}, bound {bound}");
    let (d, bias) = (6 * 4 * 6, 6);
    assert_eq!(layer.num_params(), 6 * 2 * 6 + d + bias);
    assert_eq!(layer.fold().num_params(), 6 * 2 * 6 + bias);
}

#[test]
fn training_changes_every_parameter_and_the_fold_keeps_the_function() {
    let start = config().init(&device());
    let x = random([3, 4, 9, 8]);
    let (layer, losses) = train(start.clone(), |layer| layer.forward(x.clone()), 40);
    assert!(losses[39] < 0.5 * losses[0], "{losses:?}");
    assert!(!same_bits(layer.W.val(), start.W.val()));
    assert!(!same_bits(layer.D.as_ref().unwrap().val(), start.D.as_ref().unwrap().val()));
    assert!(!same_bits(layer.bias.as_ref().unwrap().val(), start.bias.as_ref().unwrap().val()));
    assert!(same_bits(layer.fold_for_cpu().forward(x.clone()), layer.forward(x.clone())));
    assert!(largest_difference(layer.fold().forward(x.clone()), layer.forward(x.clone())) < 1e-5);

    // Validation is on the inner device, and training goes on after it.
    let valid = layer.valid();
    assert!(!valid.weight().is_autodiff());
    assert!(same_bits(valid.forward(x.clone().without_autodiff()), layer.forward(x.clone())));
    let (_, losses) = train(valid.train(), |layer| layer.forward(x.clone()), 2);
    assert!(losses[1] < losses[0], "{losses:?}");
}

#[test]
fn records_keep_every_bit() {
    let x = random([3, 4, 9, 8]);
    let (layer, _) = train(config().init(&device()), |layer| layer.forward(x.clone()), 3);
    let again = || config().init(&device());
    assert!(!same_bits(again().forward(x.clone()), layer.forward(x.clone())));
    let loaded = again().load_record(layer.clone().into_record());
    assert!(same_bits(loaded.forward(x.clone()), layer.forward(x.clone())));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layer");
    layer.clone().save_file(&path).unwrap();
    let loaded = again().try_load_file(&path).unwrap();
    assert!(same_bits(loaded.forward(x.clone()), layer.forward(x.clone())));
    let other = DoConv2dConfig::new([4, 6], [3, 3]).init(&device());
    assert!(other.try_load_file(&path).is_err(), "another layer's");
}

/// What version 0.1 wrote before layers ran on the core's engine, and what it computed.
#[test]
fn records_of_before_load() {
    #[derive(Module, Debug)]
    struct Net {
        first: DoConv2d,
        second: DoConv2d,
        third: Conv2d,
    }
    let device = device();
    let second = DoConv2dConfig::new([4, 6], [3, 3]).with_groups(2).with_d_mul(Some(11));
    let net = Net {
        first: DoConv2dConfig::new([3, 4], [3, 2]).with_bias(false).init(&device),
        second: second.with_pairing(Pairing::PyTorch).init(&device),
        third: Conv2dConfig::new([6, 4], [3, 3]).with_groups(2).init(&device),
    };
    let over = OverParameterize::new(&net).unwrap().with_d_mul(10).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/net.bpk");
    let net = net.apply_reparameterization(over).try_load_file(path).unwrap();
    let x = Tensor::<4>::ones([1, 3, 9, 8], &device).cumsum(3) * 0.1;
    let y = net.third.forward(net.second.forward(net.first.forward(x)));
    // Each row of a channel is the same, as those of `x` are.
    let rows = [
        [0.30053824, 0.315463, 0.33038777],
        [-0.054720417, -0.082353935, -0.10998744],
        [0.01493977, 0.027929127, 0.04091847],
        [-0.025466561, -0.029786631, -0.034106664],
    ];
    for (index, got) in array(&y).indexed_iter() {
        let expected: f64 = rows[index[1]][index[3]];
        assert!((got - expected).abs() < 1e-6, "{got}, expected {expected}");
    }
}

#[test]
fn configurations_survive_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let config = config().with_d_mul(Some(7)).with_pairing(Pairing::TensorFlow);
    let config = config.with_composition(Composition::Auto);
    config.save(&path).unwrap();
    let loaded = DoConv2dConfig::load(&path).unwrap();
    assert_eq!(format!("{loaded:?}"), format!("{config:?}"));
}

#[test]
fn a_layer_shows_what_it_is() {
    assert_eq!(
        config().with_d_mul(Some(8)).init(&device()).to_string(),
        "DoConv2d {ch_in: 4, ch_out: 6, kernel_size: [3, 2], stride: [2, 2], dilation: [1, 1], \
         groups: 2, padding: Explicit(1, 0, 0, 2), d_mul: 8, pairing: InputChannel, \
         composition: Kernel, algorithm: Direct, params: 294}"
    );
}

/// Layers of every kind, one in another, so that paths are worth something.
#[derive(Module, Debug)]
struct Model {
    convs: Vec<Conv2d>,
    grouped: Option<Conv2d>,
    pointwise: Conv2d,
    up: ConvTranspose2d,
}

impl Model {
    fn new() -> Self {
        let device = device();
        let conv =
            |channels| Conv2dConfig::new(channels, [3, 3]).with_padding(PaddingConfig2d::Same);
        Self {
            convs: vec![
                conv([3, 4]).init(&device),
                conv([4, 8]).with_groups(4).with_bias(false).init(&device),
            ],
            grouped: Some(conv([8, 6]).with_groups(2).with_stride([2, 2]).init(&device)),
            pointwise: Conv2dConfig::new([6, 4], [1, 1]).init(&device),
            up: ConvTranspose2dConfig::new([4, 2], [3, 3]).init(&device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.convs.iter().fold(x, |x, conv| conv.forward(x));
        let x = self.grouped.as_ref().unwrap().forward(x);
        self.up.forward(self.pointwise.forward(x))
    }
}

#[test]
fn a_model_of_burns_layers_becomes_do_conv_and_plain_again() {
    for d_mul in [9, 12] {
        let plain = Model::new();
        let x = random([2, 3, 8, 7]);
        let over = OverParameterize::new(&plain).unwrap().with_d_mul(d_mul).unwrap();
        let model = plain.clone().apply_reparameterization(over);
        // The same function, to rounding: two zeros more are added up if there are more taps.
        assert!(same_bits(model.forward(x.clone()), plain.forward(x.clone())));
        let channels = 3 + 4 + 8;
        let more_w = (4 * 3 + 8 + 6 * 4) * (d_mul - 9);
        assert_eq!(model.num_params(), plain.num_params() + channels * 9 * d_mul + more_w);
        for (conv, shape) in [
            (&model.convs[0], [3, 9, d_mul]),
            (&model.convs[1], [4, 9, d_mul]),
            (model.grouped.as_ref().unwrap(), [8, 9, d_mul]),
        ] {
            let depthwise = conv.weight.reparameterization::<DepthwiseKernel>().unwrap();
            assert_eq!(depthwise.D.val().dims(), shape);
        }
        assert!(model.pointwise.weight.reparameterization::<DepthwiseKernel>().is_none());
        assert!(model.up.weight.reparameterization::<DepthwiseKernel>().is_none());

        let (model, losses) = train(model, |model| model.forward(x.clone()), 20);
        assert!(losses[19] < 0.5 * losses[0], "{losses:?}");
        let d = &model.convs[1].weight.reparameterization::<DepthwiseKernel>().unwrap().D;
        let largest: f32 = d.val().abs().max().into_scalar();
        assert!(largest > 0.0, "D is trained");

        // Records carry D, by the path of the weight.
        let again = Model::new();
        let over = OverParameterize::new(&again).unwrap().with_d_mul(d_mul).unwrap();
        let loaded = again.apply_reparameterization(over).load_record(model.clone().into_record());
        assert!(same_bits(loaded.forward(x.clone()), model.forward(x.clone())));

        let trained = model.forward(x.clone());
        let folded = model.valid().materialize();
        assert_eq!(folded.num_params(), plain.num_params());
        assert!(same_bits(folded.forward(x.without_autodiff()), trained));
        let shape = plain.convs[1].weight.val().dims();
        assert_eq!(folded.convs[1].weight.val().dims(), shape);
    }
}

/// A reparameterized layer and one of ours with the same D and W, depth multipliers and groups.
#[test]
fn both_ways_are_the_same_layer() {
    for groups in [1, 2] {
        for d_mul in [9, 13] {
            let conv = Conv2dConfig::new([4, 6], [3, 3]).with_groups(groups).init(&device());
            let mut layer = DoConv2d::from_conv2d(&conv, Some(d_mul)).unwrap();
            let over = OverParameterize::new(&conv).unwrap().with_d_mul(d_mul).unwrap();
            let conv = conv.apply_reparameterization(over);
            let x = random([2, 4, 7, 6]);
            let (conv, _) = train(conv, |conv| conv.forward(x.clone()), 5);
            let depthwise = conv.weight.reparameterization::<DepthwiseKernel>().unwrap();
            let w = conv.weight.base().reshape([6, 4 / groups, d_mul]).detach();
            layer.W = Param::from_tensor(w);
            layer.D = Some(depthwise.D.clone());
            layer.bias = conv.bias.clone();
            assert!(same_bits(layer.weight(), conv.weight.val()));
            assert!(largest_difference(layer.forward(x.clone()), conv.forward(x.clone())) < 1e-5);
            let ours = do_conv_burn::Conv2d::from_burn(&conv).unwrap();
            assert!(same_bits(layer.forward(x.clone()), ours.forward(x)));
        }
    }
}

#[test]
fn a_group_of_parameters_is_chosen_by_path() {
    let plain = Model::new();
    let over = OverParameterize::new(&plain)
        .unwrap()
        .with_param_group(ParamGroup::from_path("grouped.weight"));
    let model = plain.apply_reparameterization(over);
    let has_d = |conv: &Conv2d| conv.weight.reparameterization::<DepthwiseKernel>().is_some();
    assert!(has_d(model.grouped.as_ref().unwrap()));
    assert!(!model.convs.iter().any(has_d));
}

#[test]
fn from_conv2d_is_the_same_function() {
    let x = random([2, 4, 8, 7]);
    for (groups, d_mul) in [(1, None), (2, Some(20))] {
        let conv = Conv2dConfig::new([4, 6], [3, 3])
            .with_stride([2, 1])
            .with_dilation([1, 2])
            .with_groups(groups)
            .with_padding(PaddingConfig2d::Explicit(0, 1, 2, 3))
            .init(&device());
        let layer = DoConv2d::from_conv2d(&conv, d_mul).unwrap();
        assert!(same_bits(layer.weight(), conv.weight.val()));
        assert!(largest_difference(layer.forward(x.clone()), conv.forward(x.clone())) < 1e-5);
        assert!(same_bits(layer.fold().forward(x.clone()), conv.forward(x.clone())));
        let (_, losses) = train(layer, |layer| layer.forward(x.clone()), 5);
        assert!(losses[4] < losses[0]);
    }
}

/// Padding that isn't the same on both sides, and burn's `Same` with a stride.
#[test]
fn padding_is_burns() {
    let x = random([2, 4, 8, 7]);
    for padding in [PaddingConfig2d::Explicit(0, 1, 2, 3), PaddingConfig2d::Same] {
        let config = DoConv2dConfig::new([4, 6], [2, 3]).with_stride([2, 3]);
        let layer = config.with_padding(padding.clone()).init(&device());
        let y = layer.forward(x.clone());
        let (rows, columns) = match padding {
            PaddingConfig2d::Same => ((0, 0), (1, 1)),
            _ => ((0, 2), (1, 3)),
        };
        let options = ConvOptions::new_with_padding([2, 3], [rows, columns], [1, 1], 1);
        let bias = layer.bias.as_ref().map(|bias| bias.val());
        let expected = conv2d(x.clone(), layer.weight(), bias, options);
        assert!(largest_difference(y, expected) < 1e-5);
    }
}

#[test]
fn frozen_kernels_stay_frozen() {
    for d_mul in [9, 12] {
        let frozen = ParamGroup::from_path("pointwise.weight");
        let frozen = frozen.fuse(&ParamGroup::from_path("convs.1.weight"));
        let model = Model::new().set_require_grad_group(frozen, false);
        let over = OverParameterize::new(&model).unwrap().with_d_mul(d_mul).unwrap();
        let before = model.convs[1].weight.val();
        let model = model.apply_reparameterization(over);
        let x = random([2, 3, 8, 7]);
        let (model, losses) = train(model, |model| model.forward(x.clone()), 5);
        assert!(losses[4] < losses[0]);
        let model = model.materialize();
        assert!(same_bits(model.convs[1].weight.val(), before));
        assert!(!model.convs[1].weight.base().is_require_grad());
        assert!(model.convs[0].weight.base().is_require_grad());
    }
}

/// Loading gives parameters other ids.
#[test]
fn layers_are_found_by_path() {
    let model = Model::new();
    let over = OverParameterize::new(&model).unwrap();
    let paths: Vec<_> = over.paths().collect();
    assert_eq!(paths, ["convs.0.weight", "convs.1.weight", "grouped.weight"]);
    let pretrained = Model::new().into_record();
    let model = model.load_record(pretrained).apply_reparameterization(over);
    assert!(
        model
            .convs
            .iter()
            .all(|conv| { conv.weight.reparameterization::<DepthwiseKernel>().is_some() })
    );
    let over = OverParameterize::new(&Model::new()).unwrap();
    let over = over.with_param_group(ParamGroup::from_path("no.such.weight"));
    assert_eq!(over.paths().count(), 0);
}

#[test]
fn every_type_of_numbers() {
    for dtype in [FloatDType::F64, FloatDType::F16, FloatDType::BF16] {
        let conv = Conv2dConfig::new([4, 6], [3, 3]).with_groups(2).init(&device());
        let cast = |tensor: Tensor<4>| tensor.cast(dtype).detach();
        let weight = Param::from_tensor(cast(conv.weight.val()));
        let bias = conv.bias.map(|bias| Param::from_tensor(bias.val().cast(dtype).detach()));
        let conv = Conv2d { weight, bias, ..conv };
        let x = cast(random([2, 4, 6, 5]));
        let y = conv.forward(x.clone());
        let bytes = |tensor: Tensor<4>| tensor.into_data().as_bytes().to_vec();

        // Half types are computed with as f32 and rounded once, where burn rounds on its way.
        let unit = if dtype == FloatDType::F64 { 1e-15 } else { 2f64.powi(-8) };
        let assert_close = |got: Tensor<4>| {
            assert_eq!(got.dtype(), y.dtype());
            let difference = (array(&got) - array(&y)).mapv(f64::abs);
            assert!(difference.iter().all(|&difference| difference <= 8.0 * unit), "{dtype:?}");
        };
        let layer = DoConv2d::from_conv2d(&conv, Some(12)).unwrap();
        assert_close(layer.forward(x.clone()));
        let expected = bytes(layer.forward(x.clone()));
        assert_eq!(bytes(layer.fold_for_cpu().forward(x.clone())), expected);
        let gradients = layer.forward(x.clone()).sum().backward();
        let d_offset = layer.D.as_ref().unwrap().val();
        assert_eq!(d_offset.grad(&gradients).unwrap().dtype(), y.dtype());
        let new = DoConv2dConfig::new([4, 6], [3, 3]).with_groups(2).with_d_mul(Some(12));
        // A record keeps its type.
        let loaded = new.init(&device()).load_record(layer.clone().into_record());
        assert_eq!(bytes(loaded.forward(x.clone())), expected);
        // Once `D` is trained, the kernel is rounded where it is folded and where it isn't.
        let mut trained = layer.clone();
        let step = random([4, 9, 12]).cast(dtype) * 0.1;
        trained.D = Some(Param::from_tensor(step.detach()));
        let folded = trained.fold_for_cpu().forward(x.clone());
        assert_eq!(bytes(folded), bytes(trained.forward(x.clone())));
        // Of half types the kernel is composed, and rounded, whatever the composition.
        let by_feature = trained.clone().with_composition(Composition::Feature).unwrap();
        let same = bytes(by_feature.forward(x.clone())) == bytes(trained.forward(x.clone()));
        assert_eq!(same, dtype != FloatDType::F64, "{dtype:?}");
        // `D` may have another type.
        let mut mixed = layer;
        mixed.D = Some(Param::from_tensor(d_offset.cast(FloatDType::F32).detach()));
        assert_eq!(bytes(mixed.forward(x.clone())), expected);

        let over = OverParameterize::new(&conv).unwrap();
        let conv = conv.apply_reparameterization(over);
        assert_eq!(bytes(conv.forward(x.clone())), bytes(y));
        assert_eq!(conv.materialize().weight.val().dtype(), x.dtype());
    }
}
