//! What `do-conv fold` writes, and where.

use std::fs;

use do_conv::checkpoint::Checkpoint;
use serde_json::{Value, json};

use super::{failure, files, folder, names, save_small, stderr, stdout};

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
    assert_eq!(layers[0]["parameters"], json!({ "trained": 144, "folded": 36 }));
    assert_eq!(report["pairing_sources"], json!({ "g": "d_diag" }));
    let options = &report["options"];
    assert_eq!(options["kernel"], json!({ "a": "2x3" }));
    assert_eq!(options["rename"], json!({ "W": "kernel" }));
    assert_eq!(options["fold_batch_norm"], json!({ "a": "bn" }));
    assert_eq!([&options["format"], &options["eps"]], [&json!("pytorch"), &json!(0.0)]);

    let dry = stdout(&["fold", "in", "--kernel", "a=2x3", "--dry-run"], path);
    assert!(dry.ends_with("nothing was written\n"), "{dry}");
    let other = stdout(&["fold", "in", "other", "--kernel", "a=2x3", "--dry-run"], path);
    assert_eq!(dry, other);
    assert_eq!(files(path).len(), 3);
}

#[test]
fn several_files_go_into_a_folder_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    save_small(&path.join("a.pth"));
    save_small(&path.join("b"));
    stdout(&["fold", "a.pth", "single"], path);
    let into = ["fold", "a.pth", "b", "--out-dir", "new"];
    let dry = stdout(&[&into[..], &["--dry-run"]].concat(), path);
    assert_eq!(dry.matches("nothing was written").count(), 2, "{dry}");
    assert_eq!(names(path), ["a.pth", "b", "single"]);

    let got = stdout(&[&into[..], &["--report", "report"]].concat(), path);
    assert!(got.starts_with("a.pth:\nlayer") && got.contains("\nb:\nlayer"), "{got}");
    assert_eq!(names(&path.join("new")), ["a.safetensors", "b.safetensors"]);
    let single = fs::read(path.join("single")).unwrap();
    assert!(files(&path.join("new")).iter().all(|(_, contents)| *contents == single));
    let report: Value = serde_json::from_slice(&fs::read(path.join("report")).unwrap()).unwrap();
    assert_eq!(report[1]["input"], "b");
    assert!(report[1]["output"].as_str().unwrap().ends_with("b.safetensors"));

    // One that is there makes all fail.
    save_small(&path.join("c"));
    let error = stderr(&["fold", "c", "b", "--out-dir", "new"], path);
    assert!(error.contains("b.safetensors: exists already\nhint: --force"), "{error}");
    assert_eq!(names(&path.join("new")), ["a.safetensors", "b.safetensors"]);
    stdout(&["fold", "c", "b", "--out-dir", "new", "--force"], path);
    assert_eq!(names(&path.join("new")).len(), 3);
}

#[test]
fn files_that_would_be_one_are_refused_before_anything_is_written() {
    let folder = folder();
    let path = folder.path();
    save_small(&path.join("a.pth"));
    save_small(&path.join("a.npz"));
    save_small(&path.join("own.safetensors"));
    let error = stderr(&["fold", "a.pth", "a.npz", "--out-dir", "new"], path);
    assert_eq!(
        error.replace('\\', "/"),
        "error: a.npz: a.pth would be new/a.safetensors too\nhint: fold files of one name into \
         folders of their own\n"
    );
    let error = stderr(&["fold", "own.safetensors", "--out-dir", ".", "--force"], path);
    assert!(error.ends_with("own.safetensors: this is an input, which stays as it is\n"));
    // A folder that was made for nothing goes.
    stderr(&["fold", "a.pth", "in", "--out-dir", "new"], path);
    assert!(!path.join("new").exists());

    let usage = "hint: do-conv fold IN OUT, or do-conv fold IN... --out-dir DIR\n";
    for arguments in [&["fold", "in"][..], &["fold", "in", "b", "c"]] {
        let error = failure(2, arguments, path);
        assert!(error.ends_with(usage), "{error}");
    }
    for arguments in [&["fold"][..], &["fold", "in", "out", "--kernel", "a=6"], &["melt"]] {
        failure(2, arguments, path);
    }
}

#[test]
fn the_examples_in_the_help_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for name in ["trained.pth", "run1.pth", "run2.pth"] {
        save_small(&path.join(name));
    }
    let mut count = 0;
    for command in ["inspect", "fold"] {
        let help = stdout(&[command, "--help"], path);
        for line in help.lines().filter_map(|line| line.strip_prefix("  do-conv ")) {
            stdout(&line.split(' ').collect::<Vec<_>>(), path);
            count += 1;
        }
    }
    assert_eq!(count, 8);
    let written = ["folded", "folded.pth", "folded.safetensors", "report.json"];
    assert!(written.iter().all(|name| path.join(name).exists()));
}
