//! A hostile campaign against what do-conv promises: random and degenerate cases by the thousand,
//! each checked against a definition that shares no code with the crate.

#![forbid(unsafe_code)]

mod bits;
mod bounds;
mod bytes;
mod case;
mod draw;
mod errors;
mod geometry;
mod hash;
mod layers;
mod make;
mod oracle;
mod places;
mod runner;
mod settings;
mod special;
mod strided;
mod threads;
mod window;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};

use runner::{Limits, Promise};

/// Runs random cases of every promise; exits with 1 if any fails.
#[derive(Debug, Parser)]
struct Options {
    /// Seconds for all promises together, for each instruction set.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Run this many cases of each promise, however long they take.
    #[arg(long)]
    cases: Option<u64>,
    /// Run this many cases of `geometry`, however long they take.
    #[arg(long)]
    geometries: Option<u64>,
    /// What cases are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The number of the first case.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run one promise only.
    #[arg(long)]
    only: Option<Name>,
    /// Instruction set: `all` runs each that this machine has, in a process of its own.
    #[arg(long, default_value = "best")]
    isa: Isa,
    /// Instead of testing, print one hash of the bits of every result of this many layers: the same before
    /// and after a change that changes no bit.
    #[arg(long)]
    hash: Option<u64>,
    /// Instead of testing, print how far off each algorithm is on layers of ResNet-18, in `f32`.
    #[arg(long)]
    errors: bool,
    /// Show each case before it runs.
    #[arg(long)]
    trace: bool,
}

/// The promises.
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Name {
    Geometry,
    Bits,
    Bounds,
    Special,
    Settings,
    Threads,
    Bytes,
}

/// Instruction sets.
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Isa {
    /// What `DO_CONV_ISA` says, or the best.
    Best,
    All,
    Avx512,
    Avx2,
    Neon,
    Portable,
}

impl Isa {
    /// Those of this machine.
    fn present() -> Vec<Self> {
        let mut present = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if std::is_x86_feature_detected!("avx512f") {
                present.push(Self::Avx512);
            }
            if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
                present.push(Self::Avx2);
            }
        }
        if cfg!(target_arch = "aarch64") {
            present.push(Self::Neon);
        }
        present.push(Self::Portable);
        present
    }

    /// What the variable `DO_CONV_ISA` calls it.
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let passed = match options.isa {
        Isa::Best => here(&options),
        Isa::All => {
            let passed: Vec<bool> =
                Isa::present().into_iter().map(|isa| child(&options, isa)).collect();
            passed.iter().all(|&passed| passed)
        }
        isa => child(&options, isa),
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the promises in another process, by an instruction set: it is chosen once in a process.
fn child(options: &Options, isa: Isa) -> bool {
    println!("\n{} (DO_CONV_ISA={0})", isa.name());
    let mut arguments = vec![
        format!("--seconds={}", options.seconds),
        format!("--seed={}", options.seed),
        format!("--from={}", options.from),
    ];
    arguments.extend(options.cases.map(|cases| format!("--cases={cases}")));
    arguments.extend(options.geometries.map(|cases| format!("--geometries={cases}")));
    arguments.extend(options.hash.map(|layers| format!("--hash={layers}")));
    arguments.extend(options.errors.then(|| "--errors".to_owned()));
    arguments.extend(options.trace.then(|| "--trace".to_owned()));
    let only = options.only.and_then(|only| only.to_possible_value());
    arguments.extend(only.map(|only| format!("--only={}", only.get_name())));
    let status = std::env::current_exe().and_then(|program| {
        Command::new(program).args(arguments).env("DO_CONV_ISA", isa.name()).status()
    });
    match status {
        Ok(status) if status.success() => true,
        Ok(status) => {
            println!("{}: FAILED ({status})", isa.name());
            false
        }
        Err(error) => {
            println!("{}: FAILED, can't be started: {error}", isa.name());
            false
        }
    }
}

/// Runs the promises in this process.
fn here(options: &Options) -> bool {
    runner::prepare();
    if let Some(layers) = options.hash {
        return hash::print(options.seed, options.from..options.from + layers);
    }
    if options.errors {
        return errors::print(options.seed);
    }
    let names: Vec<Name> = Name::value_variants().to_vec();
    let names = options.only.map_or(names, |only| vec![only]);
    // `geometry` gets as much time as four others.
    let share = |name: Name| if name == Name::Geometry { 4 } else { 1 };
    let shares: u32 = names.iter().map(|&name| share(name)).sum();
    println!("promise      cases  failures  seconds  measure");
    let mut passed = true;
    for name in names {
        let cases = match name {
            Name::Geometry => options.geometries.or(options.cases),
            _ => options.cases,
        };
        let limits = Limits {
            seed: options.seed,
            from: options.from,
            time: Duration::from_secs(options.seconds) * share(name) / shares,
            cases,
            trace: options.trace,
        };
        passed &= match name {
            Name::Geometry => report(&geometry::Geometry::default(), limits),
            Name::Bits => report(&bits::Bits, limits),
            Name::Bounds => report(&bounds::Bounds, limits),
            Name::Special => report(&special::Special, limits),
            Name::Settings => report(&settings::Settings, limits),
            Name::Threads => report(&threads::Threads, limits),
            Name::Bytes => report(&bytes::Bytes, limits),
        };
    }
    passed
}

/// Runs one promise and prints what came of it.
fn report<P: Promise>(promise: &P, limits: Limits) -> bool {
    let start = Instant::now();
    let report = runner::run(promise, limits);
    println!(
        "{:<9} {:>8}  {:>8}  {:>7.1}  {} {:.3}",
        promise.name(),
        report.cases,
        report.failures,
        start.elapsed().as_secs_f64(),
        promise.measure(),
        report.worst,
    );
    for failure in &report.shown {
        println!("FAILED: {failure}");
    }
    report.failures == 0
}
