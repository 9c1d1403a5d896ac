//! The fold of whole checkpoints.

use std::fs;
use std::ops::ControlFlow;

use do_conv::checkpoint::{
    Checkpoint, Dtype, FoldOptions, FoldReport, Framework, LayerOptions, PairingSource, Tensor,
};
use do_conv::{Composition, DoConv2d, Error, ErrorKind, Pairing, Result};
use half::{bf16, f16};
use ndarray::ArrayD;

use super::{inputs, insert, problem, rounded, tensor};
use crate::common::{Inputs, Problem, oracle::kernel, refused};

/// Folds into a file of its own and opens that; without a file the outcome is the same.
pub fn fold(checkpoint: &Checkpoint, options: &FoldOptions) -> Result<(Checkpoint, FoldReport)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("folded.safetensors");
    let result = checkpoint.fold(&path, options);
    assert_eq!(checkpoint.check_fold(options), result.clone().map_err(of_the_check));
    match result {
        Ok(report) => {
            assert_eq!(report.bytes, path.metadata().unwrap().len());
            Ok((Checkpoint::open(&path).unwrap(), report))
        }
        Err(error) => {
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing is written");
            Err(error)
        }
    }
}

/// The error that a fold which isn't written gives in place of that of a fold.
fn of_the_check(error: Error) -> Error {
    let operation = match error.operation {
        "Checkpoint::fold" => "Checkpoint::check_fold",
        other => other,
    };
    Error::new(error.kind, operation, error.field, error.expected, error.got)
}

/// The nearest number of that type; what is exact in `f64` here is rounded once.
fn nearest(dtype: Dtype, value: f64) -> f64 {
    let neighbours = |near: u16| [near.wrapping_sub(1), near, near.wrapping_add(1)];
    let halves = |near: u16, wide: fn(u16) -> f64| {
        let distance = |bits: &u16| (wide(*bits) - value).abs();
        let candidates = neighbours(near).into_iter().filter(|bits| wide(*bits).is_finite());
        // The even one of two.
        let nearer =
            |a: &u16, b: &u16| distance(a).total_cmp(&distance(b)).then((a % 2).cmp(&(b % 2)));
        wide(candidates.min_by(nearer).unwrap())
    };
    match dtype {
        Dtype::F16 => halves(f16::from_f64(value).to_bits(), |bits| f16::from_bits(bits).to_f64()),
        Dtype::BF16 => {
            halves(bf16::from_f64(value).to_bits(), |bits| bf16::from_bits(bits).to_f64())
        }
        Dtype::F32 => f64::from(value as f32),
        _ => value,
    }
}

#[test]
fn every_type_framework_and_form_is_folded_with_one_rounding() {
    for (framework, pairing) in [
        (Framework::PyTorch, Pairing::PyTorch),
        (Framework::PyTorch, Pairing::InputChannel),
        (Framework::TensorFlow, Pairing::TensorFlow),
        (Framework::Gluon, Pairing::TensorFlow),
    ] {
        for dtype in [Dtype::F16, Dtype::BF16, Dtype::F32, Dtype::F64] {
            for (groups, kernel_size, d_mul) in [
                ([1, 5, 7], [3, 3], 9),
                ([1, 3, 4], [2, 3], 13),
                ([4, 2, 3], [1, 5], 5),
                ([6, 1, 2], [3, 3], 9),
                ([6, 1, 1], [5, 1], 6),
            ] {
                if framework == Framework::Gluon && d_mul != kernel_size[0] * kernel_size[1] {
                    continue;
                }
                let problem = problem(groups, kernel_size, d_mul, pairing);
                let inputs = inputs(&problem, 3);
                // In bf16 the inputs are other numbers.
                let inputs = Inputs {
                    w: inputs.w.mapv(|w| nearest(dtype, w)),
                    d_offset: inputs.d_offset.map(|d| d.mapv(|d| nearest(dtype, d))),
                    ..inputs
                };
                let mut checkpoint = Checkpoint::new();
                insert(&mut checkpoint, "a/", framework, dtype, &problem, &inputs);
                let layers = LayerOptions::default()
                    .framework(framework)
                    .pairing(pairing)
                    .kernel_size("a", kernel_size);
                let options = FoldOptions::default().layers(layers);
                let (folded, report) = fold(&checkpoint, &options).unwrap();
                assert_eq!(folded.tensors().len(), 2);
                let tensor = folded.get("a/weight").unwrap();
                assert_eq!(tensor.dtype(), dtype);
                let got = folded.values("a/weight").unwrap();
                let expected = kernel(&problem, &inputs).mapv(|value| nearest(dtype, value));
                assert_eq!(got, expected, "{framework:?} {dtype} {groups:?}");
                assert_eq!(folded.get("a/bias").unwrap().shape(), [problem.out_channels]);
                let layer = &report.layers[0];
                assert!(layer.difference <= layer.bound);
                assert_eq!(layer.key, "a/weight");
            }
        }
    }
}

/// Two layers, one of them 1×1, with other things around them.
pub fn net() -> (Checkpoint, Problem, Inputs) {
    let problem = problem([1, 2, 3], [2, 2], 4, Pairing::PyTorch);
    let inputs = inputs(&problem, 4);
    let mut checkpoint = Checkpoint::new();
    insert(&mut checkpoint, "a.", Framework::PyTorch, Dtype::F32, &problem, &inputs);
    checkpoint.insert("b.W", tensor(&[2, 3, 1], |index| index as f32));
    checkpoint.insert("steps", Tensor::new(Dtype::I64, &[], &[7; 8]).unwrap());
    checkpoint.insert("head.weight", tensor(&[2, 2], |index| index as f32));
    checkpoint.metadata_mut().insert("epoch".into(), "3".into());
    (checkpoint, problem, inputs)
}

#[test]
fn everything_else_stays_as_it_is() {
    let (checkpoint, problem, inputs) = net();
    let (folded, report) = fold(&checkpoint, &FoldOptions::default()).unwrap();
    let names: Vec<_> = folded.tensors().map(|(name, _)| name).collect();
    assert_eq!(names, ["a.bias", "a.weight", "b.weight", "head.weight", "steps"]);
    for name in ["a.bias", "steps", "head.weight"] {
        assert_eq!(folded.read(name).unwrap(), checkpoint.read(name).unwrap());
    }
    assert_eq!(folded.get("b.weight").unwrap().shape(), [2, 3, 1, 1]);
    assert_eq!(folded.read("b.weight").unwrap(), checkpoint.read("b.W").unwrap());
    assert_eq!(folded.values("a.weight").unwrap(), kernel(&problem, &inputs));
    assert_eq!(folded.metadata(), checkpoint.metadata());
    assert_eq!(report.layers.len(), 2);
    let parameters = report.layers[0].parameters;
    assert_eq!(parameters.trained, 3 * 2 * 4 + 2 * 4 * 4 + 3);
    assert_eq!(parameters.folded, 3 * 2 * 4 + 3);
}

#[test]
fn keys_can_be_renamed() {
    let (checkpoint, ..) = net();
    let options = FoldOptions::default().rename("W", "kernel").rename("bias", "shift");
    let (folded, _) = fold(&checkpoint, &options).unwrap();
    let names: Vec<_> = folded.tensors().map(|(name, _)| name).collect();
    assert_eq!(names, ["a.kernel", "a.shift", "b.kernel", "head.weight", "steps"]);
    refused(
        fold(&checkpoint, &FoldOptions::default().rename("D", "d")),
        ErrorKind::Config,
        "Checkpoint::fold: rename: expected W or bias, got D",
    );
    for (key, name) in [("a.weight", None), ("a.bias", Some("bias"))] {
        let mut checkpoint = checkpoint.clone();
        checkpoint.insert(key, tensor(&[3], |_| 0.0));
        let mut options = FoldOptions::default();
        if let Some(name) = name {
            options = options.rename("W", name);
        }
        let text = format!(
            "Checkpoint::fold: {key}: expected a name that no other tensor has, for what was folded, \
             got one that is taken"
        );
        refused(fold(&checkpoint, &options), ErrorKind::Format, &text);
    }
}

#[test]
fn folded_layers_lose_their_metadata() {
    let problem = problem([3, 2, 4], [3, 5], 15, Pairing::InputChannel);
    let inputs = inputs(&problem, 5);
    let layer: DoConv2d<f32> = problem.layer(&inputs, Composition::Kernel);
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert_layer("a", &layer).unwrap();
    checkpoint.metadata_mut().insert("do_conv.note".into(), "kept".into());
    assert_eq!(checkpoint.metadata().len(), 3);
    let (folded, _) = fold(&checkpoint, &FoldOptions::default()).unwrap();
    assert_eq!(folded.metadata().keys().collect::<Vec<_>>(), ["do_conv.note"]);
    assert_eq!(folded.values("a.weight").unwrap(), kernel(&problem, &inputs));
}

/// A layer `a` of three groups of two to four channels, trained by that pairing; nothing tells which.
fn grouped(pairing: Pairing) -> (Checkpoint, ArrayD<f64>) {
    let problem = problem([3, 2, 4], [2, 2], 4, pairing);
    let inputs = inputs(&problem, 7);
    let mut checkpoint = Checkpoint::new();
    insert(&mut checkpoint, "a.", Framework::PyTorch, Dtype::F32, &problem, &inputs);
    (checkpoint, kernel(&problem, &inputs))
}

fn identity() -> Tensor {
    tensor(&[6, 4, 4], |index| f32::from(index % 16 % 5 == 0))
}

#[test]
fn a_pairing_that_matters_and_that_nothing_tells_is_refused() {
    let text = "a: expected to be told its pairing, as --pairing input-channel, pytorch or tensorflow, \
                got 3 groups of several inputs or outputs, and in the file neither a.d_diag nor \
                do_conv.pairing in the metadata";
    let (checkpoint, _) = grouped(Pairing::InputChannel);
    let layers = checkpoint.layers(&LayerOptions::default()).unwrap();
    assert_eq!((layers[0].pairing(), layers[0].pairing_source()), (None, None));
    assert!(layers[0].needs_pairing() && layers[0].pairing_matters());
    let untold = ErrorKind::Ambiguous;
    refused(layers[0].config(), untold, &format!("LayerInfo::config: {text}"));
    let refusal = format!("Checkpoint::fold: {text}");
    refused(fold(&checkpoint, &FoldOptions::default()), untold, &refusal);

    // One input and several outputs a group, as depthwise layers with a multiplier have, which PyTorch's
    // pairing matters to; several inputs and one output, which TensorFlow's does.
    for groups in [[3, 1, 2], [3, 2, 1]] {
        let problem = problem(groups, [2, 2], 4, Pairing::InputChannel);
        let inputs = inputs(&problem, 7);
        let mut checkpoint = Checkpoint::new();
        insert(&mut checkpoint, "a.", Framework::PyTorch, Dtype::F32, &problem, &inputs);
        refused(fold(&checkpoint, &FoldOptions::default()), untold, &refusal);
    }
}

#[test]
fn a_pairing_that_does_not_matter_needs_not_be_told() {
    for groups in [[1, 2, 3], [4, 1, 1]] {
        let problem = problem(groups, [2, 2], 4, Pairing::InputChannel);
        let inputs = inputs(&problem, 7);
        let mut checkpoint = Checkpoint::new();
        insert(&mut checkpoint, "a.", Framework::PyTorch, Dtype::F32, &problem, &inputs);
        let layers = checkpoint.layers(&LayerOptions::default()).unwrap();
        assert_eq!(layers[0].pairing_source(), Some(PairingSource::Framework));
        assert!(!layers[0].pairing_matters());
        let (folded, _) = fold(&checkpoint, &FoldOptions::default()).unwrap();
        assert_eq!(folded.values("a.weight").unwrap(), kernel(&problem, &inputs), "{groups:?}");
    }
}

/// Asserts what tells the pairing, and that the fold is by it.
#[track_caller]
fn folds_to(
    checkpoint: &Checkpoint,
    options: &LayerOptions,
    source: PairingSource,
    expected: &ArrayD<f64>,
) {
    let layers = checkpoint.layers(options).unwrap();
    assert_eq!(layers[0].pairing_source(), Some(source));
    let (folded, report) =
        fold(checkpoint, &FoldOptions::default().layers(options.clone())).unwrap();
    assert_eq!(folded.values("a.weight").unwrap(), expected);
    assert_eq!(layers[0].pairing(), Some(report.layers[0].pairing));
    assert!(folded.metadata().is_empty(), "{:?}", folded.metadata());
}

#[test]
fn every_way_to_tell_a_pairing_folds_to_its_kernels() {
    let options = LayerOptions::default();
    for pairing in Pairing::ALL {
        let (checkpoint, expected) = grouped(pairing);
        let told = options.clone().pairing(pairing);
        folds_to(&checkpoint, &told, PairingSource::Options, &expected);

        let name = match pairing {
            Pairing::InputChannel => "input_channel",
            Pairing::PyTorch => "pytorch",
            Pairing::TensorFlow => "tensorflow",
        };
        for key in ["do_conv.pairing", "do_conv.pairing.a"] {
            let mut checkpoint = checkpoint.clone();
            checkpoint.metadata_mut().insert(key.into(), name.into());
            folds_to(&checkpoint, &options, PairingSource::Metadata, &expected);
            // Also against an identity, which this crate's files have with every pairing.
            checkpoint.insert("a.d_diag", identity());
            folds_to(&checkpoint, &options, PairingSource::Metadata, &expected);
        }
    }
    for key in ["a.d_diag", "a.D_diag"] {
        let (mut checkpoint, expected) = grouped(Pairing::PyTorch);
        checkpoint.insert(key, identity());
        folds_to(&checkpoint, &options, PairingSource::Identity, &expected);
    }
}

#[test]
fn options_come_before_the_metadata_of_a_layer_and_that_before_the_file_s() {
    let (mut checkpoint, expected) = grouped(Pairing::InputChannel);
    checkpoint.metadata_mut().insert("do_conv.pairing".into(), "pytorch".into());
    checkpoint.metadata_mut().insert("do_conv.pairing.a".into(), "input_channel".into());
    folds_to(&checkpoint, &LayerOptions::default(), PairingSource::Metadata, &expected);
    checkpoint.metadata_mut().insert("do_conv.pairing.a".into(), "tensorflow".into());
    let options = LayerOptions::default().pairing(Pairing::InputChannel);
    folds_to(&checkpoint, &options, PairingSource::Options, &expected);
}

#[test]
fn the_pairing_of_a_file_stays_with_layers_that_stay() {
    let (mut checkpoint, expected) = grouped(Pairing::InputChannel);
    for part in ["W", "D", "bias"] {
        let tensor = checkpoint.get(&format!("a.{part}")).unwrap().clone();
        checkpoint.insert(format!("b.{part}"), tensor);
    }
    checkpoint
        .metadata_mut()
        .insert(Pairing::METADATA_KEY.into(), Pairing::InputChannel.name().into());
    let options = FoldOptions::default().layers(LayerOptions::default().skip("b"));
    let (half, _) = fold(&checkpoint, &options).unwrap();
    assert_eq!(half.metadata(), checkpoint.metadata());
    let (folded, _) = fold(&half, &FoldOptions::default()).unwrap();
    for key in ["a.weight", "b.weight"] {
        assert_eq!(folded.values(key).unwrap(), expected);
    }
    assert!(folded.metadata().is_empty());
}

#[test]
fn a_layer_put_into_a_file_of_another_pairing_keeps_its_own() {
    for groups in [[1, 2, 3], [3, 2, 4]] {
        let problem = problem(groups, [2, 2], 4, Pairing::InputChannel);
        let inputs = inputs(&problem, 7);
        let mut checkpoint = Checkpoint::new();
        checkpoint.metadata_mut().insert("do_conv.pairing".into(), "pytorch".into());
        let layer: DoConv2d<f32> = problem.layer(&inputs, Composition::Kernel);
        checkpoint.insert_layer("a", &layer).unwrap();
        let found = checkpoint.layers(&LayerOptions::default()).unwrap();
        assert_eq!(found[0].config().unwrap().pairing, Pairing::InputChannel);
        let (folded, _) = fold(&checkpoint, &FoldOptions::default()).unwrap();
        assert_eq!(folded.values("a.weight").unwrap(), kernel(&problem, &inputs));
    }
}

#[test]
fn numbers_that_are_not_finite() {
    for (key, at) in [("a.W", 17), ("a.D", 30), ("b.W", 5)] {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (mut checkpoint, ..) = net();
            let shape = checkpoint.get(key).unwrap().shape().to_vec();
            checkpoint.insert(key, tensor(&shape, |index| if index == at { value } else { 1.0 }));
            let text = format!(
                "Checkpoint::fold: {key}: expected finite numbers, got {value} as element {at}"
            );
            refused(fold(&checkpoint, &FoldOptions::default()), ErrorKind::Value, &text);
        }
    }
    // Far into layers of several parts: of W, and of D.
    let ones = |at: usize| move |index: usize| if index == at { f32::NAN } else { 1.0 };
    for (key, at) in [("a.W", 399 * 200 * 4 + 7), ("b.D", 3999 * 36 + 5)] {
        let mut checkpoint = Checkpoint::new();
        for (own, shape) in [
            ("a.W", &[400, 200, 4]),
            ("a.D", &[200, 4, 4]),
            ("b.W", &[4000, 1, 9]),
            ("b.D", &[4000, 4, 9]),
        ] {
            checkpoint.insert(own, tensor(shape, ones(if own == key { at } else { usize::MAX })));
        }
        let text =
            format!("Checkpoint::fold: {key}: expected finite numbers, got NaN as element {at}");
        refused(fold(&checkpoint, &FoldOptions::default()), ErrorKind::Value, &text);
    }
    // Sums of finite numbers that aren't finite: nothing can be said of such a kernel.
    let mut checkpoint = Checkpoint::new();
    let huge = ArrayD::from_elem(&[1, 50, 1][..], f64::MAX);
    checkpoint.insert("a.W", rounded(Dtype::F64, huge.view()));
    let error = fold(&checkpoint, &FoldOptions::default()).unwrap_err();
    assert_eq!((error.kind, &*error.field), (ErrorKind::Value, "a"), "{error}");
    assert!(error.expected.starts_with("outputs within "), "{error}");
    // Finite factors of a kernel that its type can't hold.
    let mut checkpoint = Checkpoint::new();
    let all = |shape: &[usize], value| rounded(Dtype::F16, ArrayD::from_elem(shape, value).view());
    checkpoint.insert("a.W", all(&[1, 1, 4], 60000.0));
    checkpoint.insert("a.D", all(&[1, 4, 4], 1.0));
    refused(
        fold(&checkpoint, &FoldOptions::default()),
        ErrorKind::Value,
        "Checkpoint::fold: a.weight: expected finite numbers, got inf as element 0",
    );
    checkpoint.insert("a.W", all(&[400, 200, 4], 1.0));
    checkpoint.insert("a.D", all(&[200, 4, 4], 1.0));
    let w = |index: usize| if index == 399 * 800 { 60000.0 } else { 1.0 };
    let w = ArrayD::from_shape_fn(&[400, 200, 4][..], |at| w(at[0] * 800 + at[1] * 4 + at[2]));
    checkpoint.insert("a.W", rounded(Dtype::F16, w.view()));
    refused(
        fold(&checkpoint, &FoldOptions::default()),
        ErrorKind::Value,
        "Checkpoint::fold: a.weight: expected finite numbers, got inf as element 319200",
    );
}

#[test]
fn the_smallest_numbers_pass_the_check() {
    for dtype in [Dtype::F16, Dtype::F32, Dtype::F64] {
        for smallest in [5e-324, 1e-312, 1e-305, 1e-45, 1e-40, 6e-8] {
            let problem = problem([2, 2, 3], [2, 2], 5, Pairing::InputChannel);
            let inputs = inputs(&problem, 8);
            let inputs = Inputs { w: inputs.w * smallest, ..inputs };
            let mut checkpoint = Checkpoint::new();
            insert(&mut checkpoint, "a.", Framework::PyTorch, dtype, &problem, &inputs);
            let layers = LayerOptions::default().pairing(Pairing::InputChannel);
            fold(&checkpoint, &FoldOptions::default().layers(layers)).unwrap();
        }
    }
}

#[test]
fn layers_of_many_groups_are_folded_some_groups_at_a_time() {
    let pytorch = Framework::PyTorch;
    for (framework, groups, pairing) in [
        (pytorch, [2000, 1, 1], Pairing::PyTorch),
        (pytorch, [1000, 1, 2], Pairing::TensorFlow),
        (pytorch, [600, 2, 3], Pairing::InputChannel),
        (pytorch, [1000, 2, 3], Pairing::InputChannel),
        // Those whose parts of D don't lie one after the other, at once.
        (pytorch, [1000, 2, 3], Pairing::PyTorch),
        (Framework::TensorFlow, [2000, 1, 1], Pairing::TensorFlow),
    ] {
        let problem = problem(groups, [3, 3], 9, pairing);
        let inputs = inputs(&problem, 9);
        let mut checkpoint = Checkpoint::new();
        insert(&mut checkpoint, "a.", framework, Dtype::F64, &problem, &inputs);
        let layers = LayerOptions::default().framework(framework).pairing(pairing);
        let (folded, _) = fold(&checkpoint, &FoldOptions::default().layers(layers)).unwrap();
        assert_eq!(folded.values("a.weight").unwrap(), kernel(&problem, &inputs), "{groups:?}");
    }
}

#[test]
fn nothing_to_fold_or_not_known_how() {
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("head.weight", tensor(&[2, 2], |_| 0.0));
    refused(
        fold(&checkpoint, &FoldOptions::default()),
        ErrorKind::Config,
        "Checkpoint::fold: layers: expected a DO-Conv layer of that framework, got none",
    );
    checkpoint.insert("a.W", tensor(&[1, 1, 6], |_| 0.0));
    checkpoint.insert("a.D", tensor(&[1, 6, 6], |_| 0.0));
    refused(
        fold(&checkpoint, &FoldOptions::default()),
        ErrorKind::Ambiguous,
        "Checkpoint::fold: a: expected to be told its kernel size, 1x6 or 2x3 or 3x2 or 6x1, got 6 \
         taps",
    );
}

#[test]
fn an_existing_file_stays_and_threads_do_not_matter() {
    let problem = problem([1, 300, 200], [3, 3], 9, Pairing::PyTorch);
    let inputs = inputs(&problem, 6);
    let mut checkpoint = Checkpoint::new();
    insert(&mut checkpoint, "a.", Framework::PyTorch, Dtype::F32, &problem, &inputs);
    let folder = tempfile::tempdir().unwrap();
    let files = [1, 2, 5].map(|threads| {
        let path = folder.path().join(threads.to_string());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| checkpoint.fold(&path, &FoldOptions::default())).unwrap();
        fs::read(path).unwrap()
    });
    assert!(files[0] == files[1] && files[0] == files[2]);

    let path = folder.path().join("1");
    let error = checkpoint.fold(&path, &FoldOptions::default()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exists);
    assert!(fs::read(&path).unwrap() == files[0]);
    checkpoint.fold(&path, &FoldOptions::default().overwrite(true)).unwrap();

    // One that comes into being meanwhile.
    let path = folder.path().join("new");
    let text = format!(
        "Checkpoint::fold: {}: expected a new file, or leave to overwrite it, got an existing one",
        path.display()
    );
    let folded = checkpoint.fold_with(&path, &FoldOptions::default(), &|_, _| {
        fs::write(&path, "another's").unwrap();
        ControlFlow::Continue(())
    });
    refused(folded, ErrorKind::Exists, &text);
    assert_eq!(fs::read(&path).unwrap(), b"another's");

    let (done, total) = (std::sync::Mutex::new(0), std::sync::Mutex::new(0));
    let report = checkpoint.check_fold_with(&FoldOptions::default(), &|now, all| {
        let mut done = done.lock().unwrap();
        *done = now.max(*done);
        *total.lock().unwrap() = all;
        ControlFlow::Continue(())
    });
    let total = *total.lock().unwrap();
    assert_eq!((*done.lock().unwrap(), report.unwrap().tensors), (total, 2));
    assert_eq!(total, 4 * (300 * 200 * 9 + 200));
}
