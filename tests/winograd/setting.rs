//! The setting: where it applies, its names, and that it is saved.

use do_conv::operator::Convolve;
use do_conv::{Algorithm, Conv2d, Conv2dConfig, DoConv2d, DoConv2dConfig, ErrorKind};

use crate::WINOGRAD;
use crate::common::refused;

#[test]
fn a_layer_says_which_algorithm_computes_it() {
    let base = || Conv2dConfig::new(16, 16, [3, 3]);
    let wide = |inputs, outputs| Conv2dConfig::new(inputs, outputs, [3, 3]);
    for (config, [height, width], applies) in [
        (base(), [4, 4], true),
        (base(), [3, 4], false),
        (base(), [4, 3], false),
        (base().padding(1), [2, 2], true),
        (base().padding(1), [2, 1], false),
        // Few inputs, though many outputs.
        (base().padding(4), [1, 9], false),
        (base().stride([1, 2]), [9, 9], false),
        (base().stride([2, 1]), [9, 9], false),
        (base().dilation([2, 3]), [7, 10], true),
        (base().dilation([2, 3]), [6, 10], false),
        (base().dilation([2, 3]), [7, 9], false),
        (base().dilation([6, 6]).padding(6), [7, 7], true),
        (base().dilation([6, 6]).padding(6), [7, 6], false),
        (base().dilation([4, 9]), [13, 28], true),
        (base().dilation([1, 37]).padding(37), [90, 90], false),
        (wide(15, 16), [9, 9], false),
        (wide(16, 15), [9, 9], false),
        (wide(2048, 16), [9, 9], true),
        (wide(2049, 16), [9, 9], false),
        (wide(16, 2048), [9, 9], true),
        (wide(16, 2049), [9, 9], false),
        (wide(32, 64).groups(2), [9, 9], true),
        (wide(32, 64).groups(4), [9, 9], false),
        (Conv2dConfig::new(16, 16, [3, 5]), [9, 9], false),
        (Conv2dConfig::new(16, 16, [1, 1]), [9, 9], false),
        (Conv2dConfig::new(16, 16, [5, 3]), [9, 9], false),
    ] {
        for algorithm in Algorithm::ALL {
            let config = config.clone().algorithm(algorithm);
            let expected = if applies { algorithm } else { Algorithm::Direct };
            let input = [2, config.in_channels, height, width];
            let convolve: Convolve<f32> = Convolve::new(&config).unwrap();
            assert_eq!(convolve.algorithm(input).unwrap(), expected, "{config:?}, {input:?}");
            if config.in_channels * config.out_channels < 10_000 {
                let layer: Conv2d<f32> = config.clone().init(1).unwrap();
                assert_eq!(layer.algorithm(input).unwrap(), expected, "{config:?}, {input:?}");
                let layer: DoConv2d<f32> = DoConv2dConfig::from(config.clone()).init(1).unwrap();
                assert_eq!(layer.algorithm(input).unwrap(), expected, "{config:?}, {input:?}");
            }
        }
    }
}

#[test]
fn asking_for_an_input_that_no_layer_takes_is_an_error() {
    let config = DoConv2dConfig::new(16, 16, [3, 3]).algorithm(Algorithm::Winograd4);
    let layer: DoConv2d<f32> = config.clone().init(1).unwrap();
    let convolve: Convolve<f32> = Convolve::new(&config.conv).unwrap();
    let channels =
        |operation: &str| format!("{operation}: x: expected [1, 16, 9, 9], got [1, 8, 9, 9]");
    let (shape, small) = ([1, 8, 9, 9], [1, 16, 2, 9]);
    refused(layer.algorithm(shape), ErrorKind::Shape, &channels("DoConv2d::algorithm"));
    refused(layer.fold().algorithm(shape), ErrorKind::Shape, &channels("Conv2d::algorithm"));
    refused(convolve.algorithm(shape), ErrorKind::Shape, &channels("Convolve::algorithm"));
    for error in [layer.algorithm(small), layer.fold().algorithm(small), convolve.algorithm(small)]
    {
        assert_eq!(error.unwrap_err().kind, ErrorKind::InputSize);
    }
}

#[test]
fn names_are_read_as_they_are_written() {
    for algorithm in Algorithm::ALL {
        assert_eq!(algorithm.to_string(), algorithm.name());
        assert_eq!(algorithm.to_string().parse::<Algorithm>().unwrap(), algorithm);
        assert_eq!(format!("{algorithm:>10}").len(), 10);
    }
    assert_eq!(Algorithm::default(), Algorithm::Direct);
    refused(
        "Winograd".parse::<Algorithm>(),
        ErrorKind::Value,
        "Algorithm::from_str: name: expected direct, winograd2, winograd4, got Winograd",
    );
}

#[test]
fn a_fold_and_the_way_back_keep_the_algorithm() {
    for algorithm in WINOGRAD {
        let config = DoConv2dConfig::new(16, 16, [3, 3]).algorithm(algorithm);
        let layer: DoConv2d<f32> = config.init(1).unwrap();
        let conv = layer.fold();
        let back = DoConv2d::from_conv2d(&conv, None).unwrap();
        let input = [1, 16, 5, 5];
        assert_eq!(conv.algorithm(input).unwrap(), algorithm);
        assert_eq!(back.fold().algorithm(input).unwrap(), algorithm);
    }
}

#[cfg(feature = "serde")]
#[test]
fn a_saved_layer_is_computed_by_its_algorithm_again() {
    for algorithm in Algorithm::ALL {
        let config = DoConv2dConfig::new(16, 17, [3, 3]).padding(1).algorithm(algorithm);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<DoConv2dConfig>(&text).unwrap(), config);
        let layer: DoConv2d<f32> = config.init(3).unwrap();
        let read: DoConv2d<f32> =
            serde_json::from_str(&serde_json::to_string(&layer).unwrap()).unwrap();
        let conv = layer.fold();
        let plain: Conv2d<f32> = rmp_serde::from_slice(&rmp_serde::to_vec(&conv).unwrap()).unwrap();
        let x = ndarray::Array4::from_shape_fn([1, 16, 6, 7], |(_, c, row, col)| {
            ((c * 7 + row * 5 + col * 3) % 11) as f32 / 7.0
        });
        let input = x.dim().into();
        assert_eq!(plain.algorithm(input).unwrap(), algorithm);
        assert_eq!(read.fold().algorithm(input).unwrap(), algorithm);
        assert_eq!(plain.forward(&x).unwrap(), conv.forward(&x).unwrap());
        assert_eq!(read.forward(&x).unwrap(), layer.forward(&x).unwrap());
    }
}
