//! Checkpoints: formats, the layers found in them, the fold and the way back, the comparison of two, files
//! that are hostile, and limits.

#[path = "../common/mod.rs"]
mod common;

mod as_saved;
mod atomic;
mod batch_norms;
mod converted;
mod fold;
mod formats;
mod hostile;
mod keys;
mod limits;
mod nets;
mod norms_by_name;
mod norms_in_doubt;
mod pickle;
mod unfold;
mod unfold_options;
mod verify;
mod verify_tensors;
mod written;

use common::{Inputs, Numbers, Problem};
use do_conv::Pairing;
use do_conv::checkpoint::{Checkpoint, Dtype, Framework, Tensor};
use ndarray::{ArrayD, ArrayViewD};

/// The path of a file in `tests/data`.
fn data(name: &str) -> String {
    format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A tensor of `f32` elements.
fn tensor(shape: &[usize], value: impl FnMut(usize) -> f32) -> Tensor {
    let elements: usize = shape.iter().product();
    let bytes: Vec<u8> = (0..elements).map(value).flat_map(f32::to_le_bytes).collect();
    Tensor::new(Dtype::F32, shape, &bytes).unwrap()
}

/// An array as a tensor of that element type.
fn rounded(dtype: Dtype, array: ArrayViewD<f64>) -> Tensor {
    let bytes: Vec<u8> = match dtype {
        Dtype::F16 => array.iter().flat_map(|&x| half::f16::from_f64(x).to_le_bytes()).collect(),
        Dtype::BF16 => array.iter().flat_map(|&x| half::bf16::from_f64(x).to_le_bytes()).collect(),
        Dtype::F32 => array.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect(),
        Dtype::F64 => array.iter().flat_map(|&x| x.to_le_bytes()).collect(),
        other => panic!("{other}"),
    };
    Tensor::new(dtype, array.shape(), &bytes).unwrap()
}

/// A layer of groups, kernel and multiplier.
fn problem(
    [groups, inputs, outputs]: [usize; 3],
    kernel_size: [usize; 2],
    d_mul: usize,
    pairing: Pairing,
) -> Problem {
    Problem {
        batch: 1,
        in_channels: groups * inputs,
        out_channels: groups * outputs,
        groups,
        image: kernel_size,
        kernel_size,
        d_mul,
        pairing,
        ..Problem::DENSE
    }
}

/// Inputs that are exact in half precision.
fn inputs(problem: &Problem, seed: u64) -> Inputs {
    let mut numbers = Numbers::new(seed);
    problem.inputs(|| numbers.integer(63) / 32.0)
}

/// Puts a layer in as a framework saves it; without the identity.
fn insert(
    checkpoint: &mut Checkpoint,
    prefix: &str,
    framework: Framework,
    dtype: Dtype,
    problem: &Problem,
    inputs: &Inputs,
) {
    let [rows, cols] = problem.kernel_size;
    let w = inputs.w.view().into_dyn();
    let d = inputs.d_offset.as_ref().map(|d_offset| d_offset.view().into_dyn());
    let ([w_key, d_key, bias_key], w, d): (_, ArrayD<f64>, Option<ArrayD<f64>>) = match framework {
        Framework::PyTorch => (["W", "D", "bias"], w.into_owned(), d.map(|d| d.into_owned())),
        Framework::TensorFlow => (
            ["kernel:0", "D:0", "bias:0"],
            ordered(w.permuted_axes(vec![2, 1, 0])),
            d.map(|d| ordered(d.permuted_axes(vec![1, 2, 0]))),
        ),
        _ => {
            let shape = [problem.out_channels, problem.group_inputs(), rows, cols];
            (
                ["weight", "D", "bias"],
                w.into_owned().into_shape_with_order(shape.to_vec()).unwrap(),
                d.map(|d| ordered(d.permuted_axes(vec![1, 2, 0]))),
            )
        }
    };
    checkpoint.insert(format!("{prefix}{w_key}"), rounded(dtype, w.view()));
    if let Some(d) = d {
        checkpoint.insert(format!("{prefix}{d_key}"), rounded(dtype, d.view()));
    }
    if let Some(bias) = &inputs.bias {
        checkpoint.insert(format!("{prefix}{bias_key}"), rounded(dtype, bias.view().into_dyn()));
    }
}

fn ordered(array: ArrayViewD<f64>) -> ArrayD<f64> {
    array.as_standard_layout().into_owned()
}
