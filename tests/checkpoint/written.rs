//! Checkpoints written for PyTorch and NumPy, as these and this crate read them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use do_conv::checkpoint::{Checkpoint, Dtype, FileFormat, LayerOptions, SaveOptions, Tensor};
use do_conv::{DoConv2d, DoConv2dConfig, ErrorKind, Pairing};
use zip::{CompressionMethod, ZipArchive};

use super::formats::{State, state};
use super::tensor;
use crate::common::refused;

/// Element types that NumPy has, those that only PyTorch has besides, and those that neither has.
const NUMPY: [Dtype; 13] = [
    Dtype::BOOL,
    Dtype::I8,
    Dtype::U8,
    Dtype::I16,
    Dtype::U16,
    Dtype::I32,
    Dtype::U32,
    Dtype::I64,
    Dtype::U64,
    Dtype::F16,
    Dtype::F32,
    Dtype::F64,
    Dtype::C64,
];
const PYTORCH: [Dtype; 6] = [
    Dtype::BF16,
    Dtype::F8_E4M3,
    Dtype::F8_E5M2,
    Dtype::F8_E8M0,
    Dtype::F8_E4M3FNUZ,
    Dtype::F8_E5M2FNUZ,
];
const NEITHER: [Dtype; 3] = [Dtype::F4, Dtype::F6_E2M3, Dtype::F6_E3M2];

/// A tensor whose bytes count on; those of booleans are 0 and 1.
fn counted(dtype: Dtype, shape: &[usize]) -> Tensor {
    let len = shape.iter().product::<usize>() * dtype.bitsize() / 8;
    let most = if dtype == Dtype::BOOL { 2 } else { 251 };
    let bytes: Vec<u8> = (0..len).map(|index| (index % most) as u8).collect();
    Tensor::new(dtype, shape, &bytes).unwrap()
}

/// Tensors of these types, and of shapes and names that are out of the ordinary.
fn checkpoint(dtypes: &[Dtype]) -> Checkpoint {
    let mut checkpoint = Checkpoint::new();
    for &dtype in dtypes {
        checkpoint.insert(format!("type.{dtype}"), counted(dtype, &[3, 8]));
        checkpoint.insert(format!("scalar.{dtype}"), counted(dtype, &[]));
        checkpoint.insert(format!("empty.{dtype}"), counted(dtype, &[2, 0, 3]));
    }
    for shape in [&[255][..], &[256], &[2, 65_535], &[65_536], &[1, 1, 1, 1, 7], &[0]] {
        checkpoint.insert(format!("shape.{shape:?}"), counted(Dtype::I8, shape));
    }
    let long = "x".repeat(65_000);
    for name in [
        "",
        "groß.重み.😀",
        "it's \"quoted\"",
        "line\nfeed\ttab\u{1}",
        "back\\slash",
        "/from/the/root",
        "../above",
        "folder/",
        "arrays.npy",
        "data.pkl",
        &long,
    ] {
        checkpoint.insert(name, counted(Dtype::F32, &[2]));
    }
    checkpoint
}

/// Writes the checkpoint to a folder, by the extension.
fn save(checkpoint: &Checkpoint, folder: &Path, extension: &str) -> PathBuf {
    let path = folder.join(format!("written.{extension}"));
    checkpoint.save(&path, &SaveOptions::default()).unwrap();
    path
}

#[test]
fn our_reader_gives_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut both = [&NUMPY[..], &PYTORCH].concat();
    // Which the reader passes over.
    both.retain(|dtype| !dtype.to_string().ends_with("FNUZ"));
    for (extension, dtypes) in [("npz", NUMPY.to_vec()), ("pth", both)] {
        let checkpoint = checkpoint(&dtypes);
        let path = save(&checkpoint, folder.path(), extension);
        assert!(state(&Checkpoint::open(&path).unwrap()) == state(&checkpoint), "{extension}");
    }
    // As many as an archive can't count in 16 bits.
    let mut many = Checkpoint::new();
    for index in 0..66_000 {
        many.insert(format!("{index}"), counted(Dtype::U8, &[index % 3]));
    }
    for extension in ["npz", "pth"] {
        let opened = Checkpoint::open(save(&many, folder.path(), &format!("many.{extension}")));
        assert!(state(&opened.unwrap()) == state(&many), "{extension}");
    }
}

#[test]
fn archives_are_stored_and_aligned_and_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(&NUMPY);
    for extension in ["pt", "npz"] {
        let path = save(&checkpoint, folder.path(), extension);
        let mut archive = ZipArchive::new(fs::File::open(&path).unwrap()).unwrap();
        let tensors = checkpoint.tensors().len();
        assert_eq!(archive.len(), tensors + if extension == "pt" { 3 } else { 0 });
        for index in 0..archive.len() {
            let entry = archive.by_index(index).unwrap();
            assert_eq!(entry.compression(), CompressionMethod::Stored);
            assert_eq!(entry.data_start().unwrap() % 64, 0, "{}", entry.name().unwrap());
        }
        let again = SaveOptions::default().format(FileFormat::of_path(&path).unwrap());
        checkpoint.save(folder.path().join("again"), &again.overwrite(true)).unwrap();
        assert!(fs::read(&path).unwrap() == fs::read(folder.path().join("again")).unwrap());
    }
}

/// A Python with that module: that of `DO_CONV_PYTHON`, else `python3`.
fn python(module: &str) -> Option<String> {
    let python = std::env::var("DO_CONV_PYTHON").unwrap_or_else(|_| "python3".into());
    let imports = Command::new(&python).args(["-c", &format!("import {module}")]).output();
    imports.is_ok_and(|output| output.status.success()).then_some(python)
}

/// The file as that reader of `read_written.py` has it.
fn read(python: &str, reader: &str, path: &Path) -> State {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/read_written.py");
    let output = Command::new(python).args([script, reader]).arg(path).output().unwrap();
    assert!(output.status.success(), "{reader}: {}", String::from_utf8_lossy(&output.stderr));
    let tensors: std::collections::BTreeMap<String, (Dtype, Vec<usize>, String)> =
        serde_json::from_slice(&output.stdout).unwrap();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    let bytes = |text: String| text.as_bytes().chunks(2).map(byte).collect();
    let tensors = tensors.into_iter();
    tensors.map(|(name, (dtype, shape, text))| (name, (dtype, shape, bytes(text)))).collect()
}

#[test]
fn python_reads_every_bit() {
    let folder = tempfile::tempdir().unwrap();
    for (reader, module, extension) in [
        ("plain", "zipfile", "npz"),
        ("plain", "zipfile", "pth"),
        ("numpy", "numpy", "npz"),
        ("torch", "torch", "pth"),
    ] {
        let Some(python) = python(module) else {
            eprintln!("skipped: no Python with {module} (DO_CONV_PYTHON names one)");
            continue;
        };
        let dtypes = if extension == "npz" { vec![] } else { PYTORCH.to_vec() };
        let checkpoint = checkpoint(&[&NUMPY[..], &dtypes].concat());
        let path = folder.path().join(format!("{reader}.{extension}"));
        checkpoint.save(&path, &SaveOptions::default()).unwrap();
        assert!(read(&python, reader, &path) == state(&checkpoint), "{reader} {extension}");
    }
}

/// What saving as that format is refused with; nothing is left in the folder.
fn refusal(checkpoint: &Checkpoint, format: FileFormat, kind: ErrorKind, text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let options = SaveOptions::default().format(format);
    let saved = checkpoint.save(folder.path().join("file"), &options);
    refused(saved, kind, &format!("Checkpoint::save: {text}"));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "{text}");
}

#[test]
fn element_types_that_a_format_has_not_are_refused_by_name() {
    for dtype in [&PYTORCH[..], &NEITHER].concat() {
        let mut checkpoint = Checkpoint::new();
        checkpoint.insert("a", counted(Dtype::F32, &[2]));
        checkpoint.insert("b", counted(dtype, &[8]));
        let choice = "an element type that NumPy has, or the format safetensors or pytorch";
        let text = format!("b: expected {choice}, got {dtype}");
        refusal(&checkpoint, FileFormat::Npz, ErrorKind::Format, &text);
        if NEITHER.contains(&dtype) {
            let choice = "an element type that PyTorch has, or the format safetensors";
            let text = format!("b: expected {choice}, got {dtype}");
            refusal(&checkpoint, FileFormat::PyTorch, ErrorKind::Format, &text);
        }
    }
}

#[test]
fn names_and_shapes_that_a_format_has_not_are_refused() {
    let of = |names: &[&str], shape: &[usize]| {
        let mut checkpoint = Checkpoint::new();
        for name in names {
            checkpoint.insert(*name, counted(Dtype::F32, shape));
        }
        checkpoint
    };
    let long = "x".repeat(65_401);
    let cut = "x".repeat(200);
    for (names, text) in [
        (&["a\0b"][..], "a name without a zero character, or another format, got a\\0b"),
        (&["a", "a.npy"], "no name that is another's with .npy, or another format, got a.npy"),
        (&[&long], &format!("a name of at most 65400 bytes, or another format, got {cut}…")),
    ] {
        let text = format!("name: expected {text}");
        refusal(&of(names, &[1]), FileFormat::Npz, ErrorKind::Config, &text);
        let folder = tempfile::tempdir().unwrap();
        save(&of(names, &[1]), folder.path(), "pth");
    }
    let long = "x".repeat(65_400);
    let folder = tempfile::tempdir().unwrap();
    let opened = Checkpoint::open(save(&of(&[&long], &[1]), folder.path(), "npz")).unwrap();
    assert!(opened.get(&long).is_some());

    let text = "a: expected at most 64 axes, which NumPy has, or another format, got 65";
    refusal(&of(&["a"], &[1; 65]), FileFormat::Npz, ErrorKind::Shape, text);
    save(&of(&["a"], &[1; 64]), folder.path(), "of_64_axes.npz");
    let extents = [0, 1 << 31, 1 << 30];
    save(&of(&["a"], &[0, 1 << 31, (1 << 30) - 1]), folder.path(), "pth");
    for format in [FileFormat::Npz, FileFormat::PyTorch] {
        let text = format!(
            "a: expected extents whose product fits 63 bits, or the format safetensors, got F32 \
             {extents:?}"
        );
        refusal(&of(&["a"], &extents), format, ErrorKind::Overflow, &text);
    }
}

#[test]
fn texts_without_which_layers_are_others_are_refused() {
    let layer = |size, groups, pairing| -> DoConv2d<f32> {
        let config = DoConv2dConfig::new(8, 8, size).groups(groups).pairing(pairing);
        config.init(1).unwrap()
    };
    let of = |layer: &DoConv2d<f32>| {
        let mut checkpoint = Checkpoint::new();
        checkpoint.insert_layer("a", layer).unwrap();
        checkpoint.metadata_mut().insert("note".into(), "left out".into());
        checkpoint
    };
    // A square kernel, and a pairing that the identity beside D tells or that doesn't matter.
    for layer in [
        layer([3, 3], 1, Pairing::InputChannel),
        layer([3, 3], 2, Pairing::PyTorch),
        layer([3, 3], 8, Pairing::InputChannel),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let opened = Checkpoint::open(save(&of(&layer), folder.path(), "ckpt")).unwrap();
        assert!(opened.metadata().is_empty());
        let layers = opened.layers(&LayerOptions::default()).unwrap();
        assert_eq!(layers[0].kernel_size(), Some([3, 3]));
        let config = layers[0].config().unwrap();
        let again: DoConv2d<f32> = opened.layer(&layers[0], config).unwrap();
        assert_eq!(again.fold().weight(), layer.fold().weight());
    }
    for (layer, keys) in [
        (layer([2, 3], 1, Pairing::InputChannel), "do_conv.kernel_size.a"),
        (layer([3, 3], 2, Pairing::InputChannel), "do_conv.kernel_size.a, do_conv.pairing.a"),
        (layer([3, 3], 2, Pairing::TensorFlow), "do_conv.kernel_size.a, do_conv.pairing.a"),
    ] {
        for format in [FileFormat::PyTorch, FileFormat::Npz] {
            let text = format!(
                "metadata: expected the format safetensors, or none of the metadata that says what \
                 layers are, got the format {format} and {keys}"
            );
            refusal(&of(&layer), format, ErrorKind::Config, &text);
        }
        let mut without = of(&layer);
        without.metadata_mut().clear();
        let folder = tempfile::tempdir().unwrap();
        save(&without, folder.path(), "npz");
    }
    // A file whose layers can't be found either way.
    let mut broken = of(&layer([3, 3], 1, Pairing::InputChannel));
    broken.insert("b.D", tensor(&[2, 4, 4], |_| 0.0));
    let options = SaveOptions::default().format(FileFormat::PyTorch);
    let folder = tempfile::tempdir().unwrap();
    let error = broken.save(folder.path().join("file"), &options).unwrap_err();
    assert_eq!((error.kind, &*error.field), (ErrorKind::Config, "metadata"), "{error}");
}

#[test]
fn the_extension_tells_the_format_unless_it_is_told() {
    for (path, format) in [
        ("net.pth.tar", FileFormat::PyTorch),
        ("a", FileFormat::Safetensors),
        (".hidden", FileFormat::Safetensors),
        ("a.safetensors", FileFormat::Safetensors),
        ("a.pth", FileFormat::PyTorch),
        ("folder.npz/a.PT", FileFormat::PyTorch),
        ("a.npz.ckpt", FileFormat::PyTorch),
        ("pytorch_model.bin", FileFormat::PyTorch),
        ("a.Npz", FileFormat::Npz),
    ] {
        assert_eq!(FileFormat::of_path(path).unwrap(), format, "{path}");
    }
    let choices = "the extension .safetensors, .pth, .pt, .ckpt, .bin, .npz or none, or to be told \
                   the format";
    refused(
        FileFormat::of_path("net.onnx"),
        ErrorKind::Config,
        &format!("FileFormat::of_path: net.onnx: expected {choices}, got .onnx"),
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.v2");
    let text = format!("Checkpoint::save: {}: expected {choices}, got .v2", path.display());
    let checkpoint = checkpoint(&[Dtype::F32]);
    refused(checkpoint.save(&path, &SaveOptions::default()), ErrorKind::Config, &text);
    for format in FileFormat::ALL {
        checkpoint.save(&path, &SaveOptions::default().format(format).overwrite(true)).unwrap();
        let start = fs::read(&path).unwrap()[..2].to_vec();
        assert_eq!(start == b"PK", format != FileFormat::Safetensors);
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    refused(
        "onnx".parse::<FileFormat>(),
        ErrorKind::Value,
        "FileFormat::from_str: name: expected safetensors, pytorch, npz, got onnx",
    );
}

#[test]
fn an_error_on_the_way_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("a", counted(Dtype::U8, &[100_000]));
    checkpoint.insert("b", counted(Dtype::U8, &[100_000]));
    checkpoint.save(&source, &SaveOptions::default()).unwrap();
    let opened = Checkpoint::open(&source).unwrap();
    fs::OpenOptions::new().write(true).open(&source).unwrap().set_len(150_000).unwrap();
    for extension in ["pth", "npz"] {
        let path = folder.path().join(format!("written.{extension}"));
        let error = opened.save(&path, &SaveOptions::default()).unwrap_err();
        assert_eq!((error.kind, &*error.field), (ErrorKind::Format, "b"), "{error}");
        fs::write(&path, "mine").unwrap();
        let error = checkpoint.save(&path, &SaveOptions::default()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Exists);
        let error = opened.save(&path, &SaveOptions::default().overwrite(true)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Format);
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        fs::remove_file(path).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }
}
