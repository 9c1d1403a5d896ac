//! The command line.

mod cost;
mod document;
mod grid;
mod one;
mod study;

use std::error::Error;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, value_parser};
use do_conv_experiments::data::idx::Data;
use do_conv_experiments::record::{RunConfig, RunResult, hash};
use do_conv_experiments::report::write;
use do_conv_experiments::runner::Runner;
use do_conv_experiments::train::check;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Whether DO-Conv helps, and where: trains nets with plain, DO-Conv and separable layers on images, and compares them
/// seed by seed
#[derive(Parser)]
#[command(name = "do-conv-experiments")]
pub struct Command {
    #[command(subcommand)]
    which: Which,
}

#[derive(Subcommand)]
enum Which {
    /// The paper's questions, each by a grid of its own
    Study(study::Command),
    /// Every combination of the given options, each from every seed
    Grid(Box<grid::Command>),
    /// Time and memory of both orders of composition, layer by layer, beside what formulas say
    Cost(cost::Command),
    /// One run, whose configuration comes as JSON on the standard input
    #[command(hide = true)]
    One(one::Command),
}

impl Command {
    pub fn run(&self) -> Result<()> {
        match &self.which {
            Which::Study(command) => command.run(),
            Which::Grid(command) => command.run(),
            Which::Cost(command) => command.run(),
            Which::One(command) => command.run(),
        }
    }
}

/// How runs are done.
#[derive(Args, Clone, Debug)]
struct Machine {
    /// Runs at once
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u16).range(1..))]
    jobs: u16,

    /// Threads of each run [default: the machine's, shared among the jobs]
    #[arg(long, value_parser = value_parser!(u16).range(1..))]
    threads: Option<u16>,

    /// burn's dashboard of each run, instead of a bar for all
    #[arg(long, conflicts_with = "jobs")]
    dashboard: bool,
}

impl Machine {
    fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.map_or((cores / usize::from(self.jobs)).max(1), usize::from)
    }
}

/// Does the runs on images, whose results are in `runs/` of a folder, and writes the report of those that don't fail into
/// another.
fn report<E: Into<Box<dyn Error>>>(
    runs: impl FnOnce(&str) -> std::result::Result<Vec<RunConfig>, E>,
    data: &Path,
    machine: &Machine,
    runs_of: &Path,
    out: &Path,
) -> Result<Report> {
    let (name, found) = describe(data)?;
    let runs = runs(&name).map_err(Into::into)?;
    // What can't be is said before hours of what can.
    for run in runs.iter().filter(|run| run.seed == 0) {
        check(run, found).map_err(|error| format!("{}: {error}", run.id()))?;
    }
    let runner = Runner {
        folder: &runs_of.join("runs"),
        data,
        jobs: machine.jobs.into(),
        threads: machine.threads(),
        dashboard: machine.dashboard,
    };
    let (results, failed) = runner.results(&runs)?;
    let files = if results.is_empty() { Vec::new() } else { write(out, &results)? };
    Ok(Report { results, files, failed })
}

/// What a grid gave.
struct Report {
    results: Vec<RunResult>,
    files: Vec<PathBuf>,
    failed: usize,
}

impl Report {
    /// An error if runs failed.
    fn verdict(&self) -> Result<()> {
        match self.failed {
            0 => Ok(()),
            failed => Err(format!("{failed} runs failed; another start does them again").into()),
        }
    }
}

/// The folder's own name and a hash of its images, which results have instead of its path, and how many images there are
/// for training and test.
fn describe(folder: &Path) -> Result<(String, [usize; 2])> {
    let Data { train, test } = Data::load(folder)?;
    let images = [&train, &test].into_iter().flat_map(|set| (0..set.len()).map(|i| set.image(i)));
    let hash = hash(images.flat_map(|(pixels, label)| pixels.iter().copied().chain([label])));
    let folder = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok((format!("{}-{hash:016x}", name.unwrap_or_default()), [train.len(), test.len()]))
}

/// Prints a line, or says that nobody reads it.
fn say(text: impl std::fmt::Display) -> Result<()> {
    Ok(writeln!(stdout(), "{text}")?)
}

/// A path in this member's folder.
fn own(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/")).join(path)
}
