//! Trains over MPI: `mpirun -n 2 do-conv-distributed train`.

use std::fmt::Display;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use do_conv_distributed::{link, scale, session};

/// Data-parallel training of DO-Conv nets over MPI, started by mpirun. Numbers are the same for any number of processes.
#[derive(Parser)]
#[command(version)]
struct Command {
    /// Seconds after which a process that doesn't answer ends all
    #[arg(long, global = true, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    timeout: u32,

    /// Threads of each process; by default as many as `mpirun` gives it processors
    #[arg(long, global = true, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,

    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Trains on MNIST, or images like it
    Train(session::Session),
    /// Measures steps and sums, and predicts what more machines would take
    Scale(scale::Scale),
}

fn main() -> ExitCode {
    let command = Command::parse();
    if let Some(threads) = command.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads as usize);
        if let Err(error) = pool.build_global() {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    }
    let say = |line: &dyn Display| writeln!(stdout(), "{line}");
    link::run(Duration::from_secs(command.timeout.into()), |link| match &command.what {
        What::Train(session) => session.run(link, say),
        What::Scale(scale) => scale.run(link, say),
    })
}
