//! Reads the stored cases: see `tests/data/README.md`.

use do_conv::{PaddingMode, Pairing};
use ndarray::{Array, ArrayD, Dimension, IxDyn};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::{Inputs, Outputs, Problem};

/// Where a file in `tests/data` is, which the adapters' tests read too.
pub fn path(name: &str) -> String {
    let package = env!("CARGO_MANIFEST_DIR");
    let root = package.find("/adapters/").map_or(package, |end| &package[..end]);
    format!("{root}/tests/data/{name}")
}

/// The bytes of a file in `tests/data`.
pub fn read(name: &str) -> Vec<u8> {
    let path = path(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A tensor as `f64`, if the file has it.
pub fn tensor<D: Dimension>(file: &SafeTensors, name: &str) -> Option<Array<f64, D>> {
    let view = file.tensor(name).ok()?;
    let values: Vec<f64> = match view.dtype() {
        Dtype::F64 => {
            let numbers = view.data().chunks_exact(8);
            numbers.map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect()
        }
        Dtype::F32 => {
            let numbers = view.data().chunks_exact(4);
            numbers.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()).into()).collect()
        }
        other => panic!("{name} is {other:?}"),
    };
    let array = ArrayD::from_shape_vec(IxDyn(view.shape()), values).unwrap();
    Some(array.into_dimensionality().unwrap())
}

/// A stored case: the problem, its inputs and what PyTorch computed.
pub struct Case {
    pub name: String,
    pub problem: Problem,
    pub inputs: Inputs,
    pub expected: Outputs,
}

/// All cases of a file.
pub fn cases(file: &str) -> Vec<Case> {
    let bytes = read(file);
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<_> = metadata.metadata().as_ref().unwrap().iter().collect();
    names.sort();
    names.into_iter().map(|(name, json)| case(&tensors, name, json)).collect()
}

/// The problem of a stored geometry, for an input `x` and the padding that the file has in its own way.
pub fn problem(geometry: &Value, x: &ndarray::Array4<f64>, padding: [[usize; 2]; 2]) -> Problem {
    Problem {
        batch: x.dim().0,
        in_channels: number(&geometry["in_channels"]),
        out_channels: number(&geometry["out_channels"]),
        groups: number(&geometry["groups"]),
        image: [x.dim().2, x.dim().3],
        kernel_size: numbers(&geometry["kernel_size"]),
        stride: numbers(&geometry["stride"]),
        dilation: numbers(&geometry["dilation"]),
        padding,
        mode: match geometry["padding_mode"].as_str() {
            None | Some("zeros") => PaddingMode::Zeros,
            Some("reflect") => PaddingMode::Reflect,
            Some("replicate") => PaddingMode::Replicate,
            Some("circular") => PaddingMode::Circular,
            Some(other) => panic!("padding mode {other}"),
        },
        d_mul: number(&geometry["d_mul"]),
        bias: geometry["bias"].as_bool().unwrap(),
        pairing: match geometry["pairing"].as_str() {
            None | Some("input_channel") => Pairing::InputChannel,
            Some("pytorch") => Pairing::PyTorch,
            Some("tensorflow") => Pairing::TensorFlow,
            Some(other) => panic!("pairing {other}"),
        },
    }
}

fn case(tensors: &SafeTensors, name: &str, json: &str) -> Case {
    let geometry: Value = serde_json::from_str(json).unwrap();
    let x = tensor(tensors, &format!("{name}/x")).unwrap();
    let [top, left, bottom, right] = numbers(&geometry["padding_top_left_bottom_right"]);
    let problem = problem(&geometry, &x, [[top, bottom], [left, right]]);
    let outputs = ["kernel", "y", "dx", "dd_offset", "dw", "dbias"];
    let output = |output| Some((output, tensor(tensors, &format!("{name}/{output}"))?));
    Case {
        name: name.to_owned(),
        problem,
        inputs: Inputs {
            x,
            d_offset: tensor(tensors, &format!("{name}/d_offset")),
            w: tensor(tensors, &format!("{name}/w")).unwrap(),
            bias: tensor(tensors, &format!("{name}/bias")),
            dy: tensor(tensors, &format!("{name}/dy")).unwrap(),
        },
        expected: outputs.into_iter().filter_map(output).collect(),
    }
}

pub fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

pub fn numbers<const N: usize>(value: &Value) -> [usize; N] {
    std::array::from_fn(|index| number(&value[index]))
}
