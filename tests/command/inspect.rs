//! What `do-conv inspect` prints.

use std::fs;

use do_conv::checkpoint::{Checkpoint, SaveOptions};
use serde_json::{Value, json};

use super::{command, folder, save_small, stderr, stdout, tensor};

#[test]
fn inspect_shows_every_layer() {
    let folder = folder();
    let got = stdout(&["inspect", "in"], folder.path());
    assert_eq!(
        got,
        "\
layer  type      W          D          kernel  d_mul  dtype  pairing           parameters  folded
a      DO-Conv   [2, 3, 6]  [3, 6, 6]  ?           6  F32    -                        144      36
g      DO-GConv  [8, 2, 4]  [8, 4, 4]  2x2         4  F32    PyTorch (d_diag)         192      64

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
fn tables_fit_the_columns_that_there_are() {
    let folder = folder();
    let output = command(folder.path()).args(["inspect", "in"]).env("COLUMNS", "60").output();
    let got = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(
        got.starts_with(
            "\
layer  type      W          D          kernel  d_mul  dtype
    pairing           parameters  folded
a      DO-Conv   [2, 3, 6]  [3, 6, 6]  ?           6  F32
    -                        144      36
"
        ),
        "{got}"
    );
}

#[test]
fn large_numbers_have_their_thousands_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("a.W", tensor(&[1234, 1000, 1], |_| 1.0));
    checkpoint.save(folder.path().join("in"), &SaveOptions::default()).unwrap();
    let got = stdout(&["inspect", "in"], folder.path());
    assert!(got.contains("1 DO-Conv layer, 1,234,000 parameters, 1,234,000 folded"), "{got}");
    let got = stdout(&["fold", "in", "out"], folder.path());
    assert!(got.ends_with("out: 1 tensor, 4.94 MB\n"), "{got}");
}

#[test]
fn json_has_all_that_the_table_has() {
    let folder = folder();
    let path = folder.path();
    let got: Value = serde_json::from_str(&stdout(&["inspect", "in", "--json"], path)).unwrap();
    let layer = json!({
        "name": "g", "form": "DO-GConv", "w_shape": [8, 2, 4], "d_shape": [8, 4, 4],
        "kernel_size": [2, 2], "d_mul": 4, "groups": 4, "in_channels": 8, "out_channels": 8,
        "bias": false, "dtype": "F32", "pairing": "pytorch", "pairing_matters": true,
        "pairing_source": "d_diag", "parameters": { "trained": 192, "folded": 64 },
        "tensors": ["g.W", "g.D", "g.d_diag"],
    });
    assert_eq!(got["layers"][1], layer);
    assert_eq!(got["layers"][0]["kernel_size"], Value::Null);
    assert_eq!(got["file"], "in");
    assert_eq!(got["parameters"], json!({ "trained": 336, "folded": 100 }));
    let mean = json!({ "name": "bn.running_mean", "dtype": "F32", "shape": [2], "bytes": 8 });
    assert_eq!(got["other_tensors"][0], mean);
    assert_eq!(got["other_tensors"].as_array().unwrap().len(), 2);
}

#[test]
fn several_files_have_headings_or_an_array() {
    let folder = folder();
    let path = folder.path();
    save_small(&path.join("small"));
    let alone = ["in", "small"].map(|name| stdout(&["inspect", name], path));
    let got = stdout(&["inspect", "in", "small"], path);
    assert_eq!(got, format!("in:\n{}\nsmall:\n{}", alone[0], alone[1]));

    let got: Value =
        serde_json::from_str(&stdout(&["inspect", "in", "small", "--json"], path)).unwrap();
    for (index, name) in ["in", "small"].into_iter().enumerate() {
        let alone = stdout(&["inspect", name, "--json"], path);
        assert_eq!(got[index], serde_json::from_str::<Value>(&alone).unwrap());
    }
    fs::write(path.join("broken"), "PK").unwrap();
    let error = stderr(&["inspect", "in", "broken"], path);
    assert!(error.starts_with("error: broken: "), "{error}");
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
g      DO-GConv  [8, 2, 4]  [8, 4, 4]  2x2         4  F32    ?               192      64

1 DO-Conv layer, 192 parameters, 64 folded; 4 other tensors
layers to be told their pairing, --pairing input-channel, pytorch or tensorflow: g
"
    );
    let refusal = stderr(&["fold", "bare", "out", "--skip", "a"], path);
    assert_eq!(
        refusal,
        "error: bare: g: nothing in the file tells how D and W are paired, which matters for its 4 \
         groups of several inputs or outputs\nhint: --pairing pytorch if the published PyTorch code \
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
