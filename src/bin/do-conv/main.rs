//! The command `do-conv`: looks into checkpoints with DO-Conv layers, and folds them.

#![forbid(unsafe_code)]

mod arguments;
mod failure;
mod fold;
mod inspect;
mod interrupt;
mod nearest;
mod print;
mod settings;
mod shell;
mod table;
mod text;
mod usage;
mod words;

use std::process::ExitCode;

use arguments::Command;
use failure::Failure;

fn main() -> ExitCode {
    let arguments = match usage::parse() {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    let result = match arguments.command {
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Fold(arguments) => fold::run(&arguments),
        Command::Completions { shell } => shell::completions(shell),
        Command::Man { folder } => shell::man(folder.as_deref()),
    };
    result.map_or_else(|failure: Failure| failure.report(), |()| ExitCode::SUCCESS)
}
