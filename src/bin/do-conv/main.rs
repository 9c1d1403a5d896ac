//! The command `do-conv`: looks into checkpoints with DO-Conv layers, and folds them.

#![forbid(unsafe_code)]

mod arguments;
mod fold;
mod inspect;
mod table;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Fold(arguments) => fold::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has enough of it: `do-conv inspect FILE | head`.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(hint) = hint(&*error) {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// What to try where an option would help.
fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    let error = error.downcast_ref::<do_conv::Error>()?;
    let hint = match &*error.field {
        "layers" => "--format tensorflow or --format gluon for checkpoints of these".to_owned(),
        "max_bytes" => "--max-bytes N if the file can be trusted".to_owned(),
        "key" => "--key KEY names a dictionary in a PyTorch file".to_owned(),
        _ if error.expected.starts_with("to be told its kernel size") => {
            format!("--kernel {}=MxN", error.field)
        }
        _ if error.expected.starts_with("to be told its pairing") => {
            "--pairing pytorch if the published PyTorch code trained it, input-channel if do-conv's \
             layers or adapters did"
                .to_owned()
        }
        _ if error.operation == "Checkpoint::layers" => {
            "--format says whose checkpoint it is; --skip NAME leaves a layer as it is".to_owned()
        }
        _ if error.expected.contains("leave to overwrite") => "--force overwrites it".to_owned(),
        _ => return None,
    };
    Some(hint)
}
