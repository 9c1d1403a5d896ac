//! The command line.

mod cost;
mod grid;
mod one;
mod study;

use std::error::Error;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, value_parser};

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

/// The folder's own name, which results have instead of its path.
fn name(folder: &std::path::Path) -> Result<String> {
    let folder = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(name.unwrap_or_default())
}

/// A path in this member's folder.
fn own(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/")).join(path)
}
