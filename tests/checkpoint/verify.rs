//! Whether two checkpoints compute the same: what is found, and what may differ by rounding.

use do_conv::checkpoint::{
    Checkpoint, Comparison, Dtype, FoldOptions, Framework, LayerOptions, UnfoldOptions,
    UnfoldTarget, VerifyOptions, VerifyReport,
};
use do_conv::{ErrorKind, Pairing};
use ndarray::IxDyn;

use super::fold::{fold, net};
use super::{inputs, insert, problem, rounded, tensor};
use crate::common::oracle::{kernel, paired_channel};
use crate::common::{Inputs, Problem, refused};

/// Compares both ways.
pub fn verify(here: &Checkpoint, there: &Checkpoint, options: &VerifyOptions) -> VerifyReport {
    let report = here.verify(there, options).unwrap();
    // The same the other way round.
    let mut other_way = VerifyOptions::default().layers(options.other_layers.clone());
    other_way = other_way.other_layers(options.layers.clone());
    let other = there.verify(here, &other_way).unwrap();
    assert_eq!(other.is_same(), report.is_same());
    assert_eq!((&other.only_there, &other.only_here), (&report.only_here, &report.only_there));
    for (layer, other) in report.layers.iter().zip(&other.layers) {
        let worst = |comparison: &Comparison| {
            comparison.worst.as_ref().map(|worst| (worst.difference, worst.bound))
        };
        assert_eq!(worst(&layer.kernel), worst(&other.kernel));
    }
    report
}

/// Forms, kernel sizes and `S`.
const LAYERS: [([usize; 3], [usize; 2], usize); 6] = [
    ([1, 5, 7], [3, 3], 9),
    ([1, 3, 4], [2, 3], 13),
    ([4, 2, 3], [1, 5], 5),
    ([6, 1, 2], [3, 3], 9),
    ([6, 1, 1], [5, 1], 6),
    ([1, 3, 2], [1, 1], 1),
];

#[test]
fn a_fold_and_an_unfolded_fold_compute_the_same() {
    for (framework, pairing) in [
        (Framework::PyTorch, Pairing::PyTorch),
        (Framework::PyTorch, Pairing::TensorFlow),
        (Framework::PyTorch, Pairing::InputChannel),
        (Framework::TensorFlow, Pairing::TensorFlow),
        (Framework::Gluon, Pairing::TensorFlow),
    ] {
        for dtype in [Dtype::F16, Dtype::BF16, Dtype::F32, Dtype::F64] {
            for (groups, kernel_size, d_mul) in LAYERS {
                let taps = kernel_size[0] * kernel_size[1];
                if framework == Framework::Gluon && (d_mul != taps || taps == 1) {
                    continue;
                }
                let problem = problem(groups, kernel_size, d_mul, pairing);
                let mut trained = Checkpoint::new();
                let inputs = inputs(&problem, 3);
                insert(&mut trained, "a/", framework, dtype, &problem, &inputs);
                let layers = LayerOptions::default()
                    .framework(framework)
                    .pairing(pairing)
                    .kernel_size("a", kernel_size);
                let options = FoldOptions::default().layers(layers.clone());
                let (folded, _) = fold(&trained, &options).unwrap();
                let options = VerifyOptions::default().layers(layers);
                let report = verify(&trained, &folded, &options);
                assert!(report.is_same(), "{framework:?} {dtype} {groups:?} {report:?}");
                let layer = &report.layers[0];
                let [rows, columns] = kernel_size;
                let shape = [problem.out_channels, problem.group_inputs(), rows, columns];
                assert_eq!(layer.kernel.shapes, [shape.to_vec(), shape.to_vec()]);
                assert!(layer.bias.as_ref().unwrap().is_same);

                // DO-Conv layers of a fold's kernels, on the other side.
                let unfold = UnfoldOptions::default()
                    .target(UnfoldTarget::DoConv2d)
                    .pointwise(true)
                    .groups("*", groups[0]);
                let (unfolded, _) = folded.unfold(&unfold).unwrap();
                assert!(verify(&trained, &unfolded, &options).is_same());
                assert!(verify(&folded, &unfolded, &VerifyOptions::default()).is_same());
            }
        }
    }
}

#[test]
fn other_pairings_compute_something_else() {
    let problem = problem([3, 2, 4], [2, 2], 5, Pairing::PyTorch);
    let mut trained = Checkpoint::new();
    insert(&mut trained, "a.", Framework::PyTorch, Dtype::F32, &problem, &inputs(&problem, 3));
    let layers = |pairing| LayerOptions::default().pairing(pairing);
    for here in Pairing::ALL {
        for there in Pairing::ALL {
            let options = VerifyOptions::default().layers(layers(here)).other_layers(layers(there));
            assert_eq!(verify(&trained, &trained, &options).is_same(), here == there);
        }
    }
    let text = "Checkpoint::verify: a: expected to be told its pairing, as --pairing input-channel, pytorch or \
                tensorflow, got 3 groups of several inputs or outputs, and in the file neither a.d_diag nor \
                do_conv.pairing in the metadata";
    refused(trained.verify(&trained, &VerifyOptions::default()), ErrorKind::Ambiguous, text);
}

/// What a kernel's element may differ by from the exact one, of the sum alone, by the definition.
fn error_of_sum(problem: &Problem, inputs: &Inputs, [o, i, row, column]: [usize; 4]) -> f64 {
    let (taps, d_mul) = (problem.taps(), problem.d_mul);
    let (c, m) = (paired_channel(problem, o, i), row * problem.kernel_size[1] + column);
    let d_offset = inputs.d_offset.as_ref().unwrap();
    let absolute: f64 = (0..d_mul)
        .map(|s| {
            let identity = if s % taps == m && s / taps < d_mul / taps { 1.0 } else { 0.0 };
            (d_offset[[c, m, s]].abs() + identity) * inputs.w[[o, i, s]].abs()
        })
        .sum();
    (d_mul as f64 + 2.0) * 2f64.powi(-52) * absolute
}

#[test]
fn an_element_is_found_beyond_the_bound_and_not_within() {
    for pairing in Pairing::ALL {
        for (dtype, u) in
            [(Dtype::F16, -11), (Dtype::BF16, -8), (Dtype::F32, -24), (Dtype::F64, -53)]
        {
            for (groups, kernel_size, d_mul) in LAYERS {
                if d_mul == 1 {
                    continue;
                }
                let problem = problem(groups, kernel_size, d_mul, pairing);
                let mut inputs = inputs(&problem, 8);
                // In bf16 the inputs are other numbers.
                let exact = |value: &mut f64| *value = (*value * 4.0).round() / 4.0;
                inputs.w.iter_mut().for_each(exact);
                inputs.d_offset.iter_mut().flatten().for_each(exact);
                inputs.bias = None;
                let mut trained = Checkpoint::new();
                insert(&mut trained, "a.", Framework::PyTorch, dtype, &problem, &inputs);
                let kernel = kernel(&problem, &inputs);
                let at =
                    [problem.out_channels - 1, problem.group_inputs() - 1, kernel_size[0] - 1, 0];
                // The bound for the other side in f64.
                let second = if dtype == Dtype::F64 { 0.0 } else { 2f64.powi(-53) };
                let rounding = (2f64.powi(u) + second) * kernel[IxDyn(&at)].abs();
                let bound = rounding + error_of_sum(&problem, &inputs, at);
                let layers = LayerOptions::default().pairing(pairing).kernel_size("a", kernel_size);
                let options = VerifyOptions::default().layers(layers);
                for (factor, is_same) in [(0.0, true), (0.98, true), (1.02, false), (-1.02, false)]
                {
                    let mut changed = kernel.clone();
                    changed[IxDyn(&at)] += factor * bound;
                    let mut plain = Checkpoint::new();
                    plain.insert("a.weight", rounded(Dtype::F64, changed.view()));
                    let report = verify(&trained, &plain, &options);
                    let context = format!("{pairing:?} {dtype} {groups:?} {factor} {report:?}");
                    assert_eq!(report.is_same(), is_same, "{context}");
                    let worst = report.layers[0].kernel.worst.as_ref().unwrap();
                    // Sums here are exact, in f64.
                    if factor != 0.0 && bound > 0.0 {
                        assert_eq!(worst.at, at, "{context}");
                        assert!((worst.bound / bound - 1.0).abs() < 0.02, "{context}");
                        assert!(
                            (worst.difference / bound - factor.abs()).abs() < 0.02,
                            "{context}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn kernels_of_one_type_may_differ_by_one_rounding() {
    let problem = problem([1, 2, 3], [2, 2], 4, Pairing::PyTorch);
    let mut inputs = inputs(&problem, 4);
    // The kernel is W, and beyond its ones an eighth of a unit in the last place.
    inputs.d_offset = inputs.d_offset.map(|d| d * 0.0);
    inputs.w.fill(1.0);
    inputs.bias = None;
    let mut trained = Checkpoint::new();
    insert(&mut trained, "a.", Framework::PyTorch, Dtype::F32, &problem, &inputs);
    for (value, is_same) in [
        (1.0, true),
        (1.0f32.next_up(), false), // two roundings
        (1.0f32.next_down(), true),
        (1.0f32.next_down().next_down(), false),
    ] {
        let mut plain = Checkpoint::new();
        let values = |at| if at == 7 { value } else { 1.0 };
        plain.insert("a.weight", tensor(&[3, 2, 2, 2], values));
        let report = verify(&trained, &plain, &VerifyOptions::default());
        assert_eq!(report.is_same(), is_same, "{value:?} {report:?}");
        if value != 1.0 {
            assert_eq!(report.layers[0].kernel.worst.as_ref().unwrap().at, [0, 1, 1, 1]);
        }
    }
}

#[test]
fn kernels_of_several_parts_are_compared_whole() {
    for (groups, n) in [(1, 90), (30, 3)] {
        let problem = problem([groups, n, 90 / groups], [3, 3], 9, Pairing::InputChannel);
        let mut inputs = inputs(&problem, 5);
        inputs.bias = None;
        let mut trained = Checkpoint::new();
        insert(&mut trained, "a.", Framework::PyTorch, Dtype::F32, &problem, &inputs);
        let layers = LayerOptions::default().pairing(Pairing::InputChannel);
        let options = VerifyOptions::default().layers(layers);
        let kernel = kernel(&problem, &inputs);
        for at in [[0, 0, 0, 0], [45, n / 2, 1, 0], [89, n - 1, 2, 2]] {
            let mut changed = kernel.clone();
            changed[IxDyn(&at)] += 1.0;
            let mut plain = Checkpoint::new();
            plain.insert("a.weight", rounded(Dtype::F32, changed.view()));
            let report = verify(&trained, &plain, &options);
            let worst = report.layers[0].kernel.worst.as_ref().unwrap();
            assert_eq!((worst.difference, &worst.at[..]), (1.0, &at[..]));
        }
    }
}

#[test]
fn what_only_one_has_makes_them_different() {
    let (trained, ..) = net();
    let (folded, _) = fold(&trained, &FoldOptions::default()).unwrap();
    let options = VerifyOptions::default();
    let report = verify(&trained, &folded, &options);
    assert!(report.is_same(), "{report:?}");
    assert_eq!(report.layers.iter().map(|layer| &*layer.name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(report.layers[1].keys, ["b.W", "b.weight"]);
    assert_eq!(report.tensors.keys().collect::<Vec<_>>(), ["head.weight", "steps"]);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["layers"][0]["kernel"]["dtypes"], serde_json::json!(["F32", "F32"]));

    for (key, only_there) in [
        ("a.weight", vec!["a.D", "a.W"]),
        ("a.bias", vec!["a.bias"]),
        ("b.weight", vec!["b.W"]),
        ("steps", vec!["steps"]),
    ] {
        let mut other = folded.clone();
        other.remove(key);
        let report = verify(&other, &trained, &options);
        assert!(!report.is_same(), "{key}");
        assert_eq!(
            (&report.only_there, report.only_here.len()),
            (&only_there.iter().map(|key| key.to_string()).collect(), 0),
            "{key}"
        );
    }
    let mut more = folded.clone();
    more.insert("c.bias", tensor(&[1], |_| 0.0));
    let report = verify(&trained, &more, &options);
    assert_eq!((report.is_same(), report.only_there), (false, vec!["c.bias".to_owned()]));

    let mut other = folded.clone();
    other.insert("a.bias", tensor(&[3], |_| 9.0));
    let report = verify(&trained, &other, &options);
    assert!(!report.is_same() && report.layers[0].kernel.is_same);
    assert!(!report.layers[0].bias.as_ref().unwrap().is_same);

    // A rank that no kernel has isn't the layer's.
    let mut other = folded;
    other.insert("b.weight", tensor(&[2, 3], |at| at as f32));
    let report = verify(&trained, &other, &options);
    assert_eq!(
        (report.only_here, report.only_there),
        (vec!["b.W".to_owned()], vec!["b.weight".to_owned()])
    );
}

#[test]
fn identities_and_metadata_do_not_matter() {
    let plain = {
        let mut plain = Checkpoint::new();
        plain.insert("a.weight", tensor(&[4, 3, 2, 3], |at| at as f32));
        plain
    };
    let options = UnfoldOptions::default().d_mul("*", 14);
    let (with, _) = plain.unfold(&options.clone().identity(true)).unwrap();
    let (without, _) = plain.unfold(&options.seed(1)).unwrap();
    let mut untold = without.clone();
    untold.metadata_mut().clear();
    let options = VerifyOptions::default();
    // W is another beyond the identity, and the kernel the same.
    assert_ne!(with.read("a.W").unwrap(), without.read("a.W").unwrap());
    for (here, there) in [(&with, &without), (&with, &plain), (&with, &untold), (&untold, &plain)] {
        let report = verify(here, there, &options);
        assert!(report.is_same(), "{report:?}");
        assert!(report.tensors.is_empty());
    }
    let report = verify(&untold, &untold, &options);
    assert_eq!(report.layers[0].kernel.shapes, [vec![4, 3, 6], vec![4, 3, 6]]);
    // An identity of a layer that isn't there is no tensor that is missed.
    assert_eq!(verify(&with, &Checkpoint::new(), &options).only_here, ["a.D", "a.W"]);

    let mut turned = Checkpoint::new();
    turned.insert("a.weight", tensor(&[4, 3, 3, 2], |at| at as f32));
    let report = verify(&with, &turned, &options);
    assert!(!report.is_same());
    assert_eq!(report.layers[0].kernel.shapes, [vec![4, 3, 2, 3], vec![4, 3, 3, 2]]);
    assert_eq!(report.layers[0].kernel.worst, None);
    // Its rows and columns are told by the one alone.
    assert!(verify(&untold, &turned, &options).is_same());
    let mut fewer = Checkpoint::new();
    fewer.insert("a.weight", tensor(&[4, 2, 3, 3], |at| at as f32));
    assert!(!verify(&untold, &fewer, &options).is_same());
}

#[test]
fn keras_kernels_have_their_own_order() {
    let mut plain = Checkpoint::new();
    plain.insert("a/kernel:0", tensor(&[2, 3, 4, 5], |at| at as f32));
    let options = UnfoldOptions::default().target(UnfoldTarget::TensorFlow).d_mul("*", 7);
    let (unfolded, _) = plain.unfold(&options).unwrap();
    let layers = LayerOptions::default().framework(Framework::TensorFlow);
    let options = VerifyOptions::default().layers(layers.clone()).other_layers(layers);
    let report = verify(&unfolded, &plain, &options);
    assert!(report.is_same() && report.layers.len() == 1, "{report:?}");
    let at = |[o, i, m, n]: [usize; 4]| ((m * 3 + n) * 4 + i) * 5 + o;
    let changed = tensor(&[2, 3, 4, 5], |index| {
        index as f32 + f32::from(u8::from(index == at([3, 1, 1, 2])))
    });
    plain.insert("a/kernel:0", changed);
    let report = verify(&unfolded, &plain, &options);
    let worst = report.layers[0].kernel.worst.as_ref().unwrap();
    assert_eq!((&worst.at[..], worst.difference), (&[3, 1, 1, 2][..], 1.0));

    // The fold of it is in the other order, beside which a second kernel is one too many.
    let layers = options.layers.clone();
    let (folded, _) = fold(&unfolded, &FoldOptions::default().layers(layers)).unwrap();
    assert!(verify(&unfolded, &folded, &options).is_same());
    plain.insert("a/weight", folded.get("a/weight").unwrap().clone());
    let text =
        "Checkpoint::verify: a: expected one kernel of that name, got a/kernel:0 and a/weight";
    refused(unfolded.verify(&plain, &options), ErrorKind::Ambiguous, text);
}
