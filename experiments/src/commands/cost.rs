//! The cost of composition.

use std::path::PathBuf;

use clap::{Args, value_parser};
use do_conv_experiments::cost::{measure, table};

use super::document::Document;
use super::{Result, say};

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
        const SECTION: &str = "composition cost";
        // A document that has no place for it is refused before anything is measured.
        let document = self.document.as_deref().map(Document::read).transpose()?;
        let table = table(&measure(self.rounds.into(), crate::allocated_bytes)?);
        say(&table)?;
        document.map_or(Ok(()), |document| document.replace(SECTION, &table)?.write())
    }
}
