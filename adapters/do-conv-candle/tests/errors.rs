//! Bad input gives an error that says what was expected and what came.

mod common;

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_nn::{Conv2d, Conv2dConfig, VarBuilder, VarMap};
use do_conv_candle::{Algorithm, DoConv2d, DoConv2dConfig, do_conv2d};

const DEFAULT: DoConv2dConfig = DoConv2dConfig {
    padding: [0, 0],
    stride: [1, 1],
    dilation: [1, 1],
    groups: 1,
    d_mul: None,
    pairing: do_conv_candle::Pairing::InputChannel,
    cpu_engine: true,
    algorithm: Algorithm::Direct,
    cudnn_fwd_algo: None,
};

fn message<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("no error"),
        // Without what candle appends when it takes backtraces.
        Err(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
    }
}

fn builder(variables: &VarMap) -> VarBuilder<'static> {
    VarBuilder::from_varmap(variables, DType::F32, &Device::Cpu)
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

#[test]
fn layers_that_cant_be() {
    let cases = [
        ((0, 6), (3, 3), DEFAULT, "in_channels: expected a positive number, got 0"),
        ((4, 0), (3, 3), DEFAULT, "out_channels: expected a positive number, got 0"),
        ((4, 6), (0, 3), DEFAULT, "kernel_size: expected two positive numbers, got [0, 3]"),
        (
            (4, 6),
            (3, 3),
            DoConv2dConfig { stride: [1, 0], ..DEFAULT },
            "stride: expected two positive numbers, got [1, 0]",
        ),
        (
            (4, 6),
            (3, 3),
            DoConv2dConfig { dilation: [0, 1], ..DEFAULT },
            "dilation: expected two positive numbers, got [0, 1]",
        ),
        (
            (4, 6),
            (3, 3),
            DoConv2dConfig { groups: 0, ..DEFAULT },
            "groups: expected a positive number, got 0",
        ),
        (
            (4, 6),
            (3, 3),
            DoConv2dConfig { groups: 4, ..DEFAULT },
            "groups: expected a divisor of in_channels 4 and out_channels 6, got 4",
        ),
        (
            (4, 6),
            (3, 3),
            DoConv2dConfig { d_mul: Some(8), ..DEFAULT },
            "d_mul: expected at least 9 for a 3×3 kernel, got 8",
        ),
        (
            (4, 6),
            (1, 1),
            DoConv2dConfig { d_mul: Some(1), ..DEFAULT },
            "d_mul: expected none: a 1×1 kernel has no D, got 1",
        ),
    ];
    for ((inputs, outputs), kernel, config, expected) in cases {
        let variables = VarMap::new();
        let got = message(do_conv2d(inputs, outputs, kernel, config, builder(&variables)));
        assert_eq!(got, format!("do_conv2d: {expected}"));
        assert!(variables.all_vars().is_empty(), "no variable was made");
    }
    let absurd = |d_mul| {
        let config = DoConv2dConfig { d_mul: Some(d_mul), ..DEFAULT };
        message(do_conv2d(1, 1, 3, config, builder(&VarMap::new())))
    };
    assert!(absurd(usize::MAX).contains("expected a number of elements that can be addressed"));
    assert!(absurd(1 << 46).contains("expected room for "), "{}", absurd(1 << 46));
}

#[test]
fn variables_that_are_missing_or_of_another_shape() -> Result<()> {
    let files = |tensors: &[(&str, &[usize])]| {
        let tensors =
            tensors.iter().map(|(name, shape)| (format!("conv.{name}"), zeros(shape))).collect();
        VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu).pp("conv")
    };
    let missing = files(&[("W", &[6, 4, 9]), ("bias", &[6])]);
    assert_eq!(message(do_conv2d(4, 6, 3, DEFAULT, missing)), "cannot find tensor conv.D");
    let other = files(&[("W", &[6, 4, 10]), ("D", &[4, 9, 10]), ("bias", &[6])]);
    let got = message(do_conv2d(4, 6, 3, DEFAULT, other));
    assert_eq!(got, "shape mismatch for conv.W, expected: [6, 4, 9], got: [6, 4, 10]");
    let constant = files(&[("W", &[6, 4, 9]), ("D", &[4, 9, 9]), ("bias", &[6])]);
    let got = message(do_conv2d(4, 6, 3, DEFAULT, constant)?.variables());
    assert_eq!(got, "DoConv2d::variables: W: expected a variable, got a constant");
    Ok(())
}

#[test]
fn inputs_that_dont_fit() -> Result<()> {
    for cpu_engine in [true, false] {
        let config = DoConv2dConfig { cpu_engine, padding: [1, 1], ..DEFAULT };
        let layer = do_conv2d(4, 6, 5, config, builder(&VarMap::new()))?;
        let error = |x: &Tensor| message(layer.forward(x));
        assert_eq!(
            error(&zeros(&[2, 3, 9, 9])),
            "DoConv2d::forward: x: expected [2, 4, 9, 9], got [2, 3, 9, 9]"
        );
        assert_eq!(
            error(&zeros(&[2, 4, 2, 9])),
            "DoConv2d::forward: x height: expected at least 3: the kernel spans 5 of a height \
             padded by 1 + 1, got 2"
        );
        assert!(error(&zeros(&[4, 9, 9])).starts_with("unexpected rank, expected: 4, got: 3"));
        let double = zeros(&[2, 4, 9, 9]).to_dtype(DType::F64)?;
        assert_eq!(error(&double), "DoConv2d::forward: x: expected F32, as the kernel is, got F64");
    }
    Ok(())
}

#[test]
fn sizes_that_cant_be_addressed_or_held() -> Result<()> {
    for padding in [usize::MAX / 2, usize::MAX / 4, 1 << 40, 1 << 20] {
        for cpu_engine in [true, false] {
            let config = DoConv2dConfig { padding: [padding, padding], cpu_engine, ..DEFAULT };
            let layer = do_conv2d(1, 1, 3, config, builder(&VarMap::new()))?;
            // candle itself would end the process for want of memory.
            if cpu_engine || padding > 1 << 20 {
                let error = message(layer.forward(&zeros(&[1, 1, 4, 4])));
                let expected = match padding {
                    0..=0x10_0000 => "do-conv: expected room for ",
                    _ if padding < usize::MAX / 4 => "y: expected a number of elements that can be",
                    _ => "padding: expected a padded extent that fits half the address space",
                };
                assert!(error.contains(expected), "{error}");
            }
        }
    }
    Ok(())
}

#[test]
fn types_that_arent_real_numbers() -> Result<()> {
    let tensors = [("W", [6, 4, 9]), ("D", [4, 9, 9])];
    let tensors =
        tensors.into_iter().map(|(name, shape)| (name.to_owned(), zeros(&shape))).collect();
    let vb = VarBuilder::from_tensors(tensors, DType::U32, &Device::Cpu);
    let layer = do_conv_candle::do_conv2d_no_bias(4, 6, 3, DEFAULT, vb)?;
    let got = message(layer.weight());
    assert_eq!(got, "do-conv: expected tensors of f16, bf16, f32 or f64, got U32");
    Ok(())
}

#[test]
fn folds_that_candle_has_no_layer_for() -> Result<()> {
    let config = DoConv2dConfig { stride: [1, 2], ..DEFAULT };
    let layer = do_conv2d(4, 6, 3, config, builder(&VarMap::new()))?;
    assert_eq!(
        message(layer.fold()),
        "DoConv2d::fold: stride: expected the same number for rows and columns, which is all that \
         candle's Conv2d has, got [1, 2]"
    );
    let got = message(layer.fold_for_cpu()?.to_candle());
    assert!(got.starts_with("Conv2d::to_candle: stride: "), "{got}");
    Ok(())
}

#[test]
fn plain_layers_that_cant_be() {
    let config = Conv2dConfig { groups: 5, ..Default::default() };
    let conv = Conv2d::new(zeros(&[6, 2, 3, 3]), None, config);
    let expected = "groups: expected a divisor of in_channels 10 and out_channels 6, got 5";
    let got = message(DoConv2d::from_conv2d(&conv, None));
    assert_eq!(got, format!("DoConv2d::from_conv2d: {expected}"));
    let got = message(do_conv_candle::Conv2d::from_candle(&conv));
    assert_eq!(got, format!("Conv2d::from_candle: {expected}"));
    let none = Conv2dConfig { groups: 0, ..Default::default() };
    let conv = Conv2d::new(zeros(&[6, 2, 3, 3]), None, none);
    let got = message(DoConv2d::from_conv2d(&conv, None));
    assert_eq!(got, "DoConv2d::from_conv2d: groups: expected a positive number, got 0");
    let conv = Conv2d::new(zeros(&[6, 2, 3, 3]), None, Conv2dConfig::default());
    let got = message(DoConv2d::from_conv2d(&conv, Some(4)));
    assert!(got.ends_with("d_mul: expected at least 9 for a 3×3 kernel, got 4"), "{got}");
    let flat = Conv2d::new(zeros(&[6, 2, 9]), None, Conv2dConfig::default());
    assert!(message(DoConv2d::from_conv2d(&flat, None)).starts_with("unexpected rank"));
    let wrong_bias = Conv2d::new(zeros(&[6, 2, 3, 3]), Some(zeros(&[5])), Conv2dConfig::default());
    let got = message(do_conv_candle::Conv2d::from_candle(&wrong_bias));
    assert_eq!(got, "Conv2d::from_candle: bias: expected [6], got [5]");
    // A plain layer isn't asked for the room that a D would take.
    let depthwise = Conv2dConfig { groups: 512, ..Default::default() };
    let large = Conv2d::new(zeros(&[512, 1, 51, 51]), None, depthwise);
    let layer = do_conv_candle::Conv2d::from_candle(&large).unwrap();
    assert_eq!(layer.forward(&zeros(&[1, 512, 51, 51])).unwrap().dims(), [1, 512, 1, 1]);
}

#[test]
fn tensors_of_different_types() -> Result<()> {
    let tensors = |d_type: DType| {
        let tensors = [("W", zeros(&[6, 4, 9])), ("D", zeros(&[4, 9, 9]).to_dtype(d_type)?)];
        let tensors = tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor));
        Ok::<_, candle_core::Error>(tensors.collect::<std::collections::HashMap<_, _>>())
    };
    // candle's builder makes them alike.
    let vb = VarBuilder::from_tensors(tensors(DType::F64)?, DType::F32, &Device::Cpu);
    assert!(do_conv_candle::do_conv2d_no_bias(4, 6, 3, DEFAULT, vb).is_ok());
    let bias = zeros(&[6]).to_dtype(DType::F64)?;
    let mixed = Conv2d::new(zeros(&[6, 4, 3, 3]), Some(bias), Conv2dConfig::default());
    let expected = "bias: expected F32, as weight is, got F64";
    let got = message(do_conv_candle::Conv2d::from_candle(&mixed));
    assert_eq!(got, format!("Conv2d::from_candle: {expected}"));
    let got = message(DoConv2d::from_conv2d(&mixed, None));
    assert_eq!(got, "DoConv2d::from_conv2d: bias: expected F32, as W is, got F64");
    Ok(())
}

#[test]
fn views_of_nothing_may_begin_anywhere() -> Result<()> {
    let layer = do_conv2d(3, 6, 3, DEFAULT, builder(&VarMap::new()))?;
    let x = zeros(&[2, 3, 6, 6]).narrow(0, 2, 0)?.narrow(2, 1, 5)?;
    assert_eq!(layer.forward(&x)?.dims(), [0, 6, 3, 4]);
    Ok(())
}

#[test]
fn no_images_are_no_mistake() -> Result<()> {
    for cpu_engine in [true, false] {
        let config = DoConv2dConfig { cpu_engine, ..DEFAULT };
        let layer = do_conv2d(4, 6, 3, config, builder(&VarMap::new()))?;
        let x = Var::from_tensor(&zeros(&[0, 4, 5, 5]))?;
        let y = layer.forward(&x)?;
        assert_eq!(y.dims(), [0, 6, 3, 3]);
        if cpu_engine {
            let gradients = y.sum_all()?.backward()?;
            assert_eq!(gradients.get(layer.w()).unwrap().sum_all()?.to_scalar::<f32>()?, 0.0);
        }
    }
    Ok(())
}
