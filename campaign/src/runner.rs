//! Runs the cases of a promise until the time is up, and makes the failing ones small.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::case::THREADS;
use crate::draw::Draw;

/// A case that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// Failing cases that are made small and shown.
const SHOWN: usize = 3;

/// How a check ended: how near it came to failing, or why it did.
pub type Outcome = Result<f64, String>;

/// Something that holds for every case.
pub trait Promise {
    /// What the cases are.
    type Case: Clone;

    /// What it is called on the command line.
    fn name(&self) -> &'static str;

    /// What [`Promise::check`] measures.
    fn measure(&self) -> &'static str;

    /// The cases that always come first.
    fn fixed(&self) -> Vec<Self::Case> {
        Vec::new()
    }

    /// Any case.
    fn case(&self, draw: &mut Draw) -> Self::Case;

    /// Whether the promise holds.
    ///
    /// # Errors
    /// What was expected and what came, if it doesn't. A panic is a failure as well.
    fn check(&self, case: &Self::Case) -> Outcome;

    /// Cases a step smaller than this one.
    fn smaller(&self, case: &Self::Case) -> Vec<Self::Case>;

    /// The case as text to paste.
    fn describe(&self, case: &Self::Case) -> String;
}

/// Which cases to run.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// What cases are drawn from.
    pub seed: u64,
    /// The number of the first case.
    pub from: u64,
    /// How long to go on, if there is no number of cases.
    pub time: Duration,
    /// How many cases to run, however long they take.
    pub cases: Option<u64>,
    /// Whether each case is shown before it runs.
    pub trace: bool,
}

/// What came of a promise.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Cases that ran.
    pub cases: u64,
    /// Those that failed.
    pub failures: u64,
    /// The largest measure of one that didn't.
    pub worst: f64,
    /// The first failures, small, as text.
    pub shown: Vec<String>,
}

/// Runs the cases of one promise.
pub fn run<P: Promise>(promise: &P, limits: Limits) -> Report {
    let start = Instant::now();
    let mut report = Report::default();
    let fixed = promise.fixed();
    let mut reasons: Vec<String> = Vec::new();
    for index in limits.from.. {
        let done = match limits.cases {
            Some(cases) => report.cases >= cases,
            None => start.elapsed() >= limits.time && index >= fixed.len() as u64,
        };
        if done {
            break;
        }
        let case = match fixed.get(index as usize) {
            Some(case) => case.clone(),
            None => promise.case(&mut Draw::new(limits.seed, promise.name(), index)),
        };
        if limits.trace {
            eprintln!("{} {index}: {}", promise.name(), promise.describe(&case));
        }
        report.cases += 1;
        match attempt(promise, &case) {
            Ok(measure) => report.worst = report.worst.max(measure),
            Err(reason) => {
                report.failures += 1;
                // The same line of code, or the same beginning, is the same fault.
                let kind: String =
                    reason.chars().filter(|c| !c.is_ascii_digit()).take(60).collect();
                if report.shown.len() < SHOWN && !reasons.contains(&kind) {
                    reasons.push(kind);
                    let (small, reason) = shrink(promise, case, reason);
                    report.shown.push(format!(
                        "{} fails, case {index} of seed {}: {reason}\n{}",
                        promise.name(),
                        limits.seed,
                        promise.describe(&small)
                    ));
                }
            }
        }
    }
    report
}

/// The smallest case in reach that still fails, and why it does.
pub fn shrink<P: Promise>(promise: &P, case: P::Case, reason: String) -> (P::Case, String) {
    let start = Instant::now();
    let (mut small, mut reason) = (case, reason);
    'smaller: while start.elapsed() < Duration::from_secs(30) {
        for next in promise.smaller(&small) {
            if let Err(why) = attempt(promise, &next) {
                (small, reason) = (next, why);
                continue 'smaller;
            }
        }
        break;
    }
    (small, reason)
}

/// Checks one case; a panic is a failure.
fn attempt<P: Promise>(promise: &P, case: &P::Case) -> Outcome {
    *lock(&RUNNING) = Some((Instant::now(), promise.describe(case)));
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| promise.check(case)));
    *lock(&RUNNING) = None;
    outcome.unwrap_or_else(|_| Err(format!("panicked {}", lock(&LAST_PANIC))))
}

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());
static RUNNING: Mutex<Option<(Instant, String)>> = Mutex::new(None);

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps panics off the terminal, where a case that fails is shown once it is small, and ends the
/// process if a case hangs.
pub fn prepare() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(|place| format!("at {}:{}", place.file(), place.line()));
        let message = info.payload_as_str().unwrap_or("without a message");
        *lock(&LAST_PANIC) = format!("{}: {message}", place.unwrap_or_default());
    }));
    std::thread::spawn(|| {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            if let Some((since, case)) = &*lock(&RUNNING)
                && since.elapsed() > PATIENCE
            {
                println!("FAILED: hangs\n{case}");
                std::process::exit(1);
            }
        }
    });
}

/// The pool of that number of threads, one of [`THREADS`] or fewer than the next.
pub fn pool(threads: usize) -> &'static ThreadPool {
    static POOLS: OnceLock<Vec<ThreadPool>> = OnceLock::new();
    let pools = POOLS.get_or_init(|| {
        let build = |&threads: &usize| {
            ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started")
        };
        THREADS.iter().map(build).collect()
    });
    let index = THREADS.iter().rposition(|&most| most <= threads).unwrap_or(0);
    &pools[index]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers are below 100, which is wrong.
    struct Below;

    impl Promise for Below {
        type Case = usize;

        fn name(&self) -> &'static str {
            "below"
        }

        fn measure(&self) -> &'static str {
            "number"
        }

        fn fixed(&self) -> Vec<usize> {
            vec![7]
        }

        fn case(&self, draw: &mut Draw) -> usize {
            draw.below(1000)
        }

        fn check(&self, &case: &usize) -> Outcome {
            assert!(case < 500, "{case} is far too large");
            if case < 100 { Ok(case as f64) } else { Err(format!("{case} is too large")) }
        }

        fn smaller(&self, &case: &usize) -> Vec<usize> {
            vec![case / 2, case - 1]
        }

        fn describe(&self, case: &usize) -> String {
            case.to_string()
        }
    }

    fn limits(cases: u64) -> Limits {
        Limits { seed: 1, from: 0, time: Duration::ZERO, cases: Some(cases), trace: false }
    }

    #[test]
    fn failures_and_panics_are_counted_and_made_small() {
        let report = run(&Below, limits(200));
        assert_eq!(report.cases, 200);
        assert!((150..200).contains(&report.failures), "{report:?}");
        assert!((7.0..100.0).contains(&report.worst));
        assert_eq!(report.shown.len(), 2, "one by each fault: {report:?}");
        assert!(report.shown.iter().all(|shown| shown.ends_with("\n100")), "{report:?}");
    }

    #[test]
    fn fixed_cases_run_without_time_and_cases_come_again() {
        let none = Limits { cases: None, ..limits(0) };
        assert_eq!(run(&Below, none).cases, 1);
        let later = run(&Below, Limits { from: 50, ..limits(1) });
        assert_eq!(later.worst, run(&Below, Limits { from: 50, ..limits(1) }).worst);
    }
}
