//! The cost of composition.

use std::fs;
use std::path::PathBuf;

use clap::{Args, value_parser};
use do_conv_experiments::cost::{measure, table};
use do_conv_experiments::report::replace_section;

use super::Result;

#[derive(Args)]
pub struct Command {
    /// Passes of each layer in each form, of which the median counts
    #[arg(long, default_value_t = 31, value_parser = value_parser!(u16).range(1..))]
    rounds: u16,

    /// Puts the table into this Markdown document, between its lines `<!-- composition cost -->` and
    /// `<!-- /composition cost -->`
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
}

impl Command {
    pub fn run(&self) -> Result<()> {
        let table = table(&measure(self.rounds.into(), crate::allocated_bytes)?);
        println!("{table}");
        let Some(path) = &self.document else { return Ok(()) };
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let text = fs::read_to_string(path).map_err(failed)?;
        let text = replace_section(&text, "composition cost", &table)?;
        Ok(fs::write(path, text).map_err(failed)?)
    }
}
