//! Checkpoints that the published PyTorch code wrote: every layer, and whole nets through their
//! folded layers.

#[path = "../common/mod.rs"]
mod common;

#[cfg(feature = "checkpoint")]
mod folded;

use common::reference::{Checkpoint, Layer, Net};
use common::{assert_within, gamma, oracle};
use ndarray::Array3;

#[test]
fn d_diag_is_the_identity() {
    for name in ["mixed", "mnist_tutorial"] {
        for Layer { name, problem, d_diag, .. } in Checkpoint::read(name).layers() {
            let taps = problem.taps();
            assert_eq!(d_diag.is_some(), taps > 1, "{name}");
            let Some(d_diag) = d_diag else { continue };
            let mut identity = Array3::zeros((problem.in_channels, taps, problem.d_mul));
            let whole = identity.exact_chunks_mut((problem.in_channels, taps, taps));
            whole.into_iter().for_each(|mut square| {
                square.outer_iter_mut().for_each(|mut d| d.diag_mut().fill(1.0));
            });
            assert_eq!(d_diag, identity, "{name}");
        }
    }
}

#[test]
fn every_layer_gives_the_stored_kernel_and_output() {
    for name in ["mixed", "mnist_tutorial"] {
        let layers = Checkpoint::read(name).layers();
        assert_eq!(layers.len(), if name == "mixed" { 6 } else { 3 });
        for Layer { name, problem, inputs, kernel, y, .. } in layers {
            let stored = vec![("kernel", kernel.into_dyn()), ("y", y.into_dyn())];
            let sums = oracle::absolute_sums(&problem, &inputs);
            for composition in problem.compositions() {
                let mut got = problem.solve::<f32>(&inputs, composition);
                got.retain(|(output, _)| matches!(*output, "kernel" | "y"));
                let what = format!("{name}, {composition:?}");
                let bound = |output: &str| 2.0 * gamma::<f32>(problem.roundings(output));
                assert_within(&what, &got, &stored, &sums, bound);
            }
        }
    }
}

#[test]
fn every_folded_stage_gives_the_stored_input_of_the_next() {
    for net in [Net::mixed(), Net::mnist_tutorial()] {
        for (stage, next) in net.stages.iter().zip(&net.stages[1..]) {
            let x = &stage.layer.inputs.x;
            let mut got = stage.folded().forward(&x.mapv(|x| x as f32)).unwrap();
            got.mapv_inplace(|z| z.max(0.0));
            let (_, bound) = stage.solve(x);
            let stored = &next.layer.inputs.x;
            assert_eq!(got.shape(), stored.shape());
            for ((&got, stored), bound) in got.iter().zip(stored).zip(&bound) {
                let difference = (f64::from(got) - stored).abs();
                let name = &stage.layer.name;
                assert!(difference <= 2.0 * bound, "{name}: {got}, stored {stored}: {bound:e}");
            }
        }
    }
}

#[test]
fn whole_folded_nets_give_the_stored_logits() {
    for net in [Net::mixed(), Net::mnist_tutorial()] {
        net.assert_logits(&[("folded", net.folded_logits()), ("stored", net.logits.clone())]);
    }
}

#[test]
fn the_mnist_net_sees_the_digits_that_the_reference_sees() {
    let net = Net::mnist_tutorial();
    let digit = |logits: ndarray::ArrayView1<f64>| {
        let digits = logits.indexed_iter().max_by(|(_, a), (_, b)| a.total_cmp(b));
        digits.unwrap().0
    };
    let got: Vec<_> = net.folded_logits().outer_iter().map(digit).collect();
    let stored: Vec<_> = net.logits.outer_iter().map(digit).collect();
    assert_eq!(got.len(), 64);
    assert_eq!(got, stored);
}
