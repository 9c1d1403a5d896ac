//! The grid on the command line.

use std::convert::Infallible;
use std::path::PathBuf;

use clap::Args;
use do_conv_experiments::grid::Grid;

use super::{Machine, Result, own, report, say};

#[derive(Args)]
pub struct Command {
    /// Folder of the four IDX files (MNIST, Fashion-MNIST, …), raw or `.gz` [default: a part of Fashion-MNIST]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Where results, tables and plots go
    #[arg(long, value_name = "DIR", default_value = "target/experiments")]
    out: PathBuf,

    #[command(flatten)]
    grid: Grid,

    #[command(flatten)]
    machine: Machine,
}

impl Command {
    pub fn run(&self) -> Result<()> {
        let data = self.data.clone().unwrap_or(own("data/fashion-mnist"));
        let runs = |data: &str| Ok::<_, Infallible>(self.grid.runs(data));
        let report = report(runs, &data, &self.machine, &self.out, &self.out)?;
        for file in &report.files {
            say(file.display())?;
        }
        report.verdict()
    }
}
