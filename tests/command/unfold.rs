//! `unfold` and `verify`, and what the command takes of files as training scripts save them.

use std::fs;
use std::path::Path;

use do_conv::checkpoint::{Checkpoint, SaveOptions};
use serde_json::Value;

use super::{failure, stderr, stdout, tensor};

/// A plain net: two convolutions with normalisations, and one of a single input channel.
fn save_plain(path: &Path, first: f32) {
    let mut plain = Checkpoint::new();
    plain.insert("conv1.weight", tensor(&[4, 3, 3, 3], |index| first + index as f32 / 16.0));
    plain.insert("conv2.weight", tensor(&[4, 4, 3, 3], |index| 1.0 - index as f32 / 64.0));
    plain.insert("conv2.bias", tensor(&[4], |index| index as f32));
    for bn in ["bn1", "bn2"] {
        for (part, value) in
            [("weight", 2.0), ("bias", 1.0), ("running_mean", 0.5), ("running_var", 4.0)]
        {
            plain.insert(format!("{bn}.{part}"), tensor(&[4], |index| value + index as f32 / 4.0));
        }
    }
    plain.save(path, &SaveOptions::default()).unwrap();
}

#[test]
fn a_plain_net_is_unfolded_verified_and_folded_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    save_plain(&path.join("plain.safetensors"), 0.0);
    let got = stdout(
        &["unfold", "plain.safetensors", "start.pth", "--identity", "--d-mul", "conv2=20"],
        path,
    );
    assert!(got.contains("2 layers unfolded, 256 parameters to "), "{got}");
    let start = Checkpoint::open(path.join("start.pth")).unwrap();
    assert_eq!(start.get("conv2.W").unwrap().shape(), [4, 4, 20]);
    assert_eq!(start.get("conv2.d_diag").unwrap().shape(), [4, 9, 20]);

    let got = stdout(&["verify", "plain.safetensors", "start.pth"], path);
    assert!(got.ends_with("the same: 2 layers within rounding, 8 other tensors equal\n"), "{got}");
    stdout(&["fold", "start.pth", "back.safetensors"], path);
    let plain = fs::read(path.join("plain.safetensors")).unwrap();
    assert!(fs::read(path.join("back.safetensors")).unwrap() == plain);

    save_plain(&path.join("other.safetensors"), 1e-6);
    let output = super::do_conv(&["verify", "other.safetensors", "start.pth", "--json"], path);
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["is_same"], false);
    let layers = document["verified"]["layers"].as_array().unwrap();
    let same: Vec<_> = layers.iter().map(|layer| layer["kernel"]["is_same"].clone()).collect();
    assert_eq!(same, [false, true]);
}

#[test]
fn batch_normalisations_are_found_and_formats_go_by_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    save_plain(&path.join("plain"), 0.0);
    let got =
        stdout(&["fold", "plain", "folded.npz", "--fold-batch-norm", "auto", "--eps", "0"], path);
    let pairs = "\
convolution  batch normalisation  eps  told by
conv1        bn1                  0e0  auto
conv2        bn2                  0e0  auto
";
    assert!(got.contains(pairs), "{got}");
    assert!(got.contains("0 layers and 2 plain convolutions folded and checked"), "{got}");
    let folded = Checkpoint::open(path.join("folded.npz")).unwrap();
    let names: Vec<_> = folded.tensors().map(|(name, _)| name).collect();
    assert_eq!(names, ["conv1.bias", "conv1.weight", "conv2.bias", "conv2.weight"]);
    // (0 - 0.5) * 2 / sqrt(4) + 1
    assert_eq!(folded.values("conv1.bias").unwrap()[[0]], 0.5);
    assert_eq!(folded.values("conv1.weight").unwrap()[[0, 0, 0, 1]], 1.0 / 16.0);

    let error = stderr(&["fold", "plain", "out.bmp", "--fold-batch-norm", "auto"], path);
    assert!(error.starts_with("error: out.bmp: expected the extension .safetensors"), "{error}");
    assert!(error.ends_with("hint: --output-format safetensors, pytorch or npz\n"), "{error}");
    let error = failure(2, &["fold", "plain", "out", "--fold-batch-norm", "automatic"], path);
    assert!(error.contains("or auto"), "{error}");
}

#[test]
fn refusals_of_unfold_have_the_names_of_its_options() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    save_plain(&path.join("plain"), 0.0);
    for (arguments, start) in [
        (&["--layer", "lyer*"][..], "error: plain: --layer: expected "),
        (&["--skip", "lyer*"], "error: plain: --skip: expected "),
        (&["--groups", "x=2"], "error: plain: --groups: expected "),
        (&["--d-mul", "8"], "error: plain: conv1: expected "),
    ] {
        let error = stderr(&[&["unfold", "plain", "out"], arguments].concat(), path);
        assert!(error.starts_with(start), "{error}");
    }
    let mut depthwise = Checkpoint::new();
    depthwise.insert("dw.weight", tensor(&[4, 1, 3, 3], |_| 1.0));
    depthwise.save(path.join("dw"), &SaveOptions::default()).unwrap();
    let error = stderr(&["unfold", "dw", "out"], path);
    assert!(error.ends_with("hint: --depthwise dw or --groups dw=G\n"), "{error}");
    stdout(&["unfold", "dw", "out", "--depthwise", "d*"], path);
}

#[test]
fn what_is_taken_of_a_training_checkpoint_is_said_and_what_is_doubtful_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let saved = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/as_saved");
    if !saved.exists() {
        return; // a packaged crate doesn't have these
    }
    for name in ["fastai.pth", "mmengine_ema.pth", "web_page.pth"] {
        fs::copy(saved.join(name), path.join(name)).unwrap();
    }
    let got = stdout(&["inspect", "fastai.pth"], path);
    assert!(got.starts_with("state dict: model\npassed over: opt (a dictionary)\n\n"), "{got}");
    let document: Value =
        serde_json::from_str(&stdout(&["inspect", "fastai.pth", "--json"], path)).unwrap();
    assert_eq!(document["taken"]["key"], "model");

    let error = stderr(&["inspect", "mmengine_ema.pth"], path);
    assert!(error.contains("state_dict or ema_state_dict"), "{error}");
    assert!(error.ends_with("hint: --key KEY chooses, --key . takes the whole file\n"), "{error}");
    stdout(&["fold", "mmengine_ema.pth", "out", "--key", "ema_state_dict"], path);
    let error = stderr(&["inspect", "web_page.pth"], path);
    let start = "error: web_page.pth: expected a checkpoint: safetensors, PyTorch or .npz, got an HTML page";
    assert!(error.starts_with(start), "{error}");
    // That can't be told whether they differ isn't that they do.
    failure(2, &["verify", "fastai.pth", "web_page.pth"], path);
}
