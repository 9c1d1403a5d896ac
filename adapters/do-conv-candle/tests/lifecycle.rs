//! A layer's life: from the start or from pretrained weights, through training and files, to the fold.

mod common;

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_nn::{AdamW, Conv2d, Conv2dConfig, Optimizer, ParamsAdamW, VarBuilder, VarMap};
use common::array;
use do_conv_candle::{DoConv2d, DoConv2dConfig, do_conv2d, do_conv2d_no_bias};

fn random(shape: impl Into<candle_core::Shape>) -> Result<Tensor> {
    Tensor::randn(0f32, 1., shape, &Device::Cpu)
}

fn builder(variables: &VarMap) -> VarBuilder<'static> {
    VarBuilder::from_varmap(variables, DType::F32, &Device::Cpu)
}

/// A layer of 4 to 6 channels in two groups.
fn grouped(variables: &VarMap) -> Result<DoConv2d> {
    let config =
        DoConv2dConfig { padding: [1, 1], stride: [2, 2], groups: 2, ..Default::default() };
    do_conv2d(4, 6, (3, 2), config, builder(variables).pp("conv"))
}

fn same_bits(a: &Tensor, b: &Tensor) -> Result<bool> {
    Ok(array::<f32>(a)?.mapv(f64::to_bits) == array::<f32>(b)?.mapv(f64::to_bits))
}

/// Steps of Adam towards another function that the layer can be.
fn train(variables: &VarMap, layer: &DoConv2d, x: &Tensor, steps: usize) -> Result<Vec<f32>> {
    let target = ((layer.forward(x)? * 0.5)? + 0.5)?.detach();
    let mut optimizer = AdamW::new(
        variables.all_vars(),
        ParamsAdamW { lr: 0.02, weight_decay: 0.0, ..Default::default() },
    )?;
    let mut losses = Vec::new();
    for _ in 0..steps {
        let loss = (layer.forward(x)? - &target)?.sqr()?.mean_all()?;
        optimizer.backward_step(&loss)?;
        losses.push(loss.to_scalar()?);
    }
    Ok(losses)
}

#[test]
fn variables_have_the_names_and_shapes_of_the_published_checkpoints() -> Result<()> {
    let variables = VarMap::new();
    grouped(&variables)?;
    do_conv2d_no_bias(4, 6, 1, DoConv2dConfig::default(), builder(&variables).pp("pointwise"))?;
    let over = DoConv2dConfig { d_mul: Some(11), ..Default::default() };
    do_conv2d_no_bias(2, 3, 3, over, builder(&variables).pp("over"))?;
    let variables = variables.data().lock().unwrap();
    let mut shapes: Vec<_> =
        variables.iter().map(|(name, variable)| (name.as_str(), variable.dims())).collect();
    shapes.sort();
    assert_eq!(
        shapes,
        [
            ("conv.D", &[4, 6, 6][..]),
            ("conv.W", &[6, 2, 6]),
            ("conv.bias", &[6]),
            ("over.D", &[2, 9, 11]),
            ("over.W", &[3, 2, 11]),
            ("pointwise.W", &[6, 4, 1]),
        ]
    );
    Ok(())
}

#[test]
fn a_new_layer_is_the_plain_convolution_by_w() -> Result<()> {
    let layer = grouped(&VarMap::new())?;
    let w = layer.w().reshape((6, 2, 3, 2))?;
    assert!(same_bits(&layer.weight()?, &w)?);
    let bound = 1.0 / 12f32.sqrt();
    let largest = w.abs()?.max_all()?.to_scalar::<f32>()?;
    assert!(largest <= bound && largest > 0.8 * bound, "{largest}, bound {bound}");
    Ok(())
}

#[test]
fn training_changes_every_variable_and_the_fold_keeps_the_function() -> Result<()> {
    let variables = VarMap::new();
    let layer = grouped(&variables)?;
    let before: Vec<_> =
        layer.variables()?.iter().map(|(_, variable)| variable.copy()).collect::<Result<_>>()?;
    let x = random((3, 4, 9, 8))?;
    let losses = train(&variables, &layer, &x, 40)?;
    assert!(losses[39] < 0.5 * losses[0], "{losses:?}");
    for ((name, variable), before) in layer.variables()?.iter().zip(&before) {
        assert!(!same_bits(variable, before)?, "{name}");
    }

    let y = layer.forward(&x)?;
    assert!(same_bits(&layer.fold_for_cpu()?.forward(&x)?, &y)?);
    let difference = (layer.fold()?.forward(&x)? - &y)?.abs()?.max_all()?;
    assert!(difference.to_scalar::<f32>()? < 1e-5);
    Ok(())
}

#[test]
fn a_fold_shares_nothing_with_its_source() -> Result<()> {
    for kernel in [1, 3] {
        let variables = VarMap::new();
        let vb = builder(&variables);
        let layer = do_conv2d(4, 6, kernel, DoConv2dConfig::default(), vb)?;
        let x = random((2, 4, 5, 5))?;
        let (candles, ours) = (layer.fold()?, layer.fold_for_cpu()?);
        let before = [candles.forward(&x)?, ours.forward(&x)?];
        train(&variables, &layer, &x, 2)?;
        assert!(!same_bits(&layer.forward(&x)?, &before[1])?, "{kernel}: trained");
        assert!(same_bits(&candles.forward(&x)?, &before[0])?, "{kernel}");
        assert!(same_bits(&ours.forward(&x)?, &before[1])?, "{kernel}");
        assert!(!candles.weight().track_op() && !ours.weight().track_op());
    }
    Ok(())
}

#[test]
fn variables_survive_a_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("trained.safetensors");
    let trained = VarMap::new();
    let layer = grouped(&trained)?;
    let x = random((3, 4, 9, 8))?;
    train(&trained, &layer, &x, 3)?;
    trained.save(&path)?;

    let mut loaded = VarMap::new();
    let again = grouped(&loaded)?;
    assert!(!same_bits(&again.forward(&x)?, &layer.forward(&x)?)?);
    loaded.load(&path)?;
    assert!(same_bits(&again.forward(&x)?, &layer.forward(&x)?)?);
    Ok(())
}

/// candle's layer with random parameters.
fn plain(config: Conv2dConfig, bias: bool) -> Result<Conv2d> {
    let bias = bias.then(|| random(6)).transpose()?;
    Ok(Conv2d::new(random((6, 4 / config.groups, 3, 3))?, bias, config))
}

#[test]
fn from_conv2d_is_the_same_function_with_variables_of_its_own() -> Result<()> {
    let strided = Conv2dConfig { stride: 2, padding: 1, groups: 2, ..Default::default() };
    let x = random((2, 4, 8, 7))?;
    for (config, bias, d_mul) in [
        (Conv2dConfig::default(), true, None),
        (strided, false, None),
        (Conv2dConfig { dilation: 2, ..strided }, true, Some(20)),
    ] {
        let conv = plain(config, bias)?;
        let layer = DoConv2d::from_conv2d(&conv, d_mul)?;
        assert!(same_bits(&layer.weight()?, conv.weight())?);
        assert!(same_bits(layer.fold()?.weight(), conv.weight())?);
        assert_eq!(layer.fold()?.config(), conv.config());
        let difference = (layer.forward(&x)? - conv.forward(&x)?)?.abs()?.max_all()?;
        assert!(difference.to_scalar::<f32>()? < 1e-4);

        let variables = VarMap::new();
        for (name, variable) in layer.variables()? {
            variables.data().lock().unwrap().insert(name.to_owned(), variable);
        }
        assert_eq!(variables.all_vars().len(), if bias { 3 } else { 2 });
        let kernel = conv.weight().copy()?;
        let losses = train(&variables, &layer, &x, 10)?;
        assert!(losses[9] < losses[0], "{losses:?}");
        assert!(same_bits(conv.weight(), &kernel)?, "the source stays");
    }
    Ok(())
}

#[test]
fn weight_is_differentiable_by_itself() -> Result<()> {
    let layer = grouped(&VarMap::new())?;
    let gradients = layer.weight()?.sqr()?.sum_all()?.backward()?;
    for of in [Some(layer.w()), layer.d_offset()] {
        let gradient = gradients.get(of.unwrap()).unwrap().abs()?.max_all()?;
        assert!(gradient.to_scalar::<f32>()? > 0.0);
    }
    Ok(())
}

/// Every tensor that a call gets may be a view of another, in its forward and in its backward pass.
#[test]
fn strides_and_offsets_dont_matter() -> Result<()> {
    let layer = grouped(&VarMap::new())?;
    // Rows and columns swapped, channels cut out of more, one image for all.
    let views = [
        random((3, 4, 8, 9))?.transpose(2, 3)?,
        random((3, 9, 9, 8))?.narrow(1, 3, 4)?,
        random((1, 4, 9, 8))?.broadcast_as((3, 4, 9, 8))?,
        random((9, 8, 4, 3))?.permute((3, 2, 0, 1))?,
    ];
    for view in views {
        let dy = random((3, 5, 5, 6))?.permute((0, 3, 1, 2))?;
        let run = |x: &Tensor, dy: &Tensor| -> Result<Vec<Tensor>> {
            let x = Var::from_tensor(x)?;
            let y = layer.forward(&(x.as_tensor() * 1.0)?)?;
            let gradients = y.mul(dy)?.sum_all()?.backward()?;
            let gradient = |of: &Tensor| gradients.get(of).unwrap().clone();
            Ok(vec![y, gradient(&x), gradient(layer.w()), gradient(layer.d_offset().unwrap())])
        };
        let expected = run(&view.contiguous()?, &dy.contiguous()?)?;
        assert!(same_bits(&layer.forward(&view)?, &expected[0])?);
        for (got, expected) in run(&view, &dy)?.iter().zip(&expected) {
            assert!(same_bits(got, expected)?);
        }
        // Kernels and biases that are views, through candle's own layer of the same tensors.
        let weight = random((2, 3, 3, 6))?.permute((3, 0, 1, 2))?;
        let bias = random((6, 2))?.narrow(1, 1, 1)?.squeeze(1)?;
        let config = Conv2dConfig { groups: 2, padding: 1, stride: 2, ..Default::default() };
        let run = |weight: &Tensor, bias: &Tensor| {
            let conv = Conv2d::new(weight.clone(), Some(bias.clone()), config);
            do_conv_candle::Conv2d::from_candle(&conv)?.forward(&view)
        };
        let expected = run(&weight.contiguous()?, &bias.contiguous()?)?;
        assert!(same_bits(&run(&weight, &bias)?, &expected)?);
    }
    Ok(())
}

#[test]
fn gradients_are_computed_for_what_autograd_follows() -> Result<()> {
    let layer = grouped(&VarMap::new())?;
    let x = random((2, 4, 9, 8))?;
    let gradients = layer.forward(&x)?.sum_all()?.backward()?;
    assert!(gradients.get(&x).is_none());
    let constant = layer.fold_for_cpu()?;
    let x = Var::from_tensor(&x)?;
    let gradients = constant.forward(&x)?.sum_all()?.backward()?;
    assert!(gradients.get(&x).is_some());
    assert!(gradients.get(constant.weight()).is_none());
    assert!(!constant.forward(&x.as_detached_tensor())?.track_op());

    // One of the two factors is a constant.
    for frozen in ["W", "D"] {
        for cpu_engine in [true, false] {
            let tensors = layer.variables()?.into_iter().map(|(name, variable)| {
                let variable = variable.into_inner();
                let tensor = if name == frozen { variable.detach() } else { variable };
                (name.to_owned(), tensor)
            });
            let vb = VarBuilder::from_tensors(tensors.collect(), DType::F32, &Device::Cpu);
            let layer =
                do_conv2d(4, 6, (3, 2), DoConv2dConfig { cpu_engine, ..*layer.config() }, vb)?;
            let gradients = layer.forward(&random((2, 4, 9, 8))?)?.sum_all()?.backward()?;
            assert_eq!(gradients.get(layer.w()).is_some(), frozen != "W");
            assert_eq!(gradients.get(layer.d_offset().unwrap()).is_some(), frozen != "D");
        }
    }
    Ok(())
}

#[test]
fn a_layer_shows_no_buffers() -> Result<()> {
    let layer = do_conv2d(16, 16, 3, DoConv2dConfig::default(), builder(&VarMap::new()))?;
    let new = format!("{layer:?}");
    layer.forward(&random((4, 16, 20, 20))?)?.sum_all()?.backward()?;
    assert_eq!(format!("{layer:?}"), new);
    assert!(new.len() < 2000, "{new}");
    Ok(())
}

#[test]
fn half_types_are_computed_with_as_f32_and_rounded_once() -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        let variables = VarMap::new();
        let vb = VarBuilder::from_varmap(&variables, dtype, &Device::Cpu);
        let config = DoConv2dConfig { padding: [1, 1], ..Default::default() };
        let layer = do_conv2d(4, 6, 3, config, vb)?;
        let x = Var::from_tensor(&random((2, 4, 7, 7))?.to_dtype(dtype)?)?;
        let y = layer.forward(&x)?;
        assert_eq!(y.dtype(), dtype);

        // The same in f32, from the very same numbers.
        let conv = layer.fold()?;
        let [weight, bias] = [conv.weight(), conv.bias().unwrap()]
            .map(|tensor| tensor.to_dtype(DType::F32).unwrap());
        let single = Conv2d::new(weight, Some(bias), *conv.config());
        let single = do_conv_candle::Conv2d::from_candle(&single)?;
        let expected = single.forward(&x.to_dtype(DType::F32)?)?.to_dtype(dtype)?;
        let single = |tensor: &Tensor| tensor.to_dtype(DType::F32);
        assert!(same_bits(&single(&y)?, &single(&expected)?)?, "{dtype:?}");
        assert!(same_bits(&single(&layer.fold_for_cpu()?.forward(&x)?)?, &single(&y)?)?);

        let gradients = y.sqr()?.sum_all()?.backward()?;
        for variable in variables.all_vars().iter().chain([&x]) {
            let gradient = gradients.get(variable).unwrap();
            assert_eq!(gradient.dtype(), dtype);
            assert!(single(&gradient.abs()?)?.sum_all()?.to_scalar::<f32>()? > 0.0);
        }
    }
    Ok(())
}

#[test]
fn candles_pool_of_threads_gives_the_same_bits() -> Result<()> {
    let layer = grouped(&VarMap::new())?;
    let x = random((16, 4, 40, 40))?;
    let inside = Device::Cpu.with_context(|| layer.forward(&x))?;
    assert!(same_bits(&inside, &layer.forward(&x)?)?);
    Ok(())
}
