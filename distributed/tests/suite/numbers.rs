//! The same training, whoever does it.

use std::fs::read;

use super::processes::{alone, job, printed};

/// What is printed has every bit of the loss; the checkpoint every bit of parameters and velocities.
#[test]
fn any_number_of_processes_gives_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, options) in [
        ("images", "--leaf 1 --batch 16 --steps 12"),
        ("leaves", "--leaf 8 --batch 32 --steps 30 --weight-decay 0.0001 --bucket 1000"),
        (
            "residual",
            "--net residual --blocks 2 --leaf 4 --batch 16 --steps 12 --learning-rate 0.05",
        ),
        ("epochs", "--leaf 64 --batch 1024 --epochs 2 --seed 9"),
    ] {
        let of = |ranks: Option<usize>| {
            let path = folder.path().join(format!("{name}-{ranks:?}.safetensors"));
            let words = format!("train --report 1 {options} --checkpoint {}", path.display());
            let lines = printed(match ranks {
                Some(ranks) => job(ranks, &words),
                None => alone(&words),
            });
            assert!(lines.contains("loss 2.") && lines.contains("parameters "), "{lines}");
            (lines, read(path).expect("a checkpoint"))
        };
        let expected = of(None);
        for ranks in [1, 2, 4] {
            assert!(of(Some(ranks)) == expected, "{name}, {ranks} processes");
        }
    }
}

/// They differ where they should.
#[test]
fn other_options_give_other_numbers() {
    let of = |options: &str| printed(alone(&format!("train --steps 8 --report 1 {options}")));
    let expected = of("");
    for options in ["--seed 1", "--leaf 4", "--learning-rate 0.02", "--weight-decay 0.1"] {
        assert_ne!(of(options), expected, "{options}");
    }
    assert_eq!(of("--bucket 1"), expected);
    assert_eq!(of("--threads 2"), expected);
}

#[test]
fn a_training_that_was_stopped_goes_on_to_the_same_numbers() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let words = |name: &str, steps: usize| {
        let options = "--net residual --batch 16 --leaf 4 --report 1 --every 5 --resume";
        format!("train {options} --steps {steps} --checkpoint {}", path(name).display())
    };
    let whole = printed(job(2, &words("whole", 20)));
    // By other numbers of processes, for good measure.
    let first = printed(job(4, &words("parts", 13)));
    let second = printed(job(1, &words("parts", 20)));
    let steps = |lines: &str| -> Vec<String> {
        lines.lines().filter(|line| line.contains("loss")).map(str::to_owned).collect()
    };
    assert_eq!([steps(&first), steps(&second)].concat(), steps(&whole));
    assert_eq!(whole.lines().last(), second.lines().last());
    assert_eq!(read(path("parts")).expect("a file"), read(path("whole")).expect("a file"));
}

#[test]
fn what_a_step_takes_is_measured() {
    let lines = printed(job(2, "scale --net residual --rounds 5 --bucket 100000"));
    for expected in [
        "Residual net, 2 processes, 1 threads each",
        "gradients: 309684 bytes of composed kernels and biases, 367032 of D, W and biases",
        "2 of 4 leaves of 8 images",
        "| 16777216 |",
        "waiting for sums by the model",
        "| 100 Gbit/s, 5 µs | 512 |",
    ] {
        assert!(lines.contains(expected), "{lines}");
    }
    assert!(!lines.contains("NaN"), "{lines}");
}
