//! What the command says where it refuses.

use std::fs;

use do_conv::checkpoint::{Checkpoint, SaveOptions};

use super::{failure, folder, stderr, tensor};

#[test]
fn failures_write_nothing_and_say_what_to_do() {
    let folder = folder();
    let path = folder.path();
    fs::write(path.join("mine"), "mine").unwrap();
    let kernel = ["--kernel", "a=2x3"];
    for (arguments, error) in [
        (
            &["fold", "in", "out"][..],
            "error: in: a: its kernel size can't be told from 6 taps: 1x6, 2x3, 3x2 or 6x1\nhint: \
             --kernel a=2x3\n",
        ),
        (
            &["fold", "in", "mine", kernel[0], kernel[1]],
            "error: mine: exists already\nhint: --force replaces it\n",
        ),
        (
            &["fold", "in", "in", "--force", kernel[0], kernel[1]],
            "error: in: this is an input, which stays as it is\n",
        ),
        (
            &["fold", "in", "./in", "--force", kernel[0], kernel[1]],
            "error: ./in: this is an input, which stays as it is\n",
        ),
        (
            &["fold", "in", "out", "--report", "mine", kernel[0], kernel[1]],
            "error: mine: exists already\nhint: --force replaces it\n",
        ),
        (
            &["fold", "in", "out", "--report", "./out", "--force", kernel[0], kernel[1]],
            "error: ./out: output and report in one file\n",
        ),
        (
            &["fold", "in", "out", "--report", ".", "--force", kernel[0], kernel[1]],
            "error: .: isn't a regular file, but another kind of thing\n",
        ),
        (
            &["fold", "in", ".", "--force", kernel[0], kernel[1]],
            "error: .: isn't a regular file, but another kind of thing\n",
        ),
        (
            &["fold", "in", "out", "--format", "tensorflow"],
            "error: in: a.D: expected a tensor a.kernel beside it, got none\nhint: --format says \
             whose checkpoint it is; --skip NAME leaves a layer as it is\n",
        ),
        (
            &["inspect", "in", "--key", "model"],
            "error: in: --key: only PyTorch files have dictionaries in dictionaries\n",
        ),
    ] {
        assert_eq!(stderr(arguments, path), error);
    }
    let missing = stderr(&["inspect", "missing"], path);
    assert!(missing.starts_with("error: missing: can't be read: "), "{missing}");
    let missing = stderr(&["fold", "in", "missing/out", kernel[0], kernel[1]], path);
    assert!(missing.starts_with("error: missing/out: can't be written: "), "{missing}");
    let twice = ["fold", "in", "out", kernel[0], kernel[1], kernel[0], kernel[1]];
    assert_eq!(failure(2, &twice, path), "error: --kernel twice for a\n");
}

#[test]
fn names_that_are_not_there_are_answered_by_those_that_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut checkpoint = Checkpoint::new();
    for name in ["layer1.conv1", "layer1.conv2", "layer2.conv1"] {
        checkpoint.insert(format!("{name}.W"), tensor(&[2, 3, 1], |_| 1.0));
    }
    checkpoint.insert("layer1.bn1.running_mean", tensor(&[2], |_| 1.0));
    checkpoint.save(path.join("in"), &SaveOptions::default()).unwrap();
    let norm = "layer1.conv1=layer1.bn2";
    for (arguments, error) in [
        (
            &["--kernel", "layer1.cnov1=1x1"][..],
            "--kernel: there is no DO-Conv layer layer1.cnov1\nhint: did you mean layer1.conv1?\n",
        ),
        (
            &["--skip", "head"],
            "--skip: there is no DO-Conv layer head\nhint: the layers are layer1.conv1, layer1.conv2 \
             and layer2.conv1\n",
        ),
        (
            &["--fold-batch-norm", "layer2.conv2=bn"],
            "--fold-batch-norm: there is no DO-Conv layer layer2.conv2\nhint: did you mean \
             layer1.conv2 or layer2.conv1?\n",
        ),
        (
            &["--fold-batch-norm", norm],
            "--fold-batch-norm: there is no batch normalisation layer1.bn2\nhint: did you mean \
             layer1.bn1?\n",
        ),
        (
            &["--rename", "w=kernel"],
            "--rename: there is W to rename, and bias, but no w\nhint: --rename W=kernel\n",
        ),
    ] {
        let fold = [&["fold", "in", "out"], arguments].concat();
        assert_eq!(stderr(&fold, path), format!("error: in: {error}"));
    }
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/reference_checkpoints/mixed.pth");
    fs::copy(data, path.join("mixed.pth")).unwrap();
    let error = stderr(&["inspect", "mixed.pth", "--key", "stat_dict"], path);
    assert!(
        error.starts_with("error: mixed.pth: --key: there is no dictionary stat_dict\n"),
        "{error}"
    );
    // A value that is none of an option's.
    let error = failure(2, &["inspect", "in", "--format", "tensorflw"], path);
    assert!(error.contains("tensorflow"), "{error}");
}

#[test]
fn sentences_go_by_the_kind_of_an_error_and_not_by_a_layer_s_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for name in ["layers", "key", "max_bytes"] {
        let mut checkpoint = Checkpoint::new();
        checkpoint.insert("z.W", tensor(&[2, 3, 1], |_| 1.0));
        checkpoint.insert(format!("{name}.W"), tensor(&[2, 3, 6], |_| 1.0));
        checkpoint.insert(format!("{name}.D"), tensor(&[3, 6, 6], |_| 0.0));
        checkpoint.save(path.join(name), &SaveOptions::default()).unwrap();
        for arguments in [&["fold", name, "out"][..], &["fold", name, "--dry-run"]] {
            let error = format!(
                "error: {name}: {name}: its kernel size can't be told from 6 taps: 1x6, 2x3, 3x2 or \
                 6x1\nhint: --kernel {name}=2x3\n"
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
            "error: plain: there is no DO-Conv layer in it\nhint: --format tensorflow or --format \
             gluon for checkpoints of these\n",
        ),
        (
            &["inspect", "plain", "--max-bytes", "15"],
            "error: plain: it unpacks to 16 B, more than --max-bytes allows\nhint: --max-bytes 16 if \
             the file can be trusted\n",
        ),
        (
            &["fold", "layers", "out", "--kernel", "layers=2x3", "--eps=-1"],
            "error: layers: --eps: expected a finite number that is not negative, got -1\n",
        ),
    ] {
        assert_eq!(stderr(arguments, path), error);
    }
}
