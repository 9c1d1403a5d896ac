//! Plain checkpoints unfolded: the same function, by the crate's own fold and by the published formula.

use do_conv::checkpoint::{
    Checkpoint, Dtype, FoldOptions, Form, Framework, GroupsSource, LayerOptions, LeftReason,
    PairingSource, Tensor, UnfoldOptions, UnfoldReport, UnfoldTarget,
};
use do_conv::{Conv2d, Conv2dConfig, DoConv2d, ErrorKind, Pairing, Result};
use ndarray::{Array4, ArrayD, Ix1, Ix4};
use proptest::prelude::*;

use super::fold::fold;
use super::{rounded, tensor};
use crate::common::{Numbers, refused};

/// A kernel of numbers other than zero, exact in every type.
fn kernel(shape: &[usize], seed: u64) -> ArrayD<f64> {
    let mut numbers = Numbers::new(seed);
    ArrayD::from_shape_simple_fn(shape.to_vec(), || {
        (numbers.integer(31) + 32.0) / 16.0 * if numbers.integer(1) > 0.0 { -1.0 } else { 1.0 }
    })
}

/// A plain convolution `a` with a bias, of `[O, n, M, N]`.
fn plain(shape: [usize; 4], dtype: Dtype) -> Checkpoint {
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("a.weight", rounded(dtype, kernel(&shape, 5).view()));
    checkpoint.insert("a.bias", rounded(dtype, kernel(&shape[..1], 6).view()));
    checkpoint
}

fn unfold(checkpoint: &Checkpoint, options: &UnfoldOptions) -> (Checkpoint, UnfoldReport) {
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
    checkpoint.save(&path, false).unwrap();
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
        unfolded.save(&path, false).unwrap();
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

/// A net of several layers and other things.
fn net() -> Checkpoint {
    let mut checkpoint = plain([4, 3, 3, 3], Dtype::F32);
    for (key, shape) in [
        ("block.0.dw.weight", &[4, 1, 3, 3][..]),
        ("block.0.pw.weight", &[8, 4, 1, 1]),
        ("block.1.conv.weight", &[8, 8, 1, 3]),
        ("line.weight", &[2, 2, 3]),
        ("cube.weight", &[2, 2, 3, 3, 3]),
        ("empty.weight", &[0, 2, 3, 3]),
        ("head.weight", &[10, 8]),
        ("bn.weight", &[4]),
        ("bn.running_mean", &[4]),
    ] {
        checkpoint.insert(key, tensor(shape, |at| 1.0 + at as f32));
    }
    checkpoint.insert("q.weight", Tensor::new(Dtype::I8, &[1, 2, 2, 2], &[1; 8]).unwrap());
    checkpoint.insert("steps", Tensor::new(Dtype::I64, &[], &[7; 8]).unwrap());
    checkpoint.metadata_mut().insert("epoch".into(), "3".into());
    checkpoint
}

#[test]
fn everything_else_stays_as_it_is_and_is_reported() {
    let checkpoint = net();
    let options = UnfoldOptions::default().depthwise("*.dw").d_mul("*", 9).d_mul("block.1*", 5);
    let (unfolded, report) = unfold(&checkpoint, &options);
    let layers: Vec<_> = report
        .layers
        .iter()
        .map(|layer| (&*layer.name, layer.form, layer.groups, layer.groups_source, layer.w_shape))
        .collect();
    assert_eq!(
        layers,
        [
            ("a", Form::DoConv, 1, GroupsSource::Assumed, [4, 3, 9]),
            ("block.0.dw", Form::DoDConv, 4, GroupsSource::Options, [4, 1, 9]),
            ("block.1.conv", Form::DoConv, 1, GroupsSource::Assumed, [8, 8, 5]),
        ]
    );
    let left: Vec<_> = report.left.iter().map(|left| (&*left.key, left.reason)).collect();
    assert_eq!(
        left,
        [
            ("block.0.pw.weight", LeftReason::Pointwise),
            ("cube.weight", LeftReason::Rank),
            ("empty.weight", LeftReason::Empty),
            ("line.weight", LeftReason::Rank),
            ("q.weight", LeftReason::ElementType),
        ]
    );
    for (name, tensor) in checkpoint.tensors() {
        let gone = ["a.weight", "block.0.dw.weight", "block.1.conv.weight"].contains(&name);
        assert_eq!(unfolded.get(name).is_none(), gone, "{name}");
        if !gone {
            assert_eq!(unfolded.get(name).unwrap().shape(), tensor.shape());
            assert_eq!(unfolded.read(name).unwrap(), checkpoint.read(name).unwrap());
        }
    }
    assert_eq!(unfolded.tensors().len(), checkpoint.tensors().len() + 3);
    let metadata: Vec<_> =
        unfolded.metadata().iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
    assert_eq!(
        metadata,
        [
            ("do_conv.kernel_size.a", "3x3"),
            ("do_conv.kernel_size.block.0.dw", "3x3"),
            ("do_conv.kernel_size.block.1.conv", "1x3"),
            ("do_conv.pairing.a", "pytorch"),
            ("do_conv.pairing.block.0.dw", "pytorch"),
            ("do_conv.pairing.block.1.conv", "pytorch"),
            ("epoch", "3"),
        ]
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["layers"][1]["groups_source"], "options");
    assert_eq!(json["layers"][1]["dtype"], "F32");
    assert_eq!(json["left"][0]["reason"], "pointwise");
}

#[test]
fn layers_are_chosen_by_patterns() {
    let checkpoint = net();
    let options = UnfoldOptions::default();
    let chosen = |options: &UnfoldOptions| {
        let (_, report) = unfold(&checkpoint, options);
        report.layers.iter().map(|layer| layer.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(chosen(&options.clone().skip("block.0.dw")), ["a", "block.1.conv"]);
    assert_eq!(chosen(&options.clone().layer("a").layer("*conv")), ["a", "block.1.conv"]);
    assert_eq!(chosen(&options.clone().layer("*").skip("b*")), ["a"]);
    let (_, report) = unfold(&checkpoint, &options.layer("a").skip("*dw"));
    let reason = |key| report.left.iter().find(|left| left.key == key).unwrap().reason;
    assert_eq!(reason("block.0.dw.weight"), LeftReason::Skipped);
    assert_eq!(reason("block.1.conv.weight"), LeftReason::NotChosen);
}

#[test]
fn pointwise_kernels_become_w_alone_if_they_are_to() {
    let options = UnfoldOptions::default().skip("*dw").pointwise(true);
    let checkpoint = net();
    let (unfolded, report) = unfold(&checkpoint, &options);
    let layer = report.layers.iter().find(|layer| layer.name == "block.0.pw").unwrap();
    assert_eq!((layer.form, layer.groups_source), (Form::Pointwise, GroupsSource::NotNeeded));
    assert_eq!((layer.d_shape, &layer.d_key), (None, &None));
    assert_eq!(unfolded.get("block.0.pw.W").unwrap().shape(), [8, 4, 1]);
    assert!(unfolded.get("block.0.pw.D").is_none());
    let found = unfolded.layers(&LayerOptions::default()).unwrap();
    assert!(found.iter().any(|layer| layer.name() == "block.0.pw"));
    assert_eq!(
        unfolded.read("block.0.pw.W").unwrap(),
        checkpoint.read("block.0.pw.weight").unwrap()
    );
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
fn an_output_of_one_input_is_in_one_group() {
    let (_, report) = unfold(&plain([1, 1, 3, 3], Dtype::F32), &UnfoldOptions::default());
    assert_eq!((report.layers[0].groups, report.layers[0].groups_source), (1, GroupsSource::Shape));
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

#[test]
fn what_can_not_be_unfolded_is_refused() {
    let options = UnfoldOptions::default;
    let config = ErrorKind::Config;
    let several = "the name or a pattern of a convolution of several taps that isn't skipped";
    let to_unfold = "the name or a pattern of a layer to unfold";
    for (options, kind, text) in [
        (
            options(),
            ErrorKind::Ambiguous,
            "block.0.dw: expected to be told its groups: 1 if it reads one channel, 4 if it is depthwise, or another divisor of 4 if it is depthwise with several outputs a channel, got 4 outputs of one input each",
        ),
        (options().layer("b"), config, &format!("layers: expected {several}, got b")),
        (
            options().layer("a").layer("*.pw"),
            config,
            &format!("layers: expected {several}, got *.pw"),
        ),
        (options().layer("a").skip("*"), config, &format!("layers: expected {several}, got a")),
        (
            options().pointwise(true).layer("b"),
            config,
            "layers: expected the name or a pattern of a convolution that isn't skipped, got b",
        ),
        (options().skip("*"), config, "layers: expected a convolution to unfold, got none"),
        (
            options().skip("head"),
            config,
            "skip: expected the name or a pattern of a convolution, got head",
        ),
        (
            options().layer("a").groups("b*", 2),
            config,
            &format!("groups: expected {to_unfold}, got b*"),
        ),
        (
            options().layer("a").depthwise("*dw"),
            config,
            &format!("depthwise: expected {to_unfold}, got *dw"),
        ),
        (
            options().layer("a").layer("*pw").pointwise(true).d_mul("*pw", 9),
            config,
            &format!("d_mul: expected {to_unfold} that gets a D, got *pw"),
        ),
        (
            options().layer("a").d_mul("*", 8),
            config,
            "a: expected a d_mul of at least 9, its number of taps, got 8",
        ),
        (
            options().layer("a").groups("a", 3),
            config,
            "a: expected groups that divide its 4 outputs, got 3",
        ),
        (
            options().layer("a").groups("a", 0),
            config,
            "a: expected groups that divide its 4 outputs, got 0",
        ),
        (
            options().layer("a").depthwise("a"),
            config,
            "a: expected a kernel of one input a group, since it is to be depthwise, got 3",
        ),
        (
            options().layer("a").depthwise("a").groups("a", 2),
            config,
            "a: expected to be told its groups, or to be depthwise, got both, with 2 groups",
        ),
        (
            options().layer("a").target(UnfoldTarget::DoConv2d).identity(true),
            config,
            "identity: expected PyTorch as the target: no other code stores it, got DoConv2d",
        ),
        (
            options().target(UnfoldTarget::Gluon).pointwise(true),
            config,
            "pointwise: expected a target whose 1x1 layers differ from plain ones, got Gluon",
        ),
        (
            options().target(UnfoldTarget::Gluon).d_mul("a", 9),
            config,
            "d_mul: expected a target with another S than M·N, got Gluon",
        ),
        (
            options().target(UnfoldTarget::TensorFlow),
            config,
            "layers: expected a convolution to unfold, got none",
        ),
        (
            options().layer("a").d_mul("a", usize::MAX / 50),
            ErrorKind::Overflow,
            &format!(
                "a.weight: expected a size that fits the address space, in whole bytes, got F32 [4, 3, {}]",
                usize::MAX / 50
            ),
        ),
    ] {
        refused(net().unfold(&options), kind, &format!("Checkpoint::unfold: {text}"));
    }
}

#[test]
fn checkpoints_that_can_not_be_unfolded_are_refused() {
    let of = |change: &dyn Fn(&mut Checkpoint)| -> Result<_> {
        let mut checkpoint = plain([2, 3, 2, 2], Dtype::F32);
        change(&mut checkpoint);
        checkpoint.unfold(&UnfoldOptions::default())
    };
    let beside = "expected none beside a.weight, which is to be unfolded, got a tensor";
    for key in ["a.W", "a.D", "a.d_diag", "a.D_diag", "a.W:0"] {
        let result = of(&|checkpoint| {
            checkpoint.insert(key, tensor(&[1], |_| 0.0));
        });
        refused(result, ErrorKind::Format, &format!("Checkpoint::unfold: {key}: {beside}"));
    }
    let result = of(&|checkpoint| {
        checkpoint.insert("a/weight", tensor(&[1, 1, 2, 2], |_| 0.0));
    });
    let text = "Checkpoint::unfold: a/weight: expected one kernel a, got a.weight too";
    refused(result, ErrorKind::Format, text);
    let result = of(&|checkpoint| {
        checkpoint.insert("a.bias", tensor(&[3], |_| 0.0));
    });
    let text = "Checkpoint::unfold: a.bias: expected [2] of F16, BF16, F32 or F64 elements, got [3] of F32";
    refused(result, ErrorKind::Format, text);
    let result = of(&|checkpoint| {
        let bias = Tensor::new(Dtype::I8, &[2], &[0; 2]).unwrap();
        checkpoint.insert("a.bias", bias);
    });
    let text =
        "Checkpoint::unfold: a.bias: expected [2] of F16, BF16, F32 or F64 elements, got [2] of I8";
    refused(result, ErrorKind::Format, text);
    let result = of(&|checkpoint| {
        let values = |at| if at == 17 { f32::INFINITY } else { 1.0 };
        checkpoint.insert("a.weight", tensor(&[2, 3, 2, 2], values));
    });
    let text = "Checkpoint::unfold: a.weight: expected finite numbers, got inf as element 17";
    refused(result, ErrorKind::Value, text);
}
