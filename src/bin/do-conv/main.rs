//! The command `do-conv`: looks into checkpoints with DO-Conv layers, folds, unfolds and compares them.

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
mod taken;
mod text;
mod unfold;
mod usage;
mod verify;
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
        Command::Unfold(arguments) => unfold::run(&arguments),
        Command::Verify(arguments) => match verify::run(&arguments) {
            Ok(true) => Ok(()),
            Ok(false) => return ExitCode::FAILURE,
            // That they differ is 1.
            Err(failure) => Err(Failure { status: failure.status.max(2), ..failure }),
        },
        Command::Completions { shell } => shell::completions(shell),
        Command::Man { folder } => shell::man(folder.as_deref()),
    };
    result.map_or_else(|failure: Failure| failure.report(), |()| ExitCode::SUCCESS)
}
