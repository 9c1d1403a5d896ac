//! The grid on the command line.

use std::path::PathBuf;

use clap::Args;
use do_conv_experiments::grid::Grid;
use do_conv_experiments::report::write;
use do_conv_experiments::schedule::Schedule;

use super::{Machine, Result, name, own};

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
        let schedule = Schedule {
            folder: &self.out.join("runs"),
            data: &data,
            jobs: self.machine.jobs.into(),
            threads: self.machine.threads(),
            dashboard: self.machine.dashboard,
        };
        let results = schedule.results(&self.grid.runs(&name(&data)?))?;
        for file in write(&self.out, &results)? {
            println!("{}", file.display());
        }
        Ok(())
    }
}
