//! A run in a process of its own.

use std::io::{Read, sink, stdin, stdout};
use std::path::PathBuf;

use clap::Args;
use do_conv_experiments::data::idx::Data;
use do_conv_experiments::record::RunConfig;
use do_conv_experiments::report::replace;
use do_conv_experiments::train::{Watch, run};

use super::Result;

#[derive(Args)]
pub struct Command {
    #[arg(long)]
    data: PathBuf,
    #[arg(long)]
    folder: PathBuf,
    #[arg(long)]
    result: PathBuf,
    #[arg(long)]
    threads: usize,
    #[arg(long)]
    dashboard: bool,
}

impl Command {
    pub fn run(&self) -> Result<()> {
        let mut text = String::new();
        stdin().read_to_string(&mut text)?;
        let config: RunConfig = serde_json::from_str(&text)?;
        let watch = Watch {
            dashboard: self.dashboard,
            events: if self.dashboard { Box::new(sink()) } else { Box::new(stdout()) },
            peak_bytes: crate::peak_bytes,
            threads: self.threads,
        };
        let result = run(&config, Data::load(&self.data)?, &self.folder, watch)?;
        Ok(replace(&self.result, &(serde_json::to_string_pretty(&result)? + "\n"))?)
    }
}
