//! Plain layers that the engine runs, with kernels that are trained and with kernels that it keeps.

mod common;

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_nn::{Conv2dConfig, VarBuilder, VarMap, conv2d};
use common::core::table;
use common::{array, layer, tensor};
use do_conv_candle::{Algorithm, Conv2d, DoConv2d, Pairing};

fn random(shape: impl Into<candle_core::Shape>) -> Result<Tensor> {
    Tensor::randn(0f32, 1., shape, &Device::Cpu)
}

fn pretrained(groups: usize) -> Result<(candle_nn::Conv2d, VarMap)> {
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    let config = Conv2dConfig { padding: 1, groups, ..Default::default() };
    Ok((conv2d(32, 48, 3, config, vb)?, variables))
}

/// With and without a kept kernel.
#[test]
fn kept_kernels_give_the_same_bits_for_images_of_any_size() -> Result<()> {
    let (conv, _) = pretrained(1)?;
    for algorithm in Algorithm::ALL {
        let plain = Conv2d::from_candle(&conv)?.with_algorithm(algorithm)?;
        let kept = plain.keep()?;
        let other_order = Conv2d::from_candle(&conv)?.keep()?.with_algorithm(algorithm)?;
        for size in [9, 20, 9, 1] {
            let x = Var::from_tensor(&random((2, 32, size, size))?)?;
            let y = plain.forward(&x)?;
            for layer in [&kept, &other_order] {
                assert_eq!(array::<f32>(&layer.forward(&x)?)?, array::<f32>(&y)?, "{algorithm}");
            }
            let dx = |y: Tensor| {
                let gradients = y.sqr()?.sum_all()?.backward()?;
                array::<f32>(gradients.get(&x).expect("a gradient of x"))
            };
            assert_eq!(dx(kept.forward(&x)?)?, dx(y)?, "{algorithm}");
        }
        let strided = random((2, 20, 9, 32))?.permute((0, 3, 1, 2))?;
        let (got, expected) = (kept.forward(&strided)?, plain.forward(&strided)?);
        assert_eq!(array::<f32>(&got)?, array::<f32>(&expected)?);
    }
    Ok(())
}

/// What is kept isn't trained, and doesn't follow what is.
#[test]
fn kept_kernels_stay_as_they_are() -> Result<()> {
    let (conv, variables) = pretrained(1)?;
    let (plain, kept) = (Conv2d::from_candle(&conv)?, Conv2d::from_candle(&conv)?.keep()?);
    let x = random((1, 32, 5, 5))?;
    let before = array::<f32>(&kept.forward(&x)?)?;
    let weight = Var::from_tensor(conv.weight())?;
    let gradients = kept.forward(&x)?.sum_all()?.backward()?;
    assert!(gradients.get(&weight).is_none());
    assert!(plain.forward(&x)?.sum_all()?.backward()?.get(&weight).is_some());
    for variable in variables.all_vars() {
        variable.set(&(variable.as_tensor() * 2.0)?)?;
    }
    assert_eq!(array::<f32>(&kept.forward(&x)?)?, before);
    assert_ne!(array::<f32>(&plain.forward(&x)?)?, before);
    Ok(())
}

#[test]
fn folds_keep_their_kernels_in_every_type() -> Result<()> {
    for (name, problem, inputs) in table::cases() {
        let double = layer::<f64>(&problem, &inputs)?;
        let x = tensor::<f64, _>(&inputs.x)?;
        let (y, expected) = (double.fold_for_cpu()?.forward(&x)?, double.forward(&x)?);
        assert_eq!(array::<f64>(&y)?, array::<f64>(&expected)?, "{name}");
    }
    let (conv, _) = pretrained(2)?;
    let half = |tensor: &Tensor| tensor.to_dtype(DType::BF16);
    let bias = conv.bias().map(half).transpose()?;
    let conv = candle_nn::Conv2d::new(half(conv.weight())?, bias, *conv.config());
    let layer = DoConv2d::from_conv2d(&conv, None)?;
    let x = half(&random((1, 32, 6, 6))?)?;
    let (y, expected) = (layer.fold_for_cpu()?.forward(&x)?, layer.forward(&x)?);
    assert_eq!(y.dtype(), DType::BF16);
    let single = |tensor: &Tensor| array::<f32>(&tensor.to_dtype(DType::F32)?);
    assert_eq!(single(&y)?, single(&expected)?);
    let error = layer.fold_for_cpu()?.forward(&random((1, 32, 6, 6))?).unwrap_err().to_string();
    assert!(error.starts_with("Conv2d::forward: x: expected BF16, as the kernel is"), "{error}");
    let error = layer.fold_for_cpu()?.forward(&half(&random((1, 31, 6, 6))?)?).unwrap_err();
    assert!(error.to_string().starts_with("Conv2d::forward: x: expected"), "{error}");
    Ok(())
}

/// Each pairing is another function once `D` is trained; at first all are the plain layer.
#[test]
fn pretrained_layers_take_a_pairing() -> Result<()> {
    let (conv, _) = pretrained(2)?;
    let d_offset = random((32, 9, 9))?;
    let mut kernels = Vec::new();
    for pairing in [Pairing::InputChannel, Pairing::PyTorch, Pairing::TensorFlow] {
        let layer = DoConv2d::from_conv2d_paired(&conv, None, pairing)?;
        assert_eq!(layer.config().pairing, pairing);
        assert_eq!(array::<f32>(&layer.weight()?)?, array::<f32>(conv.weight())?);
        let variables = layer.variables()?;
        let (_, d) = variables.iter().find(|(name, _)| *name == "D").expect("a D");
        d.set(&d_offset)?;
        kernels.push(array::<f32>(&layer.weight()?)?);
    }
    assert!(kernels[0] != kernels[1] && kernels[1] != kernels[2] && kernels[0] != kernels[2]);
    Ok(())
}

/// Without a bias composition and convolution are one operation: its gradients, each by itself.
#[test]
fn gradients_of_a_layer_without_a_bias_are_those_that_autograd_follows() -> Result<()> {
    let (conv, _) = pretrained(2)?;
    let conv = candle_nn::Conv2d::new(conv.weight().clone(), None, *conv.config());
    let layer = DoConv2d::from_conv2d(&conv, Some(11))?;
    let (x, dy) = (random((2, 32, 6, 5))?, random((2, 48, 6, 5))?);
    let tracked = Var::from_tensor(&x)?;
    let solve = |x: &Tensor| {
        let y = layer.forward(x)?;
        let gradients = (&y * &dy)?.sum_all()?.backward()?;
        // The same by the kernel as it is by itself.
        let chained =
            Conv2d::from_candle(&candle_nn::Conv2d::new(layer.weight()?, None, *conv.config()))?;
        let expected = (chained.forward(x)? * &dy)?.sum_all()?.backward()?;
        for parameter in [Some(x), Some(layer.w()), layer.d_offset()].into_iter().flatten() {
            let gradient = |of: &candle_core::backprop::GradStore| {
                of.get(parameter).map(array::<f32>).transpose()
            };
            assert_eq!(gradient(&gradients)?, gradient(&expected)?);
            assert_eq!(gradient(&gradients)?.is_some(), parameter.is_variable());
        }
        Ok::<_, candle_core::Error>(())
    };
    solve(tracked.as_tensor())?;
    solve(&x)
}
