//! What goes wrong on one rank ends all, with a word of what it was.

use std::fs::{File, read};
use std::time::{Duration, Instant};

use super::processes::{
    alone, job, job_with, mixed_job, printed, ranks, refused, refused_printing, signal, started,
};

const SOON: Duration = Duration::from_secs(20);
/// Ends long after a test does.
const LONG: &str = "train --epochs 100000 --report 1";

#[test]
fn a_rank_that_is_killed_ends_the_job() {
    let running = started(job(2, LONG), "step 20:");
    let ids = ranks(&running);
    assert_eq!(ids.len(), 2);
    let start = Instant::now();
    signal(&ids[1], "-KILL");
    let output = running.wait_with_output().expect("it ends");
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("rank 1") && errors.contains("signal 9"), "{errors}");
}

#[test]
fn a_rank_that_stands_still_ends_the_job() {
    let running = started(job(2, &format!("--timeout 3 {LONG}")), "step 20:");
    let ids = ranks(&running);
    let start = Instant::now();
    signal(&ids[1], "-STOP");
    let output = running.wait_with_output();
    let output = output.expect("it ends");
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("rank 0: no answer from rank 1 for 3 s"), "{errors}");
}

/// After a kill in the middle of it a training goes on from its last checkpoint.
#[test]
fn a_killed_training_resumes_to_the_same_numbers() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let words = |name: &str| {
        let options = "--net residual --epochs 2 --report 1 --every 3 --resume";
        format!("train {options} --checkpoint {}", path(name).display())
    };
    let whole = printed(job(2, &words("whole")));
    let mut running = started(job(2, &words("killed")), "step 40:");
    signal(&ranks(&running)[0], "-KILL");
    assert!(!running.wait().expect("it ends").success());
    assert!(path("killed").exists());
    let rest = printed(job(2, &words("killed")));
    assert!(!rest.contains("step 39:") && whole.ends_with(&rest), "{rest}");
    assert_eq!(read(path("killed")).expect("a file"), read(path("whole")).expect("a file"));
}

#[test]
fn faults_of_one_rank_are_told_by_name() {
    for (drill, expected) in [
        ("nan:1:3", "step 3: expected finite gradients, got NaN or infinity: rank 1 (stem.2)"),
        ("panic:1:3", "rank 1: panicked; this ends all ranks"),
        ("hang:0:3", "rank 1: no answer from rank 0 for 3 s"),
    ] {
        let errors = refused(job(2, &format!("--timeout 3 {LONG} --drill {drill}")), SOON);
        assert!(errors.contains(expected), "{errors}");
    }
}

/// Parameters that are lost don't take the place of the last good ones.
#[test]
fn a_training_that_diverges_keeps_its_last_checkpoint() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("here");
    let words = format!("train --every 1 --learning-rate 1e30 --checkpoint {}", path.display());
    let errors = refused(job(2, &words), SOON);
    assert!(errors.contains("step 1: expected finite gradients, got NaN or infinity"), "{errors}");
    let lines = printed(job(1, &format!("{words} --resume --steps 1")));
    assert!(lines.starts_with("parameters after 1 steps: "), "{lines}");
}

#[test]
fn ranks_that_disagree_are_refused_at_the_start() {
    for (first, second, expected) in [
        ("", "--data experiments/data/fashion-mnist", "rank 1: expected data: 7040 images"),
        ("", "--net residual", "rank 1: expected net: Tutorial, as rank 0, got net: Residual"),
        (
            "",
            "--learning-rate 0.02",
            "rank 1: expected learning rate: 0.01, as rank 0, got learning rate: 0.02",
        ),
        (
            "--steps 3",
            "--steps 4",
            "rank 1: expected steps: Some(3), as rank 0, got steps: Some(4)",
        ),
        ("", "--bucket 9", "rank 1: expected bucket: 65536"),
        ("", "--data nowhere", "rank 1: nowhere: expected a file"),
    ] {
        let [first, second] = [first, second].map(|options| format!("train {options}"));
        let errors = refused(mixed_job([(1, &first), (1, &second)]), SOON);
        assert!(errors.contains(expected), "{errors}");
    }
    let errors = refused(mixed_job([(1, "train"), (1, "scale --rounds 1")]), SOON);
    assert!(errors.contains("rank 1: expected command: train, as rank 0"), "{errors}");
    let portable = ("DO_CONV_ISA", "portable");
    let errors = refused(job_with(portable, "train"), SOON);
    assert!(errors.contains("as rank 0, got instruction set: portable"), "{errors}");
}

#[test]
fn what_cant_be_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("here");
    let here = format!("--steps 3 --resume --checkpoint {}", path.display());
    printed(job(2, &format!("train {here}")));
    let busy = format!("train --checkpoint {}", path.display());
    for (ranks, words, expected) in [
        (3, "train", "expected 1, 2, 4 or another power of two of processes, got 3"),
        (8, "train", "batch: expected at least 64 images, a leaf of 8 for each of 8 ranks, got 32"),
        (1, "train --batch 24", "power of two of leaves of 8 images, got 24 images"),
        (1, "train --batch 8192", "expected at least 8192 training images, one batch, found 7040"),
        (2, &format!("train {here} --seed 5"), "seed: expected 5, got 0"),
        (2, &format!("train {here} --momentum 0.8"), "momentum: expected 0.8, got 0.9"),
        (
            2,
            &format!("train {here}").replace("--steps 3", "--steps 2"),
            "here: expected at most 2 steps, got 3",
        ),
        (
            2,
            &busy,
            "here: expected --resume, to go on from it, or a name that is free; got a file that exists",
        ),
        (
            2,
            "train --steps 3 --checkpoint here.pth",
            "here.pth: expected a name that ends in .safetensors",
        ),
        (1, "train --learning-rate nan", "expected a finite number"),
        (1, "scale --rounds 0", "0 is not in 1.."),
        (2, "train --drill nan:2:1", "drill: expected a rank below 2"),
        (2, "train --drill later", "expected nan, panic or hang, a rank and a step"),
        (2, "train --steps 3 --checkpoint nowhere/here.safetensors", "nowhere"),
    ] {
        let errors = refused(job(ranks, words), SOON);
        assert!(errors.contains(expected), "{words}: {errors}");
    }
    std::fs::write(&path, b"no checkpoint").expect("written");
    let errors = refused(job(2, &format!("train {here}")), SOON);
    assert!(errors.contains("here: "), "{errors}");
    assert_eq!(read(&path).expect("a file"), b"no checkpoint");
}

/// Without a panic.
#[test]
fn output_that_cant_be_written_is_an_error() {
    let mut training = alone("train --steps 3 --report 1");
    training.stdout(File::options().write(true).open("/dev/full").expect("a device that is full"));
    let errors = refused_printing(training, SOON);
    assert!(
        errors.contains("rank 0: standard output: ") && !errors.contains("panicked"),
        "{errors}"
    );
}
