//! Runs, each in a process of its own: so that its memory can be told from that of others, burn's generator of random
//! numbers is its alone, and a run that fails or is killed leaves the others be.

use std::collections::VecDeque;
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::bar::Bar;

use crate::record::{RunConfig, RunResult};
use crate::train::{Event, clean};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How runs are done.
pub struct Schedule<'a> {
    /// Where results go, and what runs work in.
    pub folder: &'a Path,
    /// The images.
    pub data: &'a Path,
    /// Runs at once.
    pub jobs: usize,
    /// Threads of each.
    pub threads: usize,
    /// burn's dashboard of each run, one after the other.
    pub dashboard: bool,
}

/// A run that didn't give a result.
struct Failed {
    id: String,
    reason: String,
}

impl Schedule<'_> {
    /// The results of all runs, in order: those that are in the folder, and those of the others, which are done.
    ///
    /// # Errors
    /// If a run fails; the others are done first. For a folder that can't be read or written.
    pub fn results(&self, runs: &[RunConfig]) -> Result<Vec<RunResult>> {
        fs::create_dir_all(self.folder).map_err(|error| self.named(error))?;
        let missing: Vec<_> = runs.iter().filter(|run| self.read(run).is_err()).collect();
        let (all, left) = (runs.len(), missing.len());
        println!("{all} runs, {} of them done, in {}", all - left, self.folder.display());
        let failed = self.run(&missing)?;
        for Failed { id, reason } in &failed {
            eprintln!("{id}: {reason}");
        }
        if !failed.is_empty() {
            return Err(format!(
                "{} of {left} runs failed; another start does these again",
                failed.len()
            )
            .into());
        }
        runs.iter().map(|run| self.read(run)).collect()
    }

    fn named(&self, error: std::io::Error) -> String {
        format!("{}: {error}", self.folder.display())
    }

    fn path(&self, run: &RunConfig) -> PathBuf {
        self.folder.join(format!("{}.json", run.id()))
    }

    /// The result, if there is one of that very configuration.
    fn read(&self, run: &RunConfig) -> Result<RunResult> {
        let path = self.path(run);
        let failed = |error: &dyn Error| format!("{}: {error}", path.display());
        let text = fs::read_to_string(&path).map_err(|error| failed(&error))?;
        let result: RunResult = serde_json::from_str(&text).map_err(|error| failed(&error))?;
        if result.config != *run {
            return Err(format!("{}: expected the result of another run", path.display()).into());
        }
        Ok(result)
    }

    fn run(&self, runs: &[&RunConfig]) -> Result<Vec<Failed>> {
        // An epoch of any run counts as much as another's.
        let epochs = runs.iter().map(|run| run.epochs).sum::<usize>();
        let total = Bar::new(epochs as f64, !runs.is_empty() && !self.dashboard);
        let waiting: Mutex<VecDeque<_>> = Mutex::new(runs.iter().collect());
        let failed = Mutex::new(Vec::new());
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    while let Some(run) = next() {
                        match self.run_one(run, &total) {
                            Ok(()) => self.say(run, &total),
                            Err(error) => {
                                let failure = Failed { id: run.id(), reason: error.to_string() };
                                let mut failed =
                                    failed.lock().unwrap_or_else(PoisonError::into_inner);
                                failed.push(failure);
                            }
                        }
                    }
                });
            }
        });
        total.clear();
        Ok(failed.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// A line for a run that is done.
    fn say(&self, run: &RunConfig, bar: &Bar) {
        if let Ok(result) = self.read(run) {
            let RunResult { metric, folded_metric, .. } = result;
            let (id, name) = (run.id(), run.task.metric());
            bar.say(&format!("{id}: {name} {metric:.2} %, folded {folded_metric:.2}"));
        }
    }

    /// Runs it in a process that writes its result.
    fn run_one(&self, run: &RunConfig, total: &Bar) -> Result<()> {
        let work = self.folder.join(run.id());
        fs::create_dir_all(&work).map_err(|error| format!("{}: {error}", work.display()))?;
        let said = work.join("said.txt");
        let mut child = self.start(&work, &self.path(run), File::create(&said)?)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(serde_json::to_string(run)?.as_bytes())?;
        }
        let mut seen = 0.0;
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).lines() {
                if let Ok(Event::Done(share)) = serde_json::from_str(&line?) {
                    let done = share * run.epochs as f64;
                    total.advance(done - seen);
                    seen = done;
                }
            }
        }
        total.advance(run.epochs as f64 - seen);
        let status = child.wait()?;
        if !status.success() {
            let said = fs::read_to_string(said)?;
            let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            return Err(format!("{status}: {last}").into());
        }
        clean(&work)
    }

    fn start(&self, work: &Path, result: &Path, said: File) -> Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("one").arg("--data").arg(self.data).arg("--folder").arg(work);
        command.arg("--result").arg(result).arg("--threads").arg(self.threads.to_string());
        command.env("RAYON_NUM_THREADS", self.threads.to_string()).stdin(Stdio::piped());
        if self.dashboard {
            command.arg("--dashboard");
        } else {
            command.stdout(Stdio::piped()).stderr(said);
        }
        Ok(command.spawn()?)
    }
}
