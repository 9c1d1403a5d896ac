//! Times do-conv's convolutions side by side with those of other CPU libraries.

mod comparison;
mod contenders;
mod data;
#[path = "../../benches/cases/layers.rs"]
mod layers;
mod machine;
mod mnist;
mod peak;
mod race;
mod scaling;
mod table;

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};

use contenders::{Field, Peer, Torch};
use data::Element;
use layers::{LAYERS, Layer};
use race::Plan;

/// Times do-conv's convolutions side by side with those of other CPU libraries.
#[derive(Debug, Parser)]
struct Args {
    /// Threads of every contender [default: those of the machine]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Layers, by name [default: all]
    #[arg(long, value_delimiter = ',')]
    layers: Vec<String>,
    /// Turns of each contender
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Length of a turn in milliseconds; a turn has at least one timed call
    #[arg(long, default_value_t = 50)]
    turn: u16,
    /// Pause before a turn in milliseconds, for threads of the last contender to fall asleep
    #[arg(long, default_value_t = 20)]
    pause: u16,
    /// Times double precision
    #[arg(long)]
    f64: bool,
    /// A Python that has PyTorch, to be compared with as well
    #[arg(long)]
    python: Option<PathBuf>,
    /// Whom to compare with [default: all]
    #[arg(long, value_delimiter = ',', value_name = "PEER")]
    only: Vec<Peer>,
    /// Which comparisons to make
    #[arg(long, value_delimiter = ',', default_values = ["forward", "training"])]
    tables: Vec<Table>,
    /// Instead: training steps of the net of the MNIST example
    #[arg(long, conflicts_with_all = ["tables", "layers", "f64", "peak", "scaling"])]
    mnist: bool,
    /// Instead: the share that we have of a core's peak
    #[arg(long, conflicts_with_all = ["python", "only", "tables"])]
    peak: bool,
    /// Instead: how our time depends on threads, image size and batch
    #[arg(long, conflicts_with_all = ["python", "only", "tables"])]
    scaling: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Table {
    Forward,
    Training,
}

fn main() -> ExitCode {
    match start(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: &Args) -> Result<()> {
    let threads = match args.threads {
        Some(threads) => threads.into(),
        None => std::thread::available_parallelism().context("--threads is needed")?.get(),
    };
    // Candle makes its own pool and knows no other way, and a process can't change its environment safely.
    let [variable, wanted] = ["RAYON_NUM_THREADS", &threads.to_string()];
    if std::env::var(variable).as_deref() != Ok(wanted) {
        let mut again = Command::new(std::env::current_exe()?);
        let status = again.args(std::env::args_os().skip(1)).env(variable, wanted).status()?;
        ensure!(status.success(), "the comparison failed ({status})");
        return Ok(());
    }
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    if args.f64 { run::<f64>(args, threads) } else { run::<f32>(args, threads) }
}

fn run<T: Element>(args: &Args, threads: usize) -> Result<()> {
    let plan = Plan {
        rounds: args.rounds.into(),
        turn: Duration::from_millis(args.turn.into()),
        pause: Duration::from_millis(args.pause.into()),
    };
    ensure!(
        args.python.is_some() || !args.only.contains(&Peer::Torch),
        "--only torch needs --python, a Python that has PyTorch"
    );
    let python = args.python.as_ref();
    let torch = python.map(|python| Torch::start(python, threads, T::NAME)).transpose()?;
    println!("{}\n", machine::describe::<T>(threads, torch.as_ref()));
    if args.peak {
        peak::shares::<T>(&select(&args.layers, &["r18.l1", "r18.l2"])?, &plan)?;
    }
    let layers = select(&args.layers, &LAYERS.map(|layer| layer.name))?;
    if args.scaling {
        scaling::threads::<T>(&layers, threads.max(2), &plan)?;
        scaling::sizes::<T>(&plan)?;
    }
    if args.peak || args.scaling {
        return Ok(());
    }
    let torch = torch.map(|torch| Rc::new(RefCell::new(torch)));
    let peers = if args.only.is_empty() { Peer::value_variants() } else { &args.only };
    let field = Field { threads, peers: peers.to_vec(), torch };
    if args.mnist {
        return mnist::training(&field, &plan);
    }
    if args.tables.contains(&Table::Forward) {
        comparison::forward::<T>(&layers, &field, &plan)?;
    }
    if args.tables.contains(&Table::Training) {
        comparison::training::<T>(&layers, &field, &plan)?;
    }
    Ok(())
}

/// The layers asked for, or else those of the default.
fn select(asked: &[String], default: &[&str]) -> Result<Vec<Layer>> {
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let names = if asked.is_empty() { default } else { &asked };
    let find = |name: &&str| match LAYERS.iter().find(|layer| layer.name == *name) {
        Some(layer) => Ok(*layer),
        None => bail!("no layer {name}; there are {}", LAYERS.map(|layer| layer.name).join(", ")),
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_those_of_the_configurations() -> do_conv::Result<()> {
        for layer in LAYERS {
            let conv = layer.plain_config().init::<f32>(0)?;
            assert_eq!(conv.weight().shape(), layer.weight_shape());
            assert_eq!(conv.output_shape(layer.input_shape())?, layer.output_shape());
            let conv = layer.do_config().init::<f32>(0)?;
            assert_eq!(conv.output_shape(layer.input_shape())?, layer.output_shape());
        }
        Ok(())
    }
}
