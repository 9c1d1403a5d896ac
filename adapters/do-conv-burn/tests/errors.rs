//! Bad input gives an error that says what was expected and what came.

use std::panic::catch_unwind;

use burn::module::{Lora, Module};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::Device;
use do_conv_burn::{DoConv2d, DoConv2dConfig, ErrorKind, OverParameterize};

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
    ];
    for (config, expected) in cases {
        let error = config.try_init(&Device::flex()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config);
        assert_eq!(error.to_string(), format!("DoConv2dConfig::validate: {expected}"));
        let panic = catch_unwind(|| config.init(&Device::flex())).unwrap_err();
        assert_eq!(*panic.downcast::<String>().unwrap(), error.to_string());
    }
    let absurd = config([4, 6], [3, 3]).with_d_mul(Some(usize::MAX));
    assert_eq!(absurd.try_init(&Device::flex()).unwrap_err().kind, ErrorKind::Overflow);
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

#[derive(Module, Debug)]
struct Model {
    first: Linear,
    conv: other::Conv2d,
    /// Displays its groups after the other's weight.
    last: Conv2d,
}

#[test]
fn models_that_cant_be_over_parameterized() {
    let device = Device::flex();
    let conv = Conv2dConfig::new([4, 6], [3, 3]).with_groups(2).init(&device);
    let model = Model {
        first: LinearConfig::new(4, 4).init(&device),
        conv: other::Conv2d { weight: conv.weight.clone().map(|weight| weight + 0.0) },
        last: conv.clone(),
    };
    let model = Model {
        conv: other::Conv2d { weight: burn::module::Param::from_tensor(model.conv.weight.val()) },
        ..model
    };
    let error = OverParameterize::new(&model).unwrap_err();
    assert_eq!(
        error.to_string(),
        "OverParameterize::new: conv.weight: expected a Conv2d that displays its groups, got one \
         that doesn't"
    );

    let over = OverParameterize::new(&conv).unwrap();
    let once = conv.apply_reparameterization(over);
    let error = OverParameterize::new(&once).unwrap_err();
    assert_eq!(
        error.to_string(),
        "OverParameterize::new: weight: expected a parameter without a reparameterization, got one \
         that has one"
    );
    let adapted = LinearConfig::new(4, 4).init(&device).apply_lora(Lora::new(2, 1.0));
    assert!(OverParameterize::new(&adapted).is_err());
}
