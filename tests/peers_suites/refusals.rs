//! What the peers' tests see refused.

use do_conv::operator::Convolve;
use do_conv::{Conv2d, Conv2dConfig, DoConv2d, DoConv2dConfig, Error, ErrorKind, Padding};
use ndarray::{Array1, Array4, ArrayD, IxDyn};

/// A layer that can't be, or an image that it can't take.
struct Refusal {
    test: &'static str,
    config: Conv2dConfig,
    x: &'static [usize],
    kind: ErrorKind,
    field: &'static str,
}

fn refusals() -> Vec<Refusal> {
    use ErrorKind::{Config, InputSize, Overflow, Shape};
    let refusal = |test, config, x, kind, field| Refusal { test, config, x, kind, field };
    // By a kernel of `size` rows and columns.
    let square = |inputs, outputs, size| Conv2dConfig::new(inputs, outputs, [size; 2]);
    let line = |inputs, outputs, size| Conv2dConfig::new(inputs, outputs, [1, size]);
    let same = |config: Conv2dConfig, stride| config.padding(Padding::Same).stride(stride);
    vec![
        refusal("test_invalid_conv1d", line(3, 33, 10), &[1, 3, 1, 4], InputSize, "x width"),
        refusal(
            "test_invalid_conv2d",
            square(1, 1, 3).dilation([2, 2]).stride([2, 2]),
            &[1, 1, 4, 4],
            InputSize,
            "x height",
        ),
        refusal("test_invalid_conv2d", square(3, 33, 10), &[1, 3, 1, 1], InputSize, "x height"),
        refusal(
            "test_invalid_conv2d",
            square(3, 6, 4).stride([0, 0]),
            &[1, 3, 4, 4],
            Config,
            "stride",
        ),
        refusal(
            "test_conv_invalid_groups",
            square(1, 1, 3).dilation([2, 2]).stride([2, 2]).groups(0),
            &[1, 1, 5, 5],
            Config,
            "groups",
        ),
        refusal("test_mismatch_shape_conv2d", square(1, 6, 5), &[1, 10, 1, 28, 28], Shape, "x"),
        refusal(
            "test_conv_modules_raise_error_on_incorrect_input_size",
            square(3, 8, 3),
            &[3, 3],
            Shape,
            "x",
        ),
        refusal(
            "test_conv_modules_raise_error_on_incorrect_input_size",
            square(3, 8, 3),
            &[3, 3, 3, 3, 3],
            Shape,
            "x",
        ),
        refusal("test_conv_shapecheck", line(1, 1, 3), &[3, 1, 1, 2], InputSize, "x width"),
        refusal(
            "test_conv_shapecheck",
            line(1, 1, 3).stride([1, 2]),
            &[3, 1, 1, 2],
            InputSize,
            "x width",
        ),
        refusal("test_conv_shapecheck", square(1, 1, 3), &[3, 1, 2, 2], InputSize, "x height"),
        refusal(
            "test_Conv2d_module_same_padding",
            same(square(3, 33, 10), [2, 2]),
            &[1, 3, 20, 20],
            Config,
            "padding",
        ),
        refusal(
            "test_Conv2d_module_same_padding",
            same(square(3, 33, 10), [1, 3]),
            &[1, 3, 20, 20],
            Config,
            "padding",
        ),
        refusal(
            "test_Conv2d_module_same_padding",
            same(square(3, 33, 10), [4, 1]),
            &[1, 3, 20, 20],
            Config,
            "padding",
        ),
        // A layer of no channels, which PyTorch has.
        refusal(
            "test_conv_empty_channel",
            square(0, 33, 3).stride([2, 2]),
            &[2, 0, 50, 100],
            Config,
            "in_channels",
        ),
        refusal(
            "test_conv_backend, empty_channel2d",
            square(0, 12, 3),
            &[2, 0, 7, 8],
            Config,
            "in_channels",
        ),
        refusal(
            "test_conv3d_overflow_values",
            square(7, 9, 5).padding(1 << 62).stride([5, 5]),
            &[0, 7, 9, 1],
            Overflow,
            "padding",
        ),
        refusal(
            "test_conv3d_overflow_values",
            square(7, 9, 1 << 32).padding(1 << 31).stride([5, 5]),
            &[0, 7, 9, 1],
            Overflow,
            "weight",
        ),
        // An image alone, which PyTorch takes for a batch of one.
        refusal("sample_inputs_conv2d, unbatched", square(3, 3, 3), &[3, 4, 4], Shape, "x"),
        refusal("ConvNd, no_batch_dim", square(4, 5, 3), &[4, 3, 4], Shape, "x"),
        refusal(
            "error_inputs_conv2d, groups 3",
            Conv2dConfig::new(2, 2, [1, 3]).groups(3),
            &[2, 2, 4, 3],
            Config,
            "groups",
        ),
        refusal(
            "error_inputs_conv2d, groups 0",
            Conv2dConfig::new(2, 2, [4, 3]).padding(Padding::Same).groups(0),
            &[2, 2, 4, 3],
            Config,
            "groups",
        ),
        // Dilation 0 is the nearest that there is to the negative one.
        refusal(
            "error_inputs_conv2d, dilation",
            Conv2dConfig::new(1, 1, [2, 5]).dilation([0, 0]),
            &[1, 1, 4, 2],
            Config,
            "dilation",
        ),
        refusal(
            "burn channels_with_groups_is_invalid",
            square(1, 4, 1).groups(4),
            &[1, 1, 1, 1],
            Config,
            "groups",
        ),
        refusal("burn input_channels_mismatch", square(5, 3, 3), &[1, 4, 10, 10], Shape, "x"),
        refusal(
            "rten test_conv_input_too_small",
            square(1, 1, 3),
            &[1, 1, 2, 2],
            InputSize,
            "x height",
        ),
        refusal(
            "rten test_conv_zero_stride",
            square(1, 1, 2).stride([0, 0]),
            &[1, 1, 2, 2],
            Config,
            "stride",
        ),
        // Asked for so; the same sides by number are a row of the table.
        refusal(
            "ONNX test_conv_with_autopad_same",
            same(square(1, 1, 3), [2, 2]),
            &[1, 1, 5, 5],
            Config,
            "padding",
        ),
    ]
}

#[test]
fn what_peers_refuse_is_refused() {
    for Refusal { test, config, x, kind, field } in refusals() {
        let image: ArrayD<f32> = ArrayD::zeros(IxDyn(x));
        let plain = config.clone().init(0).and_then(|conv: Conv2d<f32>| conv.forward(&image));
        let over = DoConv2dConfig::from(config.clone());
        let over = over.init(0).and_then(|layer: DoConv2d<f32>| layer.forward(&image));
        let mut errors = vec![plain.unwrap_err(), over.unwrap_err()];
        if let Ok(x) = x.try_into() {
            let shape = Convolve::<f32>::new(&config).and_then(|convolve| convolve.output_shape(x));
            errors.push(shape.unwrap_err());
        }
        for error in errors {
            assert_eq!((error.kind, error.field.as_ref()), (kind, field), "{test}: {error}");
        }
    }
}

/// `error_inputs_conv2d`: a bias of two for one channel, and a kernel of two channels for an image of
/// one.
#[test]
fn parameters_of_other_shapes_are_refused() {
    let parameters = |kernel: [usize; 4], bias: usize| -> Error {
        let config = Conv2dConfig::new(1, 1, [kernel[2], kernel[3]]);
        let (weight, bias) = (Array4::<f32>::zeros(kernel), Array1::zeros(bias));
        Conv2d::from_parameters(config, weight, Some(bias)).unwrap_err()
    };
    let error = parameters([1, 1, 3, 2], 2);
    assert_eq!((error.kind, error.field.as_ref()), (ErrorKind::Shape, "bias"), "{error}");
    let error = parameters([1, 2, 2, 3], 1);
    assert_eq!((error.kind, error.field.as_ref()), (ErrorKind::Shape, "weight"), "{error}");
}
