//! The command `do-conv` as a user has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use do_conv::checkpoint::{Checkpoint, Dtype, SaveOptions, Tensor};
use serde_json::Value;

fn do_conv(arguments: &[&str], folder: &Path) -> Output {
    let command = env!("CARGO_BIN_EXE_do-conv");
    Command::new(command).args(arguments).current_dir(folder).output().unwrap()
}

/// The output of a command that must succeed.
#[track_caller]
fn stdout(arguments: &[&str], folder: &Path) -> String {
    let output = do_conv(arguments, folder);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The error of a command that must fail, and write nothing.
#[track_caller]
fn stderr(arguments: &[&str], folder: &Path) -> String {
    let before = files(folder);
    let output = do_conv(arguments, folder);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(files(folder), before);
    String::from_utf8(output.stderr).unwrap()
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    files.sort();
    files
}

fn tensor(shape: &[usize], value: impl FnMut(usize) -> f32) -> Tensor {
    let elements: usize = shape.iter().product();
    let bytes: Vec<u8> = (0..elements).map(value).flat_map(f32::to_le_bytes).collect();
    Tensor::new(Dtype::F32, shape, &bytes).unwrap()
}

/// A folder with a checkpoint `in`: a layer of 1×4 taps whose `D` is the identity, one of four groups
/// that pairs as PyTorch does, and a batch normalisation.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("a.W", tensor(&[2, 3, 6], |index| index as f32));
    checkpoint.insert("a.D", tensor(&[3, 6, 6], |_| 0.0));
    checkpoint.insert("g.W", tensor(&[8, 2, 4], |index| index as f32));
    checkpoint.insert("g.D", tensor(&[8, 4, 4], |_| 0.5));
    checkpoint.insert("g.d_diag", tensor(&[8, 4, 4], |index| f32::from(index % 16 % 5 == 0)));
    for (part, value) in [("running_mean", 1.0), ("running_var", 4.0)] {
        checkpoint.insert(format!("bn.{part}"), tensor(&[2], |_| value));
    }
    checkpoint.save(folder.path().join("in"), &SaveOptions::default()).unwrap();
    folder
}

#[test]
fn inspect_shows_every_layer() {
    let folder = folder();
    let got = stdout(&["inspect", "in"], folder.path());
    assert_eq!(
        got,
        "\
layer  type      W          D          kernel  d_mul  dtype  pairing           parameters  folded
a      DO-Conv   [2, 3, 6]  [3, 6, 6]  ?       6      F32    -                 144         36
g      DO-GConv  [8, 2, 4]  [8, 4, 4]  2x2     4      F32    PyTorch (d_diag)  192         64

2 DO-Conv layers, 336 parameters, 100 folded; 2 other tensors
grouped layers that need the PyTorch pairing: g
layers to be told their kernel size, --kernel NAME=MxN: a
"
    );
    let other = stdout(
        &["inspect", "in", "--pairing", "input-channel", "--kernel", "a=2x3", "--skip", "g"],
        folder.path(),
    );
    assert!(other.contains("2x3") && !other.contains("pairing:"), "{other}");
}

#[test]
fn inspect_says_what_tells_a_pairing_and_fold_refuses_one_that_nothing_tells() {
    let folder = folder();
    let path = folder.path();
    let mut checkpoint = Checkpoint::open(path.join("in")).unwrap();
    checkpoint.remove("g.d_diag");
    checkpoint.save(path.join("bare"), &SaveOptions::default()).unwrap();
    let got = stdout(&["inspect", "bare", "--skip", "a"], path);
    assert_eq!(
        got,
        "\
layer  type      W          D          kernel  d_mul  dtype  pairing  parameters  folded
g      DO-GConv  [8, 2, 4]  [8, 4, 4]  2x2     4      F32    ?        192         64

1 DO-Conv layers, 192 parameters, 64 folded; 4 other tensors
layers to be told their pairing, --pairing input-channel, pytorch or tensorflow: g
"
    );
    let refusal = stderr(&["fold", "bare", "out", "--skip", "a"], path);
    assert_eq!(
        refusal,
        "error: Checkpoint::fold: g: expected to be told its pairing, as --pairing input-channel, \
         pytorch or tensorflow, got 4 groups of several inputs or outputs, and in the file neither g.d_diag nor \
         do_conv.pairing in the metadata\nhint: --pairing pytorch if the published PyTorch code \
         trained it, input-channel if do-conv's layers or adapters did\n"
    );
    let told = ["--skip", "a", "--pairing", "tensorflow"];
    let got = stdout(&[&["inspect", "bare"], &told[..]].concat(), path);
    assert!(got.contains("TensorFlow (--pairing)"), "{got}");
    stdout(&[&["fold", "bare", "out"], &told[..]].concat(), path);

    checkpoint.metadata_mut().insert("do_conv.pairing".into(), "input_channel".into());
    checkpoint.save(path.join("told"), &SaveOptions::default()).unwrap();
    let got = stdout(&["inspect", "told", "--skip", "a"], path);
    assert!(got.contains("input channel (metadata)") && !got.contains("to be told"), "{got}");
    stdout(&["fold", "told", "other", "--skip", "a"], path);
}

#[test]
fn fold_writes_checks_and_reports() {
    let folder = folder();
    let path = folder.path();
    let input = fs::read(path.join("in")).unwrap();
    let fold = ["fold", "in", "out", "--kernel", "a=2x3", "--rename", "W=kernel"];
    let norm = ["--fold-batch-norm", "a=bn", "--eps", "0", "--report", "report.json"];
    let got = stdout(&[&fold[..], &norm].concat(), path);
    assert!(got.contains("2 layers folded and checked, 336 parameters to 100"), "{got}");
    assert!(got.contains("out: 3 tensors"), "{got}");
    assert_eq!(fs::read(path.join("in")).unwrap(), input);

    let folded = Checkpoint::open(path.join("out")).unwrap();
    let names: Vec<_> = folded.tensors().map(|(name, _)| name).collect();
    assert_eq!(names, ["a.bias", "a.kernel", "g.kernel"]);
    let kernel = folded.values("a.kernel").unwrap();
    assert_eq!(kernel.shape(), [2, 3, 2, 3]);
    assert!(kernel.iter().copied().eq((0..36).map(|index| f64::from(index) / 2.0)));
    assert!(folded.values("a.bias").unwrap().iter().eq(&[-0.5, -0.5]));

    let report: Value =
        serde_json::from_slice(&fs::read(path.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["input"], "in");
    let layers = report["folded"]["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    assert_eq!(layers[0]["batch_norm"], "bn");
    assert_eq!(layers[1]["pairing"], "pytorch");
    assert!(layers[1]["difference"].as_f64() <= layers[1]["bound"].as_f64());
    assert_eq!(layers[0]["parameters"], serde_json::json!({ "trained": 144, "folded": 36 }));

    let dry = stdout(&["fold", "in", "--kernel", "a=2x3", "--dry-run"], path);
    assert!(dry.ends_with("nothing was written\n"), "{dry}");
    assert_eq!(files(path).len(), 3);
}

#[test]
fn failures_write_nothing_and_say_what_to_do() {
    let folder = folder();
    let path = folder.path();
    fs::write(path.join("mine"), "mine").unwrap();
    let kernel = ["--kernel", "a=2x3"];
    for (arguments, error) in [
        (
            &["fold", "in", "out"][..],
            "error: Checkpoint::fold: a: expected to be told its kernel size, 1x6 or 2x3 or 3x2 or \
             6x1, got 6 taps\nhint: --kernel a=MxN\n",
        ),
        (
            &["fold", "in", "mine", kernel[0], kernel[1]],
            "error: Checkpoint::fold: mine: expected a new file, or leave to overwrite it, got an \
             existing one\nhint: --force overwrites it\n",
        ),
        (
            &["fold", "in", "in", "--force", kernel[0], kernel[1]],
            "error: in: this is the input, which stays as it is\n",
        ),
        (
            &["fold", "in", "./in", "--force", kernel[0], kernel[1]],
            "error: ./in: this is the input, which stays as it is\n",
        ),
        (
            &["fold", "in", "out", "--report", "mine", kernel[0], kernel[1]],
            "error: mine: exists; --force overwrites it\n",
        ),
        (
            &["fold", "in", "out", "--report", "./out", "--force", kernel[0], kernel[1]],
            "error: ./out: output and report in one file\n",
        ),
        (
            &["fold", "in", "out", "--report", ".", "--force", kernel[0], kernel[1]],
            "error: .: not a regular file\n",
        ),
        (
            &["fold", "in", ".", "--force", kernel[0], kernel[1]],
            "error: Checkpoint::fold: .: expected a regular file to overwrite, got another kind of \
             thing\n",
        ),
        (
            &["fold", "in", "out", kernel[0], kernel[1], kernel[0], kernel[1]],
            "error: --kernel twice for a\n",
        ),
        (
            &["fold", "in", "out", "--format", "tensorflow"],
            "error: Checkpoint::layers: a.D: expected a tensor a.kernel beside it, got none\nhint: \
             --format says whose checkpoint it is; --skip NAME leaves a layer as it is\n",
        ),
        (
            &["inspect", "in", "--key", "model"],
            "error: Checkpoint::open: key: expected none: only PyTorch files have dictionaries in \
             dictionaries, got model\nhint: --key KEY names a dictionary in a PyTorch file\n",
        ),
    ] {
        assert_eq!(stderr(arguments, path), error);
    }
    let missing = stderr(&["inspect", "missing"], path);
    assert!(missing.starts_with("error: Checkpoint::open: missing: expected a readable file, got"));
    for arguments in [&["fold", "in"][..], &["fold", "in", "out", "--kernel", "a=6"], &["melt"]] {
        assert_eq!(do_conv(arguments, path).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn hints_go_by_the_kind_of_an_error_and_not_by_a_layer_s_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for name in ["layers", "key", "max_bytes"] {
        let mut checkpoint = Checkpoint::new();
        checkpoint.insert("z.W", tensor(&[2, 3, 1], |_| 1.0));
        checkpoint.insert(format!("{name}.W"), tensor(&[2, 3, 6], |_| 1.0));
        checkpoint.insert(format!("{name}.D"), tensor(&[3, 6, 6], |_| 0.0));
        checkpoint.save(path.join(name), &SaveOptions::default()).unwrap();
        for (arguments, operation) in
            [(&["fold", name, "out"][..], "fold"), (&["fold", name, "--dry-run"], "check_fold")]
        {
            let error = format!(
                "error: Checkpoint::{operation}: {name}: expected to be told its kernel size, 1x6 or \
                 2x3 or 3x2 or 6x1, got 6 taps\nhint: --kernel {name}=MxN\n"
            );
            assert_eq!(stderr(arguments, path), error);
        }
    }
    let mut plain = Checkpoint::new();
    plain.insert("head.weight", tensor(&[2, 2], |_| 0.0));
    plain.save(path.join("plain"), &SaveOptions::default()).unwrap();
    for (arguments, error) in [
        (
            &["fold", "plain", "out"][..],
            "error: Checkpoint::fold: layers: expected a DO-Conv layer of that framework, got none\n\
             hint: --format tensorflow or --format gluon for checkpoints of these\n",
        ),
        (
            &["inspect", "plain", "--max-bytes", "15"],
            "error: Checkpoint::open: max_bytes: expected tensors of at most 15 bytes together \
             (max_bytes), got 16\nhint: --max-bytes N if the file can be trusted\n",
        ),
        (
            &["fold", "layers", "out", "--kernel", "layers=2x3", "--eps=-1"],
            "error: Checkpoint::fold: eps: expected a finite number that is not negative, got -1\n",
        ),
    ] {
        assert_eq!(stderr(arguments, path), error);
    }
}

#[test]
fn names_from_a_file_reach_the_terminal_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("\u{1b}[31m.W", tensor(&[1, 1, 1], |_| 1.0));
    let long = format!("{}.W", "\u{202e}".repeat(70_000));
    checkpoint.insert(long, tensor(&[1, 1, 1], |_| 1.0));
    checkpoint.save(folder.path().join("in"), &SaveOptions::default()).unwrap();
    for arguments in [&["inspect", "in"][..], &["fold", "in", "out"]] {
        let got = stdout(arguments, folder.path());
        assert!(!got.contains('\u{1b}') && got.contains("\\u{1b}[31m"), "{got}");
    }
}
