//! The command line, and what it refuses.

use tempfile::tempdir;

use crate::{command, grid, results};

fn refused(words: &[&str]) -> String {
    let output = command(words).output().unwrap();
    assert!(!output.status.success(), "{words:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn options_that_can_not_be_are_refused() {
    let grid = |option: &str, value: &str| refused(&["grid", option, value]);
    assert!(grid("--d-mul", "mm").contains("expected `mn`, `mn+K` or `Kmn`"));
    assert!(grid("--d-mul", "mn+0").contains("with a number K above 0"));
    assert!(grid("--epochs", "0").contains("expected a whole number above 0"));
    for rate in ["0", "nan", "1.5"] {
        assert!(grid("--learning-rate", rate).contains("expected a number above 0 and at most 1"));
    }
    assert!(grid("--weight-decay", "-1").contains("expected a number that is not below 0"));
    assert!(grid("--algorithm", "fft").contains("winograd4"));
    let study = refused(&["study", "nothing"]);
    assert!(study.contains("among tutorial, nets, ") && study.contains("got \"nothing\""));
    let full = refused(&["study", "tutorial"]);
    assert!(full.contains("expected --mnist DIR with the full set, or --quick"), "{full}");
}

#[test]
fn what_runs_can_not_do_is_said() {
    let folder = tempdir().unwrap();
    let failed = |options: &str| {
        let output = grid(folder.path(), &format!("--seeds 1 --epochs 1 {options}"));
        assert!(!output.status.success(), "{options}");
        assert!(!folder.path().join("results.json").exists());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let images = failed("--images 100000");
    assert!(images.contains("expected at most 2560 images, as fashion-mnist-"), "{images}");
    assert!(images.contains(" has, got 100000"), "{images}");
    assert!(failed("--images 8").contains("expected a batch of at most 8 images, got 64"));
    // Nothing is run if one of many can't be.
    let head = failed("--images 64 --net tutorial --replaced all,head");
    assert!(head.contains("expected a net that has layers of that kind there"), "{head}");
    assert!(!folder.path().join("runs").exists());
    let scenes = failed("--task segment --net tutorial");
    assert!(scenes.contains("expected a net of stages to look at scenes with"), "{scenes}");
    assert!(failed("--data nowhere").contains("nowhere: expected a file train-images-idx3-ubyte"));
}

/// Another set in a folder of the same name.
#[test]
fn results_of_other_images_are_not_taken() {
    let folder = tempdir().unwrap();
    let images = folder.path().join("fashion-mnist");
    std::fs::create_dir(&images).unwrap();
    let digits = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/mnist/data");
    for file in std::fs::read_dir(digits).unwrap().flatten() {
        std::fs::copy(file.path(), images.join(file.file_name())).unwrap();
    }
    let options = "--net tutorial --images 64 --epochs 1 --seeds 1";
    assert!(grid(folder.path(), options).status.success());
    let of_digits = format!("{options} --data {}", images.display());
    let output = grid(folder.path(), &of_digits);
    assert!(String::from_utf8_lossy(&output.stdout).contains("2 runs, 0 of them done"));
    assert!(results(folder.path())[0].config.data.starts_with("fashion-mnist-"));
}

#[test]
fn runs_that_are_done_are_not_done_again() {
    let folder = tempdir().unwrap();
    let options = "--net tutorial --images 64 --epochs 1 --seeds";
    assert!(grid(folder.path(), &format!("{options} 1")).status.success());
    let one = results(folder.path());
    let output = grid(folder.path(), &format!("{options} 2"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("4 runs, 2 of them done"));
    let two = results(folder.path());
    assert_eq!((one.len(), two.len()), (2, 4));
    assert_eq!(two[..2], one[..]);
    for file in ["runs.csv", "epochs.csv", "summary.csv", "table.md", "differences.svg"] {
        assert!(folder.path().join(file).is_file(), "{file}");
    }
    // Nothing is left of what burn wrote, beside the lock.
    let left = std::fs::read_dir(folder.path().join("runs")).unwrap();
    assert_eq!(left.count(), 4 + 1);

    let lock = std::fs::File::open(folder.path().join("runs/lock")).unwrap();
    lock.lock().unwrap();
    let output = grid(folder.path(), &format!("{options} 2"));
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("expected a folder that no other start works in"), "{error}");
}

/// A run that fails leaves the others their report.
#[test]
fn what_runs_gave_is_reported_though_others_fail() {
    let folder = tempdir().unwrap();
    let options = "--net tutorial --images 64 --epochs 1 --seeds";
    assert!(grid(folder.path(), &format!("{options} 1")).status.success());
    // A file in the place of the next run's folder.
    let runs = folder.path().join("runs");
    std::fs::remove_file(folder.path().join("results.json")).unwrap();
    for file in std::fs::read_dir(&runs).unwrap().flatten().map(|file| file.path()) {
        if file.to_string_lossy().contains("do-conv-") {
            std::fs::remove_file(&file).unwrap();
            std::fs::write(file.with_extension(""), "").unwrap();
        }
    }
    let output = grid(folder.path(), &format!("{options} 1"));
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 runs failed"));
    assert_eq!(results(folder.path()).len(), 1);
}

#[test]
fn studies_are_listed_and_fill_documents() {
    let listed = command(&["study"]).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("placement: Which layers does it help?"), "{listed}");

    let folder = tempdir().unwrap();
    let document = folder.path().join("report.md");
    let text = "# Report\n\n<!-- tutorial accuracy -->\nstale\n<!-- /tutorial accuracy -->\n";
    std::fs::write(&document, text).unwrap();
    let mut study = command(&["study", "tutorial", "--quick", "--jobs", "2", "--out"]);
    study.arg(folder.path().join("out")).arg("--document").arg(&document);
    let output = study.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&document).unwrap();
    assert!(text.contains("| do-conv | 4 |") && !text.contains("stale"), "{text}");
    assert!(folder.path().join("report/tutorial/differences.svg").is_file());
    assert!(folder.path().join("report/tutorial/summary.csv").is_file());
}
