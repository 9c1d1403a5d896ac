//! Plain checkpoints unfolded: the same function, by the crate's own fold and by the published formula.

use do_conv::checkpoint::{
    Checkpoint, Dtype, FoldOptions, Framework, GroupsSource, LayerOptions, PairingSource,
    SaveOptions, UnfoldOptions, UnfoldReport, UnfoldTarget,
};
use do_conv::{Conv2d, Conv2dConfig, DoConv2d, Pairing};
use ndarray::{Array4, ArrayD, Ix1, Ix4};
use proptest::prelude::*;

use super::fold::fold;
use super::{rounded, tensor};
use crate::common::Numbers;

/// A kernel of numbers other than zero, exact in every type.
fn kernel(shape: &[usize], seed: u64) -> ArrayD<f64> {
    let mut numbers = Numbers::new(seed);
    ArrayD::from_shape_simple_fn(shape.to_vec(), || {
        (numbers.integer(31) + 32.0) / 16.0 * if numbers.integer(1) > 0.0 { -1.0 } else { 1.0 }
    })
}

/// A plain convolution `a` with a bias, of `[O, n, M, N]`.
pub fn plain(shape: [usize; 4], dtype: Dtype) -> Checkpoint {
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("a.weight", rounded(dtype, kernel(&shape, 5).view()));
    checkpoint.insert("a.bias", rounded(dtype, kernel(&shape[..1], 6).view()));
    checkpoint
}

/// The unfolded checkpoint.
pub fn unfold(checkpoint: &Checkpoint, options: &UnfoldOptions) -> (Checkpoint, UnfoldReport) {
    checkpoint.unfold(options).unwrap()
}

/// The numbers of a tensor, in its order.
fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f64> {
    checkpoint.values(name).unwrap().into_iter().collect()
}

fn names(checkpoint: &Checkpoint) -> Vec<&str> {
    checkpoint.tensors().map(|(name, _)| name).collect()
}

/// The kernel, in row-major order, by the formula of the published PyTorch code: `W` reshaped to
/// `[O/g, I, S]`, `Σ_s (D + d_diag)[i, m, s] · W[o, i, s]`, and that reshaped to `[O, n, M, N]`.
fn published(w: &[f64], d: &[f64], d_diag: &[f64], [inputs, taps, d_mul]: [usize; 3]) -> Vec<f64> {
    let mut kernel = Vec::new();
    for o in 0..w.len() / (inputs * d_mul) {
        for i in 0..inputs {
            for m in 0..taps {
                let mut sum = 0.0;
                for s in 0..d_mul {
                    let at = (i * taps + m) * d_mul + s;
                    sum += (d[at] + d_diag[at]) * w[(o * inputs + i) * d_mul + s];
                }
                kernel.push(sum);
            }
        }
    }
    kernel
}

/// The identity of `[I, MN, S]` by its definition.
fn identity([inputs, taps, d_mul]: [usize; 3]) -> Vec<f64> {
    let mut identity = vec![0.0; inputs * taps * d_mul];
    for i in 0..inputs {
        for copy in 0..d_mul / taps {
            for m in 0..taps {
                identity[(i * taps + m) * d_mul + copy * taps + m] = 1.0;
            }
        }
    }
    identity
}

#[test]
fn the_published_formula_gives_the_same_kernel() {
    for ([groups, n, r], [rows, columns], d_mul) in [
        ([1, 3, 4], [3, 3], 9),
        ([1, 2, 3], [2, 3], 14),
        ([3, 2, 2], [1, 5], 5),
        ([4, 1, 2], [3, 3], 20),
        ([5, 1, 1], [2, 2], 8),
    ] {
        for dtype in [Dtype::F16, Dtype::BF16, Dtype::F32, Dtype::F64] {
            let checkpoint = plain([groups * r, n, rows, columns], dtype);
            let taps = rows * columns;
            let options =
                UnfoldOptions::default().groups("*", groups).d_mul("a", d_mul).identity(true);
            let (unfolded, report) = unfold(&checkpoint, &options);
            assert_eq!(names(&unfolded), ["a.D", "a.W", "a.bias", "a.d_diag"]);
            let d_shape = [groups * n, taps, d_mul];
            for (name, shape) in [
                ("a.W", vec![groups * r, n, d_mul]),
                ("a.D", d_shape.to_vec()),
                ("a.d_diag", d_shape.to_vec()),
            ] {
                let tensor = unfolded.get(name).unwrap();
                assert_eq!((tensor.dtype(), tensor.shape()), (dtype, &shape[..]), "{name}");
            }
            let [w, d, d_diag] = ["a.W", "a.D", "a.d_diag"].map(|name| values(&unfolded, name));
            assert_eq!(d_diag, identity(d_shape));
            let kernel = published(&w, &d, &d_diag, d_shape);
            assert_eq!(kernel, values(&checkpoint, "a.weight"), "{dtype} {d_shape:?}");

            let layer = &report.layers[0];
            assert_eq!(layer.weight_shape, [groups * r, n, rows, columns]);
            assert_eq!((layer.w_shape, layer.d_shape), ([groups * r, n, d_mul], Some(d_shape)));
            assert_eq!((layer.groups, layer.groups_source), (groups, GroupsSource::Options));
            assert_eq!((layer.pairing, layer.dtype), (Pairing::PyTorch, dtype));
            assert_eq!(layer.parameters.folded, groups * r * (n * taps + 1));
            let d_len = groups * n * taps * d_mul;
            assert_eq!(layer.parameters.trained, groups * r * (n * d_mul + 1) + d_len);
            assert_eq!(report.parameters(), layer.parameters);
        }
    }
}

fn targets() -> impl Strategy<Value = UnfoldTarget> {
    prop_oneof![
        Just(UnfoldTarget::PyTorch),
        Just(UnfoldTarget::DoConv2d),
        Just(UnfoldTarget::TensorFlow),
        Just(UnfoldTarget::Gluon),
    ]
}

fn dtypes() -> impl Strategy<Value = Dtype> {
    prop_oneof![Just(Dtype::F16), Just(Dtype::BF16), Just(Dtype::F32), Just(Dtype::F64)]
}

proptest! {
    #[test]
    fn a_fold_gives_the_same_bits(
        target in targets(),
        dtype in dtypes(),
        (groups, n, r) in (1..=4usize, 1..=4usize, 1..=4usize),
        (rows, columns) in (1..=4usize, 1..=4usize),
        more in 0..=20usize,
        seed in any::<u64>(),
    ) {
        let taps = rows * columns;
        prop_assume!(taps > 1);
        let shape = [groups * r, n, rows, columns];
        let kernel = kernel(&shape, seed);
        // [M, N, n, O] of TensorFlow, by its definition.
        let stored = match target {
            UnfoldTarget::TensorFlow => ArrayD::from_shape_fn(
                vec![rows, columns, n, groups * r],
                |at| kernel[[at[3], at[2], at[0], at[1]]],
            ),
            _ => kernel.clone(),
        };
        let key = if target == UnfoldTarget::TensorFlow { "a/kernel:0" } else { "a/weight" };
        let mut checkpoint = Checkpoint::new();
        checkpoint.insert(key, rounded(dtype, stored.view()));
        let mut options = UnfoldOptions::default().target(target).groups("a", groups).seed(seed);
        if target != UnfoldTarget::Gluon {
            options = options.d_mul("*", taps + more);
        }
        let (unfolded, _) = unfold(&checkpoint, &options);
        let layers = LayerOptions::default().framework(target.framework());
        let found = unfolded.layers(&layers).unwrap();
        prop_assert_eq!(found[0].kernel_size(), Some([rows, columns]));
        prop_assert_eq!(found[0].pairing(), Some(target.pairing()));
        prop_assert_eq!(found[0].pairing_source(), Some(PairingSource::Metadata));
        prop_assert_eq!(found[0].groups(), groups);
        let (folded, _) = fold(&unfolded, &FoldOptions::default().layers(layers)).unwrap();
        prop_assert_eq!(names(&folded), ["a/weight"]);
        let expected = rounded(dtype, kernel.view());
        prop_assert_eq!(folded.get("a/weight").unwrap().shape(), expected.shape());
        let mut plain = Checkpoint::new();
        plain.insert("k", expected);
        prop_assert_eq!(folded.read("a/weight").unwrap(), plain.read("k").unwrap());
    }
}

#[test]
fn a_layer_computes_what_the_plain_one_does() {
    let mut checkpoint = plain([6, 2, 3, 3], Dtype::F32);
    let options = UnfoldOptions::default().target(UnfoldTarget::DoConv2d).groups("a", 3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.safetensors");
    checkpoint.save(&path, &SaveOptions::default()).unwrap();
    checkpoint = Checkpoint::open(&path).unwrap();
    let single = |name: &str| checkpoint.values(name).unwrap().mapv(|value| value as f32);
    let weight = single("a.weight").into_dimensionality::<Ix4>().unwrap();
    let bias = single("a.bias").into_dimensionality::<Ix1>().unwrap();
    let config = Conv2dConfig::new(6, 6, [3, 3]).groups(3).padding(1).stride([2, 1]);
    let conv: Conv2d<f32> = Conv2d::from_parameters(config, weight, Some(bias)).unwrap();
    let mut numbers = Numbers::new(1);
    let x = Array4::from_shape_simple_fn((2, 6, 7, 8), || numbers.integer(15) as f32);
    for d_mul in [9, 11, 18, 31] {
        let (unfolded, _) = unfold(&checkpoint, &options.clone().d_mul("*", d_mul));
        // From memory and from a file.
        let path = folder.path().join(format!("{d_mul}.safetensors"));
        unfolded.save(&path, &SaveOptions::default()).unwrap();
        for unfolded in [unfolded, Checkpoint::open(&path).unwrap()] {
            let found = unfolded.layers(&LayerOptions::default()).unwrap();
            let config = found[0].config().unwrap().padding(1).stride([2, 1]);
            let layer: DoConv2d<f32> = unfolded.layer(&found[0], config).unwrap();
            assert_eq!(layer.forward(&x).unwrap(), conv.forward(&x).unwrap(), "{d_mul}");
        }
    }
}

#[test]
fn every_column_of_w_and_d_can_train() {
    // 22 columns: the kernel's 9, 9 of another copy of the identity, 4 beyond.
    let options = UnfoldOptions::default().target(UnfoldTarget::DoConv2d).d_mul("*", 22);
    let (unfolded, _) = unfold(&plain([4, 3, 3, 3], Dtype::F64), &options);
    let w = unfolded.values("a.W").unwrap();
    let bound = 1.0 / (3.0f64 * 22.0).sqrt();
    let mut beyond = Vec::new();
    for ((o, i), s) in (0..4)
        .flat_map(|o| (0..3).map(move |i| (o, i)))
        .flat_map(|at| (0..22).map(move |s| (at, s)))
    {
        let value = w[[o, i, s]];
        match s {
            0..9 => assert_ne!(value, 0.0),
            9..18 => assert_eq!(value, 0.0),
            _ => beyond.push(value),
        }
    }
    assert!(beyond.iter().all(|value| *value != 0.0 && value.abs() <= bound), "{beyond:?}");
    let largest = beyond.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    assert!(largest > 0.8 * bound, "{largest} of {bound}");
    let mut different = beyond.clone();
    different.sort_by(f64::total_cmp);
    different.dedup();
    assert_eq!(different.len(), beyond.len(), "no number twice");

    let found = unfolded.layers(&LayerOptions::default()).unwrap();
    let layer: DoConv2d<f64> = unfolded.layer(&found[0], found[0].config().unwrap()).unwrap();
    let mut numbers = Numbers::new(2);
    let x = Array4::from_shape_simple_fn((2, 3, 6, 6), || numbers.real());
    let dy = Array4::from_shape_simple_fn((2, 4, 4, 4), || numbers.real());
    let gradients = layer.backward(&x, &dy).unwrap();
    let (dw, dd) = (gradients.w, gradients.d_offset.unwrap());
    for s in 0..22 {
        let moves = |gradient: ndarray::ArrayView2<f64>| gradient.iter().all(|value| *value != 0.0);
        let w_moves = moves(dw.slice(ndarray::s![.., .., s]));
        let d_moves = moves(dd.slice(ndarray::s![.., .., s]));
        // By ones in D the one trains, by numbers in W the other.
        assert_eq!((w_moves, d_moves), (s < 18, !(9..18).contains(&s)), "{s}");
    }
}

#[test]
fn drawn_numbers_depend_on_the_seed_and_the_name_alone() {
    let mut checkpoint = plain([2, 2, 2, 2], Dtype::F32);
    checkpoint.insert("b.weight", checkpoint.get("a.weight").unwrap().clone());
    let options = UnfoldOptions::default().d_mul("*", 7);
    let w = |options: UnfoldOptions, name| values(&unfold(&checkpoint, &options).0, name);
    let a = w(options.clone(), "a.W");
    assert_eq!(a, w(options.clone(), "a.W"));
    assert_eq!(a, w(options.clone().layer("a"), "a.W"));
    assert_ne!(a, w(options.clone(), "b.W"));
    assert_ne!(a, w(options.seed(1), "a.W"));
}

#[test]
fn burn_s_reparameterization_finds_its_shapes() {
    for d_mul in [4, 11] {
        let checkpoint = plain([6, 2, 2, 2], Dtype::F32);
        let options = UnfoldOptions::default()
            .target(UnfoldTarget::OverParameterize)
            .groups("a", 3)
            .d_mul("a", d_mul);
        let (unfolded, report) = unfold(&checkpoint, &options);
        assert_eq!(names(&unfolded), ["a.bias", "a.weight", "a.weight.do_conv.D"]);
        let shape = if d_mul == 4 { [6, 2, 2, 2] } else { [6, 2, d_mul, 1] };
        assert_eq!(unfolded.get("a.weight").unwrap().shape(), shape);
        assert_eq!(unfolded.get("a.weight.do_conv.D").unwrap().shape(), [6, 4, d_mul]);
        assert_eq!(report.layers[0].d_key.as_deref(), Some("a.weight.do_conv.D"));
        assert!(unfolded.metadata().is_empty());
        // As the adapter composes it: by the input channel, with an identity of its own.
        let (w, d) = (values(&unfolded, "a.weight"), values(&unfolded, "a.weight.do_conv.D"));
        let e = identity([6, 4, d_mul]);
        let mut composed = Vec::new();
        for o in 0..6 {
            for i in 0..2 {
                for m in 0..4 {
                    let at = ((o / 2 * 2 + i) * 4 + m) * d_mul;
                    let terms =
                        (0..d_mul).map(|s| (d[at + s] + e[at + s]) * w[(o * 2 + i) * d_mul + s]);
                    composed.push(terms.sum::<f64>());
                }
            }
        }
        assert_eq!(composed, values(&checkpoint, "a.weight"));
    }
}

#[test]
fn gluon_s_underscores_separate() {
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("stem_weight", tensor(&[2, 3, 2, 2], |at| at as f32));
    let options = UnfoldOptions::default().target(UnfoldTarget::Gluon);
    let (unfolded, _) = unfold(&checkpoint, &options);
    assert_eq!(names(&unfolded), ["stem_D", "stem_weight"]);
    assert_eq!(unfolded.get("stem_D").unwrap().shape(), [4, 4, 3]);
    let layers = LayerOptions::default().framework(Framework::Gluon);
    assert_eq!(unfolded.layers(&layers).unwrap()[0].name(), "stem");
}
