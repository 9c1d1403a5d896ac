//! The commands.

#![forbid(unsafe_code)]

mod commands;

use std::alloc::System;
use std::error::Error;
use std::io::ErrorKind;
use std::process::ExitCode;

use cap::Cap;
use clap::Parser;

/// Counts what a run allocates.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

fn peak_bytes() -> u64 {
    ALLOCATOR.max_allocated() as u64
}

fn allocated_bytes() -> u64 {
    ALLOCATOR.allocated() as u64
}

fn main() -> ExitCode {
    match commands::Command::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads has enough.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
