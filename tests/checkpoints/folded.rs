//! The same checkpoints folded as files, whatever format they come in.

use std::fs;
use std::process::Command;

use do_conv::checkpoint::{Checkpoint, FoldOptions, LayerOptions, SaveOptions};
use do_conv::{Conv2d, Conv2dConfig};
use ndarray::{Array1, Array4, Dimension};

use super::Net;
use crate::common::oracle;
use crate::common::reference::Stage;

/// The folded checkpoint.
fn folded(name: &str) -> Checkpoint {
    let folder = tempfile::tempdir().unwrap();
    let layers = LayerOptions::default();
    let layers = if name == "mixed" { layers.kernel_size("over", [3, 5]) } else { layers };
    let options = FoldOptions::default().layers(layers);
    let files = ["pth", "safetensors"].map(|format| {
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/reference_checkpoints");
        let checkpoint = Checkpoint::open(format!("{data}/{name}.{format}")).unwrap();
        let path = folder.path().join(format);
        let report = checkpoint.fold(&path, &options).unwrap();
        assert!(report.layers.iter().all(|layer| layer.difference <= layer.bound));
        path
    });
    let [from_torch, from_safetensors] = files.each_ref().map(|path| fs::read(path).unwrap());
    assert!(from_torch == from_safetensors, "both formats give the same bytes");
    Checkpoint::open(&files[0]).unwrap()
}

/// A tensor of `f32` numbers.
fn values<D: Dimension>(checkpoint: &Checkpoint, name: &str) -> ndarray::Array<f32, D> {
    let values = checkpoint.values(name).unwrap().mapv(|value| value as f32);
    values.into_dimensionality().unwrap()
}

/// The stage as a plain convolution of what the file has.
fn conv(checkpoint: &Checkpoint, stage: &Stage) -> Conv2d<f32> {
    let problem = &stage.layer.problem;
    let config = Conv2dConfig::new(problem.in_channels, problem.out_channels, problem.kernel_size)
        .stride(problem.stride)
        .dilation(problem.dilation)
        .padding(problem.padding)
        .groups(problem.groups)
        .bias(problem.bias);
    let name = &stage.layer.name;
    let weight: Array4<f32> = values(checkpoint, &format!("{name}.weight"));
    let bias: Option<Array1<f32>> =
        problem.bias.then(|| values(checkpoint, &format!("{name}.bias")));
    let conv = Conv2d::from_parameters(config, weight, bias).unwrap();
    match &stage.norm {
        Some(norm) => norm.fold_into(&conv),
        None => conv,
    }
}

#[test]
fn every_kernel_is_that_of_f64_rounded_once() {
    for (name, net) in [("mixed", Net::mixed()), ("mnist_tutorial", Net::mnist_tutorial())] {
        let folded = folded(name);
        for stage in &net.stages {
            let (problem, inputs) = (&stage.layer.problem, &stage.layer.inputs);
            let exact = oracle::kernel(problem, inputs);
            let got = folded.values(&format!("{}.weight", stage.layer.name)).unwrap();
            assert_eq!(got.shape(), exact.shape());
            let mut differ = 0;
            for (got, exact) in got.iter().zip(&exact) {
                // The oracle's f64 sums in their own order may round the other way at a tie.
                differ += usize::from(*got != f64::from(*exact as f32));
                assert!((got - exact).abs() <= exact.abs() * 2f64.powi(-24) * (1.0 + 1e-6) + 1e-45);
            }
            assert!(differ <= got.len() / 1000, "{differ} of {}", got.len());
        }
    }
}

#[test]
fn nets_of_the_folded_files_give_the_stored_logits() {
    for (name, net) in [("mixed", Net::mixed()), ("mnist_tutorial", Net::mnist_tutorial())] {
        let folded = folded(name);
        let got = net.logits_by(|stage| conv(&folded, stage));
        let (exact, bounds) = net.exact_logits();
        for ((index, exact), bound) in exact.indexed_iter().zip(&bounds) {
            assert!((got[index] - exact).abs() <= *bound, "{name} {index:?}");
            assert!((got[index] - net.logits[index]).abs() <= 2.0 * bound, "{name} {index:?}");
        }
    }
}

/// A Python with torch: that of `DO_CONV_PYTHON`, else `python3`.
fn python() -> Option<String> {
    let python = std::env::var("DO_CONV_PYTHON").unwrap_or_else(|_| "python3".into());
    let imports = Command::new(&python).args(["-c", "import torch"]).output();
    imports.is_ok_and(|output| output.status.success()).then_some(python)
}

#[test]
fn torch_loads_the_folded_files_strictly_and_computes_the_logits() {
    let Some(python) = python() else {
        eprintln!("skipped: no Python with torch (DO_CONV_PYTHON names one)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for (name, net) in [("mixed", Net::mixed()), ("mnist_tutorial", Net::mnist_tutorial())] {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/load_folded.py");
        let logits = ["pth", "safetensors"].map(|extension| -> Vec<Vec<f64>> {
            let path = folder.path().join(format!("{name}.{extension}"));
            folded(name).save(&path, &SaveOptions::default()).unwrap();
            let output = Command::new(&python).args([script, name]).arg(&path).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            serde_json::from_slice(&output.stdout).unwrap()
        });
        assert_eq!(logits[0], logits[1], "the same tensors");
        let [logits, _] = logits;
        let (exact, bounds) = net.exact_logits();
        assert_eq!((logits.len(), logits[0].len()), exact.dim());
        for ((index, exact), bound) in exact.indexed_iter().zip(&bounds) {
            let difference = (logits[index.0][index.1] - exact).abs();
            assert!(difference <= *bound, "{name} {index:?}: {difference:e} > {bound:e}");
        }
    }
}
