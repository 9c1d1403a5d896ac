//! Runs, each in a process of its own: so that its memory can be told from that of others, burn's generator of random
//! numbers is its alone, and a run that fails or is killed leaves the others be.

use std::collections::VecDeque;
use std::error::Error;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

use do_conv::instruction_set;

use crate::bar::Bar;
use crate::record::{RunConfig, RunResult};
use crate::train::Event;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How runs are done.
pub struct Runner<'a> {
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

impl Runner<'_> {
    /// The results of all runs that don't fail, in order, and how many do: those that are in the folder, and those of
    /// the others, which are done.
    ///
    /// # Errors
    /// For a folder that can't be read or written, or that another start works in.
    pub fn results(&self, runs: &[RunConfig]) -> Result<(Vec<RunResult>, usize)> {
        let named = |error| format!("{}: {error}", self.folder.display());
        fs::create_dir_all(self.folder).map_err(named)?;
        let lock = File::create(self.folder.join("lock")).map_err(named)?;
        if let Err(TryLockError::WouldBlock) = lock.try_lock() {
            let expected = "a folder that no other start works in";
            return Err(format!("{}: expected {expected}", self.folder.display()).into());
        }
        let missing: Vec<_> = runs.iter().filter(|run| self.read(run).is_err()).collect();
        let (all, left) = (runs.len(), missing.len());
        let folder = self.folder.display();
        writeln!(stdout(), "{all} runs, {} of them done, in {folder}", all - left)?;
        let failed = self.run(&missing)?;
        for Failed { id, reason } in &failed {
            eprintln!("{id}: {reason}");
        }
        Ok((runs.iter().filter_map(|run| self.read(run).ok()).collect(), failed.len()))
    }

    fn path(&self, run: &RunConfig) -> PathBuf {
        self.folder.join(format!("{}.json", run.id()))
    }

    /// The result, if there is one of that very configuration, computed as this machine does.
    fn read(&self, run: &RunConfig) -> Result<RunResult> {
        let result: RunResult = serde_json::from_str(&fs::read_to_string(self.path(run))?)?;
        if result.config != *run || result.instruction_set != instruction_set() {
            return Err("expected the result of another run".into());
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
            // A process that ends before it has read that says why.
            let _ = stdin.write_all(serde_json::to_string(run)?.as_bytes());
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
            let text = fs::read_to_string(&said)?;
            return Err(format!("{status}: {} (all in {})", reason(&text), said.display()).into());
        }
        fs::remove_dir_all(&work).map_err(|error| format!("{}: {error}", work.display()).into())
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

/// The last line that says something, of what a process said before it failed.
fn reason(said: &str) -> &str {
    let is_note = |line: &str| line.is_empty() || line.starts_with("note:");
    said.lines().map(str::trim).rev().find(|line| !is_note(line)).unwrap_or("without a word")
}
