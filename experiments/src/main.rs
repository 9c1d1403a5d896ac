//! The commands.

#![forbid(unsafe_code)]

mod commands;

use std::alloc::System;
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
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
