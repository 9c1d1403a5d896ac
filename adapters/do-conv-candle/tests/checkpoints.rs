//! Checkpoints that the published PyTorch code wrote, through candle's `VarBuilder`.

mod common;

use candle_core::{DType, Device, Module, ModuleT, Result, Tensor};
use candle_nn::{VarBuilder, batch_norm, linear};
use common::core::reference::{Checkpoint, EPS, Layer, Net};
use common::core::{Problem, assert_within, gamma, golden, oracle};
use common::{array, config, tensor};
use do_conv_candle::{DoConv2d, do_conv2d, do_conv2d_no_bias};
use ndarray::Array2;

/// Both files of a checkpoint.
fn files(name: &str) -> Result<[VarBuilder<'static>; 2]> {
    let pth = golden::path(&format!("reference_checkpoints/{name}.pth"));
    let safetensors = golden::read(&format!("reference_checkpoints/{name}.safetensors"));
    Ok([
        VarBuilder::from_pth(pth, DType::F32, &Device::Cpu)?,
        VarBuilder::from_buffered_safetensors(safetensors, DType::F32, &Device::Cpu)?,
    ])
}

fn layer(problem: &Problem, vb: VarBuilder) -> Result<DoConv2d> {
    let make = if problem.bias { do_conv2d } else { do_conv2d_no_bias };
    let [rows, columns] = problem.kernel_size;
    make(problem.in_channels, problem.out_channels, (rows, columns), config(problem), vb)
}

#[test]
fn every_layer_gives_the_stored_kernel_and_output() -> Result<()> {
    for name in ["mixed", "mnist_tutorial"] {
        for vb in files(name)? {
            for Layer { name, problem, inputs, kernel, y, .. } in Checkpoint::read(name).layers() {
                let layer = layer(&problem, vb.pp(&name))?;
                let got = vec![
                    ("kernel", array::<f32>(&layer.weight()?)?),
                    ("y", array::<f32>(&layer.forward(&tensor::<f32, _>(&inputs.x)?)?)?),
                ];
                let stored = vec![("kernel", kernel.into_dyn()), ("y", y.into_dyn())];
                let sums = oracle::absolute_sums(&problem, &inputs);
                let bound = |output: &str| 2.0 * gamma::<f32>(problem.roundings(output));
                assert_within(&name, &got, &stored, &sums, bound);
            }
        }
    }
    Ok(())
}

/// Runs a net whose stages are given as functions, each with a ReLU behind it.
fn logits(
    net: &Net,
    stage: impl Fn(usize, &Tensor) -> Result<Tensor>,
    head: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Array2<f64>> {
    let mut x = tensor::<f32, _>(&net.x)?;
    for index in 0..net.stages.len() {
        x = stage(index, &x)?.relu()?;
    }
    let logits = array::<f32>(&head(&x.mean((2, 3))?)?)?;
    Ok(logits.into_dimensionality().unwrap())
}

#[test]
fn whole_nets_give_the_stored_logits_unfolded_and_folded() -> Result<()> {
    for (name, net) in [("mixed", Net::mixed()), ("mnist_tutorial", Net::mnist_tutorial())] {
        let mut computed = Vec::new();
        for vb in files(name)? {
            let mut layers = Vec::new();
            let mut norms = Vec::new();
            for stage in &net.stages {
                let problem = &stage.layer.problem;
                layers.push(layer(problem, vb.pp(&stage.layer.name))?);
                let norm = match stage.layer.name.as_str() {
                    "stem" => Some("bn1"),
                    "group" => Some("bn2"),
                    _ => None,
                };
                let channels = problem.out_channels;
                norms.push(norm.map(|norm| batch_norm(channels, EPS, vb.pp(norm))).transpose()?);
            }
            let head = |x: &Tensor| match name {
                "mixed" => linear(40, 10, vb.pp("head"))?.forward(x),
                _ => Ok(x.clone()),
            };
            let unfolded = |index: usize, x: &Tensor| {
                let y = layers[index].forward(x)?;
                norms[index].as_ref().map_or(Ok(y.clone()), |norm| norm.forward_t(&y, false))
            };
            computed.push(("unfolded", logits(&net, unfolded, head)?));

            // Batch norms go into candle's own layers.
            let folded = |index: usize, x: &Tensor| match (layers[index].fold(), &norms[index]) {
                (Ok(conv), Some(norm)) => conv.absorb_bn(norm)?.forward(x),
                (Ok(conv), None) => conv.forward(x),
                // A padding for each axis, which candle doesn't have.
                (Err(_), None) => layers[index].fold_for_cpu()?.forward(x),
                (Err(error), Some(_)) => Err(error),
            };
            computed.push(("folded", logits(&net, folded, head)?));
        }
        net.assert_logits(&computed);
    }
    Ok(())
}
