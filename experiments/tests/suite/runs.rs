//! What runs give.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use do_conv_experiments::record::{Kind, RunResult};
use tempfile::tempdir;

use crate::{command, grid, results};

/// A few steps of few images.
const SMALL: &str = "--images 64 --batch 32 --blocks 1 --seeds 1 --epochs";

fn ran(folder: &Path, options: &str) -> Vec<RunResult> {
    let output = grid(folder, options);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    results(folder)
}

#[test]
fn numbers_do_not_depend_on_threads_or_jobs() {
    let [one, two] = [tempdir().unwrap(), tempdir().unwrap()];
    let tasks = format!("--task classify,segment,detect {SMALL} 1");
    let of_one = ran(one.path(), &format!("{tasks} --threads 1"));
    let of_two = ran(two.path(), &format!("{tasks} --threads 2 --jobs 3"));
    assert_eq!(of_one, of_two);
    assert_eq!(of_one.len(), 6);
    for result in &of_one {
        assert_eq!(result.epochs.len(), 1);
        let epoch = result.epochs[0];
        assert!(epoch.train_loss.is_finite() && epoch.test_loss.is_finite());
        // What burn's metrics say of the last epoch and what the trained net answers.
        assert_eq!(result.metric, epoch.test_metric);
        assert_eq!((result.folded_metric, result.other_bits), (result.metric, 0));
    }
}

#[test]
fn every_net_trains_and_folds_with_the_same_bits() {
    let folder = tempdir().unwrap();
    let options = format!("--d-init random --d-mul mn+2 {SMALL} 1 --jobs 2");
    let with_dense = "--net tutorial,plain,resnet-v1b,resnet-v2,resnext --kind do-conv,separable";
    let mut results = ran(folder.path(), &format!("{with_dense} {options}"));
    results.extend(ran(folder.path(), &format!("--net mobilenet {options}")));
    assert_eq!(results.len(), 5 * 3 + 2);
    for result in results {
        assert_eq!(result.other_bits, 0, "{:?}", result.config);
        let is_larger = result.parameters > result.folded_parameters;
        assert_eq!(is_larger, result.config.kind == Kind::DoConv, "{:?}", result.config);
    }
}

#[test]
fn the_offset_of_d_decays_if_asked_to() {
    let folder = tempdir().unwrap();
    let results = ran(
        folder.path(),
        &format!("--net tutorial --weight-decay 0.1 --decay-offset true,false {SMALL} 2"),
    );
    let losses: Vec<_> =
        results.iter().map(|result| result.epochs[1].train_loss.to_bits()).collect();
    let [plain, decayed, kept] = losses[..] else { panic!("{losses:?}") };
    assert!(plain != decayed && decayed != kept && plain != kept);
}

/// Killed once the first epoch's checkpoint is there, the run is taken up again.
#[test]
fn a_run_that_was_killed_ends_with_the_same_numbers() {
    let [whole, killed] = [tempdir().unwrap(), tempdir().unwrap()];
    let options = "--images 512 --batch 32 --blocks 1 --seeds 1 --epochs 4 --threads 1";
    let expected = ran(whole.path(), options);

    let mut run = command(&["grid", "--out"]);
    run.arg(killed.path()).args(options.split_whitespace());
    let mut run = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let runs = killed.path().join("runs");
    let is_there = || {
        let folders = std::fs::read_dir(&runs).into_iter().flatten().flatten();
        folders.map(|run| run.path().join("checkpoint/scheduler-1.bpk")).any(|file| file.is_file())
    };
    while !is_there() {
        assert!(run.try_wait().unwrap().is_none(), "ended before its first checkpoint");
        std::thread::sleep(Duration::from_millis(5));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    // The run's own process ends as well, and leaves its lock.
    let folders = std::fs::read_dir(&runs).unwrap().flatten();
    let mut locks = folders.filter_map(|run| File::open(run.path().join("lock")).ok());
    let lock = locks.next().unwrap();
    lock.lock().unwrap();
    drop(lock);
    let done = std::fs::read_dir(&runs).unwrap().flatten();
    let done = done.filter(|file| file.path().extension().is_some_and(|e| e == "json")).count();
    assert!(done < expected.len(), "killed too late");
    assert_eq!(ran(killed.path(), options), expected);
}
