//! The plain layer that the engine runs: it takes the place of burn's, with its parameters, records and
//! reparameterizations.

use crate::common::{array, device};
use burn::config::Config;
use burn::module::{Module, Param, ParamGroup, Quantizer};
use burn::nn::conv::{Conv2d as BurnConv2d, Conv2dConfig as BurnConv2dConfig};
use burn::nn::{Initializer, PaddingConfig2d};
use burn::optim::{AdamConfig, GradientsParams};
use burn::store::ModuleSnapshot;
use burn::tensor::quantization::{Calibration, QuantValue};
use burn::tensor::{DType, Device, Distribution, Tensor};
use do_conv_burn::{
    Algorithm, Conv2d, Conv2dConfig, DepthwiseKernel, DoConv2d, DoConv2dConfig, ErrorKind,
    OverParameterize, Pairing,
};

fn random<const N: usize>(shape: [usize; N]) -> Tensor<N> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device())
}

fn largest_difference<const N: usize>(a: Tensor<N>, b: Tensor<N>) -> f32 {
    (a - b).abs().max().into_scalar()
}

/// The same model twice, but for one import.
macro_rules! model {
    ($name:ident, $conv:ty, $config:ty) => {
        #[derive(Module, Debug)]
        struct $name {
            convs: Vec<$conv>,
            head: $conv,
        }

        impl $name {
            fn new() -> Self {
                let conv =
                    |channels| <$config>::new(channels, [3, 3]).with_padding(PaddingConfig2d::Same);
                Self {
                    convs: vec![
                        conv([3, 4]).with_stride([2, 1]).init(&device()),
                        conv([4, 8]).with_groups(4).with_bias(false).init(&device()),
                    ],
                    head: <$config>::new([8, 2], [1, 1]).init(&device()),
                }
            }

            fn forward(&self, x: Tensor<4>) -> Tensor<4> {
                let x = self.convs.iter().fold(x, |x, conv| conv.forward(x));
                self.head.forward(x)
            }
        }
    };
}
model!(Burns, BurnConv2d, BurnConv2dConfig);
model!(Ours, Conv2d, Conv2dConfig);

fn step<M: Module>(model: M, loss: Tensor<1>) -> M {
    let gradients = GradientsParams::from_grads(loss.backward(), &model);
    AdamConfig::new().init().step(0.01, model, gradients)
}

/// Names and shapes of what is saved.
fn names(model: &impl ModuleSnapshot) -> Vec<String> {
    let tensors = model.collect(None, None, false);
    tensors.iter().map(|tensor| format!("{} {:?}", tensor.name, tensor.shape.to_vec())).collect()
}

#[test]
fn a_model_of_burns_layers_runs_on_the_engine_by_one_import() {
    let x = random([2, 3, 9, 8]);
    let burns = Burns::new();
    let ours = Ours::new().load_record(burns.clone().into_record());
    assert_eq!(names(&ours), names(&burns));
    assert!(largest_difference(ours.forward(x.clone()), burns.forward(x.clone())) < 1e-5);

    // It trains as that does, and its record goes back.
    let ours = step(ours.clone(), ours.forward(x.clone()).square().mean());
    let burns = step(burns.clone(), burns.forward(x.clone()).square().mean());
    assert!(largest_difference(ours.forward(x.clone()), burns.forward(x.clone())) < 1e-4);
    let back = Burns::new().load_record(ours.clone().into_record());
    assert_eq!(array(&back.convs[1].weight.val()), array(&ours.convs[1].weight.val()));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    burns.clone().save_file(&path).unwrap();
    let loaded = Ours::new().try_load_file(&path).unwrap();
    assert_eq!(array(&loaded.head.weight.val()), array(&burns.head.weight.val()));
}

/// With the composition in the convolution's own pass, and `W` and `D` of any depth multiplier.
#[test]
fn our_layers_are_over_parameterized_as_burns_are() {
    for d_mul in [9, 13] {
        let x = random([2, 3, 9, 8]);
        let plain = Ours::new();
        let over = OverParameterize::new(&plain).unwrap().with_d_mul(d_mul).unwrap();
        assert_eq!(over.paths().collect::<Vec<_>>(), ["convs.0.weight", "convs.1.weight"]);
        let model = plain.clone().apply_reparameterization(over);
        assert!(largest_difference(model.forward(x.clone()), plain.forward(x.clone())) < 1e-6);
        let mut model = model;
        for _ in 0..3 {
            model = step(model.clone(), model.forward(x.clone()).square().mean());
        }
        let d_offset = |model: &Ours| {
            let depthwise = model.convs[1].weight.reparameterization::<DepthwiseKernel>().unwrap();
            depthwise.D.val()
        };
        assert_eq!(d_offset(&model).dims(), [4, 9, d_mul]);
        let largest: f32 = d_offset(&model).abs().max().into_scalar();
        assert!(largest > 0.0, "D is trained");
        // The same as by a kernel that is composed first.
        let y = model.forward(x.clone());
        let folded = model.clone().materialize();
        assert_eq!(array(&folded.forward(x.clone())), array(&y));
        assert_eq!(folded.num_params(), plain.num_params());
        let valid = model.valid().materialize();
        assert_eq!(array(&valid.forward(x.without_autodiff())), array(&y));
    }
}

/// A plain layer isn't asked for the room that a `D` would take.
#[test]
fn a_plain_layer_of_a_large_kernel() {
    let config = Conv2dConfig::new([512, 512], [51, 51]).with_groups(512).with_bias(false);
    let layer = config.try_init(&Device::flex()).unwrap();
    let x = Tensor::<4>::ones([1, 512, 51, 51], &Device::flex());
    assert_eq!(layer.try_forward(x).unwrap().dims(), [1, 512, 1, 1]);
}

#[test]
fn an_output_that_there_is_no_room_for() {
    let padding = PaddingConfig2d::Explicit(1 << 22, 1 << 22, 1 << 22, 1 << 22);
    let layer = Conv2dConfig::new([1, 1], [3, 3]).with_padding(padding).init(&Device::flex());
    let error = layer.try_forward(Tensor::ones([1, 1, 4, 4], &Device::flex())).unwrap_err();
    assert_eq!((error.kind, &*error.field), (ErrorKind::Memory, "y"), "{error}");
}

#[test]
fn frozen_kernels_stay_frozen() {
    let frozen = ParamGroup::from_path("convs.1.weight");
    let model = Ours::new().set_require_grad_group(frozen, false);
    let over = OverParameterize::new(&model).unwrap();
    let before = array(&model.convs[1].weight.val());
    let model = model.apply_reparameterization(over);
    let x = random([2, 3, 9, 8]);
    let trained = step(model.clone(), model.forward(x).square().mean()).materialize();
    assert_eq!(array(&trained.convs[1].weight.val()), before);
    assert_ne!(array(&trained.convs[0].weight.val()), array(&model.convs[0].weight.val()));
}

#[test]
fn a_layer_shows_what_it_is() {
    let config = Conv2dConfig::new([4, 6], [3, 2]).with_groups(2);
    assert_eq!(
        config.with_algorithm(Algorithm::Winograd2).init(&device()).to_string(),
        "Conv2d {ch_in: 4, ch_out: 6, stride: [1, 1], kernel_size: [3, 2], dilation: [1, 1], groups: 2, \
         padding: Valid, algorithm: Winograd2, params: 78}"
    );
}

#[test]
fn configurations_survive_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let config = Conv2dConfig::new([4, 6], [3, 2]).with_algorithm(Algorithm::Winograd4);
    config.save(&path).unwrap();
    let loaded = Conv2dConfig::load(&path).unwrap();
    assert_eq!(format!("{loaded:?}"), format!("{config:?}"));
}

#[test]
fn burns_layer_and_back() {
    let conv = BurnConv2dConfig::new([4, 6], [3, 3])
        .with_stride([2, 1])
        .with_dilation([1, 2])
        .with_groups(2)
        .with_padding(PaddingConfig2d::Explicit(0, 1, 2, 3))
        .init(&device());
    let ours = Conv2d::from_burn(&conv).unwrap();
    assert_eq!(ours.weight.id, conv.weight.id);
    assert_eq!(ours.to_burn().to_string(), conv.to_string());
    let x = random([2, 4, 8, 7]);
    assert!(largest_difference(ours.forward(x.clone()), conv.forward(x.clone())) < 1e-5);
    assert_eq!(array(&ours.to_burn().forward(x.clone())), array(&conv.forward(x)));
}

/// Each pairing is another function once `D` is trained.
#[test]
fn pretrained_layers_take_a_pairing() {
    let conv = BurnConv2dConfig::new([4, 8], [3, 3]).with_groups(2).init(&device());
    let d_offset = random([4, 9, 9]) * 0.1;
    let mut kernels = Vec::new();
    for pairing in [Pairing::InputChannel, Pairing::PyTorch, Pairing::TensorFlow] {
        let mut layer = DoConv2d::from_conv2d_paired(&conv, None, pairing).unwrap();
        assert_eq!(array(&layer.weight()), array(&conv.weight.val()));
        layer.D = Some(Param::from_tensor(d_offset.clone()));
        let mut config = DoConv2dConfig::new([4, 8], [3, 3]).with_groups(2).with_pairing(pairing);
        config.cpu_engine = false;
        let expected = config.init(&device()).load_record(layer.clone().into_record());
        assert!(largest_difference(layer.weight(), expected.weight()) < 1e-5);
        kernels.push(array(&layer.weight()));
    }
    assert!(kernels[0] != kernels[1] && kernels[1] != kernels[2] && kernels[0] != kernels[2]);
}

/// Whatever is done to the parameters between calls, and whether the engine keeps the kernel or not.
#[test]
fn kept_kernels_follow_the_parameters() {
    for algorithm in Algorithm::ALL {
        let config = Conv2dConfig::new([32, 16], [3, 3]).with_algorithm(algorithm);
        let mut plain = config.init(&device());
        let mut kept = plain.clone().keep();
        for round in 0..6 {
            for size in [12, 12, 9, 12] {
                let x = random([2, 32, size, size + 1]);
                let expected = array(&plain.forward(x.clone()));
                assert_eq!(array(&kept.forward(x.clone())), expected, "{algorithm}");
                assert_eq!(array(&kept.forward(x.clone())), expected, "{algorithm}");
                let valid = kept.clone().valid();
                assert_eq!(array(&valid.forward(x.without_autodiff())), expected, "{algorithm}");
            }
            let x = random([2, 32, 6, 6]);
            match round {
                // Trained.
                0 | 1 => {
                    plain = step(plain.clone(), plain.forward(x.clone()).square().mean());
                    kept = step(kept.clone(), kept.forward(x).square().mean());
                }
                // Loaded.
                2 => {
                    let other = config.init(&device()).into_record();
                    plain = plain.load_record(other);
                    kept = kept.load_record(plain.clone().into_record());
                }
                // Written to in place, as far as burn does.
                3 => {
                    let double = |weight: Tensor<4>| (weight * 2.0).detach().require_grad();
                    plain.weight = plain.weight.map(double);
                    kept.weight = kept.weight.map(double);
                }
                // Another bias by the same kernel.
                _ => {
                    let bias = random([16]);
                    plain.bias = Some(Param::from_tensor(bias.clone()));
                    kept.bias = Some(Param::from_tensor(bias));
                }
            }
        }
    }
}

#[test]
fn layers_that_cant_be_and_images_that_dont_fit() {
    let device = Device::flex();
    let config = Conv2dConfig::new([4, 6], [3, 3]).with_groups(4);
    let error = config.try_init(&device).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    assert_eq!(
        error.to_string(),
        "Conv2dConfig::try_init: groups: expected a divisor of in_channels 4 and out_channels 6, got 4"
    );
    let orthogonal = Initializer::Orthogonal { gain: 1.0 };
    let config = Conv2dConfig::new([4, 6], [3, 3]).with_initializer(orthogonal);
    assert_eq!(config.try_init(&device).unwrap_err().field, "initializer");

    let conv = BurnConv2dConfig::new([4, 6], [3, 3]).init(&device);
    let other = BurnConv2d { kernel_size: [3, 2], ..conv.clone() };
    assert_eq!(
        Conv2d::from_burn(&other).unwrap_err().to_string(),
        "Conv2d::from_burn: kernel_size: expected [3, 3], as weight has, got [3, 2]"
    );

    let error = DoConv2d::from_conv2d(&other, None).unwrap_err().to_string();
    assert_eq!(
        error,
        "DoConv2d::from_conv2d: kernel_size: expected [3, 3], as weight has, got [3, 2]"
    );
    let bias = Some(Param::from_tensor(Tensor::zeros([5], &device)));
    let other = BurnConv2d { bias, ..conv.clone() };
    assert_eq!(
        Conv2d::from_burn(&other).unwrap_err().to_string(),
        "Conv2d::from_burn: bias: expected [6], got [5]"
    );
    let error = DoConv2d::from_conv2d_paired(&conv, Some(8), Pairing::PyTorch).unwrap_err();
    assert_eq!(error.operation, "DoConv2d::from_conv2d_paired");

    let layer = DoConv2dConfig::new([4, 6], [3, 3]).init(&device);
    let mut plain = layer.fold_for_cpu();
    let zeros = |shape: [usize; 4]| Tensor::<4>::zeros(shape, &device);
    for (x, field) in [(zeros([1, 3, 5, 5]), "x"), (zeros([1, 4, 2, 5]), "x height")] {
        let error = layer.try_forward(x.clone()).unwrap_err();
        assert_eq!((error.operation, &*error.field), ("DoConv2d::try_forward", field), "{error}");
        let error = plain.try_forward(x).unwrap_err();
        assert_eq!((error.operation, &*error.field), ("Conv2d::try_forward", field), "{error}");
    }
    let double = zeros([1, 4, 5, 5]).cast(burn::tensor::FloatDType::F64);
    assert_eq!(
        layer.try_forward(double).unwrap_err().to_string(),
        "DoConv2d::try_forward: W: expected F64, as x is, got F32"
    );
    plain.weight = Param::from_tensor(zeros([6, 4, 3, 2]));
    assert_eq!(
        plain.try_forward(zeros([1, 4, 5, 5])).unwrap_err().to_string(),
        "Conv2d::try_forward: weight: expected [6, 4, 3, 3], got [6, 4, 3, 2]"
    );
    let refused =
        |layer: &DoConv2d| layer.try_forward(zeros([1, 4, 5, 5])).unwrap_err().to_string();
    let parameter = |shape: [usize; 3]| Param::from_tensor(Tensor::zeros(shape, &device));
    let mut layer = layer;
    layer.D = Some(parameter([4, 9, 8]));
    assert_eq!(refused(&layer), "DoConv2d::try_forward: D: expected [4, 9, 9], got [4, 9, 8]");
    layer.W = parameter([6, 4, 8]);
    assert_eq!(
        refused(&layer),
        "DoConv2d::try_forward: d_mul: expected at least 9 for a 3×3 kernel, got 8"
    );
    layer.W = parameter([6, 3, 9]);
    assert_eq!(refused(&layer), "DoConv2d::try_forward: W: expected [6, 4, 9], got [6, 3, 9]");
    layer.D = None;
    assert_eq!(refused(&layer), "DoConv2d::try_forward: D: expected [4, 9, 9], got none");
    let mut pointwise = DoConv2dConfig::new([4, 6], [1, 1]).init(&device);
    pointwise.D = Some(parameter([4, 1, 1]));
    assert_eq!(
        refused(&pointwise),
        "DoConv2d::try_forward: D: expected none: a 1×1 kernel has no D, got [4, 1, 1]"
    );
}

/// Another depth multiplier than the layer was made with, as after a record of another layer.
#[test]
fn parameters_may_be_given_another_depth_multiplier() {
    for engine in [true, false] {
        let config = DoConv2dConfig::new([4, 6], [3, 3]).with_cpu_engine(engine);
        let mut layer = config.clone().init(&device());
        layer.W = Param::from_tensor(random([6, 4, 20]));
        layer.D = Some(Param::from_tensor(random([4, 9, 20])));
        let mut made = config.with_d_mul(Some(20)).init(&device());
        (made.W, made.D) = (layer.W.clone(), layer.D.clone());
        assert_eq!(array(&layer.weight()), array(&made.weight()));
    }
}

/// burn's quantized weights are dequantized where they are used, as burn's own layer does.
#[test]
fn quantized_layers_compute_as_burns_do() {
    let device = Device::flex();
    let scheme = device.settings().quantization.scheme.with_value(QuantValue::Q8S);
    let mut quantizer = Quantizer::new(Calibration::MinMax, scheme);
    let conv = BurnConv2dConfig::new([32, 32], [3, 3]).with_bias(false).init(&device);
    let x = random([2, 32, 8, 8]).without_autodiff();
    let ours = Conv2d::from_burn(&conv).unwrap().quantize_weights(&mut quantizer);
    let burns = conv.quantize_weights(&mut quantizer);
    assert!(matches!(ours.weight.val().dtype(), DType::QFloat(_)));
    let y = burns.forward(x.clone());
    assert!(largest_difference(ours.forward(x.clone()), y.clone()) < 1e-4);
    let kept = ours.keep();
    for _ in 0..3 {
        assert!(largest_difference(kept.forward(x.clone()), y.clone()) < 1e-4);
    }
}
