//! Bad input gives an error that says what was expected and what came.

use std::panic::catch_unwind;

use burn::module::{Lora, Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{GroupNorm, GroupNormConfig, Initializer, LinearConfig};
use burn::tensor::{Device, Tensor};
use do_conv_burn::{
    Composition, DepthwiseKernel, DoConv2d, DoConv2dConfig, ErrorKind, OverParameterize, Pairing,
};

#[test]
fn layers_that_cant_be() {
    let config = |channels, kernel| DoConv2dConfig::new(channels, kernel);
    let cases = [
        (config([0, 6], [3, 3]), "in_channels: expected a positive number, got 0"),
        (config([4, 0], [3, 3]), "out_channels: expected a positive number, got 0"),
        (config([4, 6], [3, 0]), "kernel_size: expected two positive numbers, got [3, 0]"),
        (
            config([4, 6], [3, 3]).with_stride([0, 1]),
            "stride: expected two positive numbers, got [0, 1]",
        ),
        (
            config([4, 6], [3, 3]).with_dilation([1, 0]),
            "dilation: expected two positive numbers, got [1, 0]",
        ),
        (config([4, 6], [3, 3]).with_groups(0), "groups: expected a positive number, got 0"),
        (
            config([4, 6], [3, 3]).with_groups(4),
            "groups: expected a divisor of in_channels 4 and out_channels 6, got 4",
        ),
        (
            config([4, 6], [3, 3]).with_d_mul(Some(8)),
            "d_mul: expected at least 9 for a 3×3 kernel, got 8",
        ),
        (
            config([4, 6], [1, 1]).with_d_mul(Some(1)),
            "d_mul: expected none: a 1×1 kernel has no D, got 1",
        ),
        (
            config([4, 6], [3, 3])
                .with_groups(2)
                .with_pairing(Pairing::PyTorch)
                .with_composition(Composition::Feature),
            "composition: expected Kernel or Auto: D is not paired by input channel, got Feature \
             with pairing PyTorch and 2 groups of 2 to 3 channels",
        ),
    ];
    for (config, expected) in cases {
        let error = config.try_init(&Device::flex()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config);
        assert_eq!(error.to_string(), format!("DoConv2dConfig::try_init: {expected}"));
        let panic = catch_unwind(|| config.init(&Device::flex())).unwrap_err();
        assert_eq!(*panic.downcast::<String>().unwrap(), error.to_string());
    }
    let kind = |config: DoConv2dConfig| config.try_init(&Device::flex()).unwrap_err().kind;
    let absurd = |d_mul| kind(config([1, 1], [3, 3]).with_d_mul(Some(d_mul)));
    assert_eq!(absurd(usize::MAX), ErrorKind::Overflow);
    assert_eq!(absurd(1 << 46), ErrorKind::Memory);
    let orthogonal = Initializer::Orthogonal { gain: 1.0 };
    let orthogonal = config([4, 6], [3, 3]).with_initializer(orthogonal);
    assert_eq!(kind(orthogonal.clone()), ErrorKind::Config);
    assert!(orthogonal.with_bias(false).try_init(&Device::flex()).is_ok());
}

#[test]
fn a_composition_that_the_pairing_hasnt() {
    let config = DoConv2dConfig::new([4, 6], [3, 3]).with_groups(2);
    let layer = config.with_pairing(Pairing::TensorFlow).init(&Device::flex());
    let layer = layer.with_composition(Composition::Auto).unwrap();
    let error = layer.with_composition(Composition::Feature).unwrap_err();
    assert_eq!((error.kind, &*error.field), (ErrorKind::Config, "composition"));
    assert_eq!(error.operation, "DoConv2d::with_composition");
}

#[test]
fn plain_layers_that_cant_be() {
    let conv = Conv2dConfig::new([4, 6], [3, 3]).init(&Device::flex());
    let error = DoConv2d::from_conv2d(&conv, Some(4)).unwrap_err().to_string();
    assert!(error.ends_with("d_mul: expected at least 9 for a 3×3 kernel, got 4"), "{error}");
    let odd = Conv2d { groups: 4, ..conv };
    let error = DoConv2d::from_conv2d(&odd, None).unwrap_err().to_string();
    assert!(error.contains("groups: expected a divisor of in_channels 16"), "{error}");
}

/// Has the name of burn's layer and a kernel, but no groups.
mod other {
    use burn::module::{Module, Param};
    use burn::tensor::Tensor;

    #[derive(Module, Debug)]
    pub struct Conv2d {
        pub weight: Param<Tensor<4>>,
    }
}

/// Displays groups that aren't of the kernel after it.
#[derive(Module, Debug)]
struct Misleading {
    conv: other::Conv2d,
    num_groups: usize,
    norm: GroupNorm,
    last: Conv2d,
}

#[test]
fn models_that_cant_be_over_parameterized() {
    let device = Device::flex();
    let conv = Conv2dConfig::new([4, 6], [3, 3]).with_groups(2).init(&device);
    let model = Misleading {
        conv: other::Conv2d { weight: Param::from_tensor(conv.weight.val()) },
        num_groups: 2,
        norm: GroupNormConfig::new(3, 6).with_affine(false).init(&device),
        last: conv.clone(),
    };
    let error = OverParameterize::new(&model).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    assert_eq!(
        error.to_string(),
        "OverParameterize::new: conv.weight: expected a kernel of burn's Conv2d, displayed with its \
         groups, or to be told them by OverParameterize::with_groups, got one whose groups don't show"
    );
    let told = |groups| {
        OverParameterize::with_groups(&model, move |path| (path == "conv.weight").then_some(groups))
    };
    assert_eq!(told(3).unwrap().paths().collect::<Vec<_>>(), ["conv.weight", "last.weight"]);
    assert_eq!(
        told(4).unwrap_err().to_string(),
        "OverParameterize::with_groups: conv.weight: expected groups that divide 6 output channels, got 4"
    );
    let model = model.clone().apply_reparameterization(told(3).unwrap());
    let channels = |weight: &Param<Tensor<4>>| {
        weight.reparameterization::<DepthwiseKernel>().unwrap().D.val().dims()[0]
    };
    assert_eq!([channels(&model.conv.weight), channels(&model.last.weight)], [6, 4]);

    let over = OverParameterize::new(&conv).unwrap();
    for d_mul in [usize::MAX, usize::MAX / 9, 1 << 60] {
        let error = over.clone().with_d_mul(d_mul).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Overflow);
        assert_eq!(error.operation, "OverParameterize::with_d_mul");
    }
    assert_eq!(over.clone().with_d_mul(1 << 46).unwrap_err().kind, ErrorKind::Memory);
    let once = conv.apply_reparameterization(over);
    let adapted = LinearConfig::new(4, 4).init(&device).apply_lora(Lora::new(2, 1.0));
    let expected = "OverParameterize::new: weight: expected a parameter without a reparameterization, got one \
         that has one";
    assert_eq!(OverParameterize::new(&once).unwrap_err().to_string(), expected);
    assert_eq!(OverParameterize::new(&adapted).unwrap_err().to_string(), expected);
}

/// A kernel that another layer of the same name shows, and one with other groups, are told apart.
#[test]
fn groups_are_read_from_the_right_layer() {
    #[derive(Module, Debug)]
    struct Model {
        tied: Param<Tensor<4>>,
        grouped: Conv2d,
        dense: Conv2d,
    }
    let device = Device::flex();
    let grouped = Conv2dConfig::new([4, 6], [3, 3]).with_groups(2).with_bias(false).init(&device);
    let dense = Conv2dConfig::new([2, 6], [3, 3]).init(&device);
    let model = Model { tied: dense.weight.clone(), grouped, dense };
    let over = OverParameterize::new(&model).unwrap();
    let model = model.apply_reparameterization(over);
    let channels = |conv: &Conv2d| {
        conv.weight.reparameterization::<DepthwiseKernel>().unwrap().D.val().dims()[0]
    };
    assert_eq!([channels(&model.grouped), channels(&model.dense)], [4, 2]);
}
