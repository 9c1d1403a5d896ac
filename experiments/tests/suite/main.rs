//! The experiments as a user has them. One program, so that burn is linked once.

mod command;
mod nets;
mod runs;

use std::path::Path;
use std::process::{Command, Output};

use do_conv_experiments::record::RunResult;

/// The command with these words.
fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_do-conv-experiments"));
    command.args(words);
    command
}

/// What the grid of these options gives, with all that is written in the folder.
fn grid(folder: &Path, options: &str) -> Output {
    let mut command = command(&["grid", "--out"]);
    command.arg(folder).args(options.split_whitespace());
    command.output().expect("the command starts")
}

/// The results in the folder, without what depends on the machine.
fn results(folder: &Path) -> Vec<RunResult> {
    let text = std::fs::read_to_string(folder.join("results.json")).expect("there are results");
    let mut results: Vec<RunResult> = serde_json::from_str(&text).expect("that can be read");
    for result in &mut results {
        (result.threads, result.peak_bytes) = (0, 0);
        result.epochs.iter_mut().for_each(|epoch| epoch.seconds = 0.0);
    }
    results
}
