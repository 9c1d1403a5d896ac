//! Folds into other formats and layouts, against the fold into safetensors as PyTorch has its kernels.

use std::fs;
use std::ops::ControlFlow;
use std::sync::Mutex;

use do_conv::checkpoint::{
    Checkpoint, Dtype, FileFormat, FoldOptions, Framework, KernelLayout, LayerOptions, SaveOptions,
};
use do_conv::{ErrorKind, Pairing};
use ndarray::{ArrayD, IxDyn};

use super::formats::state;
use super::{inputs, insert, problem, tensor};
use crate::common::refused;

/// A dense, a grouped and two depthwise layers, one of a single input channel, one of 1×1, and what is no
/// layer; one of several parts.
fn checkpoint(dtype: Dtype) -> Checkpoint {
    let mut checkpoint = Checkpoint::new();
    for (index, (name, groups, kernel_size)) in [
        ("dense", [1, 40, 101], [3, 3]),
        ("grouped", [3, 2, 4], [2, 2]),
        ("depthwise", [5, 1, 1], [3, 3]),
        ("multiplied", [4, 1, 3], [2, 2]),
        ("single", [1, 1, 6], [2, 2]),
        ("pointwise", [1, 3, 2], [1, 1]),
        ("smallest", [1, 1, 1], [1, 1]),
    ]
    .into_iter()
    .enumerate()
    {
        let taps = kernel_size[0] * kernel_size[1];
        let problem = problem(groups, kernel_size, taps, Pairing::InputChannel);
        let inputs = inputs(&problem, index as u64);
        insert(&mut checkpoint, &format!("{name}."), Framework::PyTorch, dtype, &problem, &inputs);
    }
    checkpoint.insert("head.weight", tensor(&[2, 3, 4, 5], |index| index as f32));
    checkpoint.metadata_mut().insert("note".into(), "left out".into());
    checkpoint
}

fn options() -> FoldOptions {
    FoldOptions::default().layers(LayerOptions::default().pairing(Pairing::InputChannel))
}

/// A kernel in TensorFlow's layout by what its documentation says: of `conv2d`, element `[m, n, i, o]`; of
/// `depthwise_conv2d`, `[m, n, i, q]` is what output channel `i·multiplier + q` takes from input `i`.
fn tensorflow(name: &str, weight: &ArrayD<f64>) -> ArrayD<f64> {
    let &[outputs, inputs, rows, cols] = weight.shape() else { panic!("{name}") };
    match name {
        "depthwise.weight" | "multiplied.weight" => {
            let channels = if name == "depthwise.weight" { 5 } else { 4 };
            let multiplier = outputs / channels;
            ArrayD::from_shape_fn(vec![rows, cols, channels, multiplier], |at: IxDyn| {
                weight[[at[2] * multiplier + at[3], 0, at[0], at[1]]]
            })
        }
        _ => ArrayD::from_shape_fn(vec![rows, cols, inputs, outputs], |at: IxDyn| {
            weight[[at[3], at[2], at[0], at[1]]]
        }),
    }
}

#[test]
fn formats_and_layouts_have_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    for dtype in [Dtype::F16, Dtype::BF16, Dtype::F32, Dtype::F64] {
        let checkpoint = checkpoint(dtype);
        let plain = folder.path().join("plain");
        let expected = checkpoint.fold(&plain, &options().overwrite(true)).unwrap();
        let plain = Checkpoint::open(&plain).unwrap();
        for format in FileFormat::ALL {
            for layout in KernelLayout::ALL {
                let options = options().format(format).layout(layout).overwrite(true);
                let path = folder.path().join("folded");
                let result = checkpoint.fold(&path, &options);
                if dtype == Dtype::BF16 && format == FileFormat::Npz {
                    let error = result.unwrap_err();
                    assert_eq!((error.kind, &*error.got), (ErrorKind::Format, "BF16"));
                    assert_eq!(checkpoint.check_fold(&options).unwrap_err().got, "BF16");
                    continue;
                }
                let report = result.unwrap();
                assert_eq!(report.bytes, path.metadata().unwrap().len());
                assert_eq!((&report.layers, report.tensors), (&expected.layers, expected.tensors));
                let checked = checkpoint.check_fold(&options).unwrap();
                assert_eq!(checked.layers, report.layers);
                if format == FileFormat::Safetensors {
                    assert_eq!(checked, report);
                }
                let folded = Checkpoint::open(&path).unwrap();
                let what = format!("{dtype} {format} {layout}");
                let texts = usize::from(format == FileFormat::Safetensors);
                assert_eq!(folded.metadata().len(), texts, "{what}");
                if layout == KernelLayout::PyTorch {
                    assert_eq!(state(&folded), state(&plain), "{what}");
                    continue;
                }
                assert_eq!(folded.tensors().len(), plain.tensors().len());
                for (name, tensor) in plain.tensors() {
                    assert_eq!(folded.get(name).unwrap().dtype(), tensor.dtype());
                    let values = plain.values(name).unwrap();
                    let is_kernel = name.ends_with(".weight") && name != "head.weight";
                    let expected = if is_kernel { tensorflow(name, &values) } else { values };
                    assert_eq!(folded.values(name).unwrap(), expected, "{what} {name}");
                }
            }
        }
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "no temporary file is left");
}

#[test]
fn the_path_tells_the_format_and_threads_do_not_matter() {
    let checkpoint = checkpoint(Dtype::F32);
    let folder = tempfile::tempdir().unwrap();
    for extension in ["pth", "npz", "safetensors"] {
        let files = [1, 2, 5].map(|threads| {
            let path = folder.path().join(format!("{threads}.{extension}"));
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let options = options().layout(KernelLayout::TensorFlow);
            pool.install(|| checkpoint.fold(&path, &options)).unwrap();
            fs::read(path).unwrap()
        });
        assert_eq!(files[0].starts_with(b"PK"), extension != "safetensors");
        assert!(files[0] == files[1] && files[0] == files[2], "{extension}");
    }
    let path = folder.path().join("folded.h5");
    let error = checkpoint.fold(&path, &options()).unwrap_err();
    assert_eq!((error.operation, &*error.got), ("Checkpoint::fold", ".h5"), "{error}");
}

#[test]
fn progress_ends_where_there_is_no_more_to_do() {
    let checkpoint = checkpoint(Dtype::F32);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("folded.npz");
    let seen = Mutex::new((0, 0));
    let progress = |done: u64, total: u64| {
        let mut seen = seen.lock().unwrap();
        assert!(done <= total);
        *seen = (seen.0.max(done), total);
        ControlFlow::Continue(())
    };
    checkpoint.fold_with(&path, &options(), &progress).unwrap();
    let bytes = |checkpoint: &Checkpoint, is_wanted: fn(&str) -> bool| {
        let tensors = checkpoint.tensors().filter(|(name, _)| is_wanted(name));
        tensors.map(|(_, tensor)| tensor.byte_len() as u64).sum::<u64>()
    };
    let folded = Checkpoint::open(&path).unwrap();
    let kernels = bytes(&folded, |name| name.ends_with(".weight") && name != "head.weight");
    let total = kernels + bytes(&folded, |_| true);
    assert_eq!(*seen.lock().unwrap(), (total, total));

    *seen.lock().unwrap() = (0, 0);
    checkpoint.check_fold_with(&options().format(FileFormat::Npz), &progress).unwrap();
    assert_eq!(*seen.lock().unwrap(), (total, total));
}

#[test]
fn a_shape_that_nothing_tells_is_refused() {
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("a.W", tensor(&[4, 1, 1], |index| index as f32));
    checkpoint.insert("b.W", tensor(&[4, 2, 1], |index| index as f32));
    let tensorflow = FoldOptions::default().layout(KernelLayout::TensorFlow);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("folded");
    let text = "a: expected to be skipped, or the layout pytorch: its groups can't be told, on \
                which TensorFlow's shape depends, got a 1x1 kernel of one input channel a group \
                and 4 outputs";
    let of = |operation: &str| format!("{operation}: {text}");
    refused(checkpoint.fold(&path, &tensorflow), ErrorKind::Ambiguous, &of("Checkpoint::fold"));
    let checked = checkpoint.check_fold(&tensorflow);
    refused(checked, ErrorKind::Ambiguous, &of("Checkpoint::check_fold"));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    let skipped = tensorflow.layers(LayerOptions::default().skip("a"));
    checkpoint.fold(&path, &skipped).unwrap();
    assert_eq!(Checkpoint::open(&path).unwrap().get("b.weight").unwrap().shape(), [1, 1, 2, 4]);

    for layout in KernelLayout::ALL {
        assert_eq!(layout.to_string().parse(), Ok(layout));
    }
    refused(
        "gluon".parse::<KernelLayout>(),
        ErrorKind::Value,
        "KernelLayout::from_str: name: expected pytorch, tensorflow, got gluon",
    );
}

#[test]
fn texts_that_a_skipped_layer_needs_are_refused() {
    let mut checkpoint = checkpoint(Dtype::F32);
    let own = problem([1, 2, 3], [2, 3], 6, Pairing::InputChannel);
    insert(&mut checkpoint, "left.", Framework::PyTorch, Dtype::F32, &own, &inputs(&own, 9));
    checkpoint.metadata_mut().insert("do_conv.kernel_size.left".into(), "2x3".into());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("folded.pth");
    checkpoint.fold(&path, &options()).unwrap();
    fs::remove_file(&path).unwrap();
    let skip = LayerOptions::default().pairing(Pairing::InputChannel).skip("left");
    let options = FoldOptions::default().layers(skip);
    let error = checkpoint.fold(&path, &options).unwrap_err();
    assert_eq!((error.kind, &*error.field), (ErrorKind::Config, "metadata"), "{error}");
    assert!(error.got.contains("do_conv.kernel_size.left"), "{error}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    checkpoint.fold(folder.path().join("folded"), &options).unwrap();
}

#[test]
fn an_error_on_the_way_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    let mut checkpoint = checkpoint(Dtype::F32);
    checkpoint.insert("zeros", super::rounded(Dtype::F16, ArrayD::zeros(vec![100_000]).view()));
    checkpoint.save(&source, &SaveOptions::default()).unwrap();
    let opened = Checkpoint::open(&source).unwrap();
    // The tensor of the smallest elements is the last.
    let len = source.metadata().unwrap().len();
    fs::OpenOptions::new().write(true).open(&source).unwrap().set_len(len - 100).unwrap();
    let existing = folder.path().join("mine.npz");
    fs::write(&existing, "mine").unwrap();
    for options in [
        options().format(FileFormat::PyTorch),
        options().format(FileFormat::Npz),
        options().format(FileFormat::Safetensors).layout(KernelLayout::TensorFlow),
    ] {
        for result in [
            opened.fold(folder.path().join("folded"), &options),
            opened.fold(&existing, &options.clone().overwrite(true)),
            opened.check_fold(&options),
        ] {
            let error = result.unwrap_err();
            assert_eq!((error.kind, &*error.field), (ErrorKind::Format, "zeros"), "{error}");
        }
        let error = checkpoint.fold(&existing, &options).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Exists);
        // One that isn't finite, in the first pass.
        let mut infinite = checkpoint.clone();
        infinite.insert("dense.W", tensor(&[101, 40, 9], |_| f32::INFINITY));
        let error = infinite.fold(folder.path().join("folded"), &options).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Value);
    }
    assert_eq!(fs::read(&existing).unwrap(), b"mine");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "no temporary file is left");
}
