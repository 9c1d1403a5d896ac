//! Starts trainings.

use std::borrow::BorrowMut;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A job of `ranks` processes of the program with these words, in the repository.
pub fn job(ranks: usize, words: &str) -> Command {
    let mut command = mpirun();
    add(&mut command, ranks, words);
    command
}

/// A job of processes that are told different things.
pub fn mixed_job(ranks: [(usize, &str); 2]) -> Command {
    let mut command = mpirun();
    add(&mut command, ranks[0].0, ranks[0].1);
    command.arg(":");
    add(&mut command, ranks[1].0, ranks[1].1);
    command
}

/// A job of two processes, the second with that in its environment.
pub fn job_with((name, value): (&str, &str), words: &str) -> Command {
    let mut command = job(1, words);
    command.args([":", "-n", "1", "env", &format!("{name}={value}"), program(), "--threads", "1"]);
    command.args(words.split_whitespace());
    command
}

/// The program by itself.
pub fn alone(words: &str) -> Command {
    let mut command = Command::new(program());
    command.current_dir(repository()).args(words.split_whitespace());
    command
}

fn mpirun() -> Command {
    let mut command = Command::new("mpirun");
    command.current_dir(repository());
    // What Open MPI wants to be told as root, and for more processes than processors, before version 5 and since.
    for (name, value) in [
        ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
        ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
        ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
        ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
    ] {
        command.env(name, value);
    }
    command
}

fn add(command: &mut Command, ranks: usize, words: &str) {
    command.args(["-n", &ranks.to_string(), program(), "--threads", "1"]);
    command.args(words.split_whitespace());
}

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_do-conv-distributed")
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// What a job printed.
///
/// # Panics
/// If it failed.
pub fn printed(mut command: Command) -> String {
    let output = command.output().expect("mpirun is there");
    assert!(output.status.success(), "{}", errors(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// What a job that has to fail, and soon, said of it.
///
/// # Panics
/// If it succeeded, or took longer than it may.
pub fn refused(mut command: Command, within: Duration) -> String {
    refused_printing(command.stdout(Stdio::piped()), within)
}

/// The same, with what it prints going where it goes.
///
/// # Panics
/// The same.
pub fn refused_printing(mut command: impl BorrowMut<Command>, within: Duration) -> String {
    let start = Instant::now();
    let command = command.borrow_mut().stderr(Stdio::piped());
    let output = command.spawn().and_then(Child::wait_with_output).expect("mpirun is there");
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(start.elapsed() < within, "{:?}: {}", start.elapsed(), errors(&output));
    errors(&output)
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Starts a job, and gives it when it has printed a line that begins so.
///
/// # Panics
/// If it ends before.
pub fn started(mut command: Command, line: &str) -> Child {
    let mut job =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("mpirun is there");
    let output = BufReader::new(job.stdout.take().expect("piped"));
    let mut lines = output.lines().map_while(Result::ok);
    assert!(lines.any(|printed| printed.starts_with(line)), "no line {line}");
    // What it prints from now on has to go somewhere.
    std::thread::spawn(move || lines.for_each(drop));
    job
}

/// The ids of the processes that `mpirun` started, by rank.
pub fn ranks(job: &Child) -> Vec<String> {
    let output = Command::new("pgrep")
        .args(["--parent", &job.id().to_string(), "--full", program()])
        .output()
        .expect("procps is there");
    let mut ids: Vec<u32> =
        String::from_utf8_lossy(&output.stdout).lines().filter_map(|id| id.parse().ok()).collect();
    ids.sort_unstable();
    ids.iter().map(u32::to_string).collect()
}

/// Sends a signal, as `-KILL`.
pub fn signal(process: &str, signal: &str) {
    let status = Command::new("kill").args([signal, process]).status().expect("kill is there");
    assert!(status.success());
}
