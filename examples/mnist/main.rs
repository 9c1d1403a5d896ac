//! MNIST with and without DO-Conv.
//!
//! The same net is trained twice from the same seeds, once with plain [`do_conv::Conv2d`] and once
//! with [`do_conv::DoConv2d`] layers; then the DO-Conv net is folded, and its logits must keep
//! every bit.
//!
//! ```text
//! cargo run --release --example mnist
//! cargo run --release --example mnist -- --seeds 5 --epochs 20
//! cargo run --release --example mnist -- --data path/to/fashion-mnist
//! cargo run --release --example mnist -- --stride 1 --algorithm winograd4
//! ```

mod args;
mod data;
mod fold;
mod net;
mod ops;
mod order;
mod plot;
mod report;
mod train;
mod trainer;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use args::Args;
use data::Data;
use fold::{Difference, FoldReport};
use net::Net;
use order::shuffled;
use report::Run;
use trainer::{BATCH, LEARNING_RATE, MOMENTUM, Trainer};

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let data = Data::load(&args.data)?;
    let batches = data.train.len() / BATCH;
    if batches == 0 {
        let (folder, found) = (args.data.display(), data.train.len());
        return Err(format!(
            "{folder}: expected at least {BATCH} training images, one batch, found {found}"
        )
        .into());
    }
    println!(
        "{} training and {} test images from {}",
        data.train.len(),
        data.test.len(),
        args.data.display(),
    );
    println!("SGD: batch {BATCH}, learning rate {LEARNING_RATE}, momentum {MOMENTUM}");
    println!("{}", report::algorithm(args.form()));
    // This is also where a bad d_mul shows, before any training.
    let do_conv = Net::do_conv(0, args.d_mul, args.d_init.into(), args.form())?;
    let costs = report::cost_table(&do_conv)?;
    let start = Difference::between(&Net::plain(0, args.form())?, &do_conv, &data.test)?;
    println!("before training, {}\n", report::difference(&start));

    let steps = u64::from(args.seeds) * u64::from(args.epochs) * 2 * batches as u64;
    let bar = ProgressBar::new(steps).with_style(ProgressStyle::with_template(
        "{msg:<28} {wide_bar} {pos}/{len} steps, {eta} left",
    )?);
    println!("{}", report::epoch_header());
    let runs = (0..args.seeds)
        .map(|seed| run_seed(seed, args, &data, &bar))
        .collect::<Result<Vec<_>, _>>()?;
    bar.finish_and_clear();

    println!("\n{}\n\n{costs}\n", report::summary(&runs, args.form()));
    for run in &runs {
        println!("{}", report::fold_lines(run));
    }
    plot::learning_curves(&args.plot, &runs)?;
    println!("\nlearning curves: {}", args.plot.display());

    match runs.iter().find(|run| !run.fold.passed()) {
        Some(run) => {
            Err(format!("seed {}: the folded net is not the trained one", run.seed).into())
        }
        None => Ok(()),
    }
}

/// Both nets from one seed, epoch by epoch side by side, so that a busy machine slows both alike.
fn run_seed(seed: u32, args: &Args, data: &Data, bar: &ProgressBar) -> Result<Run, Box<dyn Error>> {
    let mut plain = Trainer::new(Net::plain(seed.into(), args.form())?)?;
    let net = Net::do_conv(seed.into(), args.d_mul, args.d_init.into(), args.form())?;
    let mut do_conv = Trainer::new(net)?;
    let mut epochs = (Vec::new(), Vec::new());
    for epoch in 1..=args.epochs {
        let order = shuffled(data.train.len(), seed, epoch);
        let message = |net| bar.set_message(format!("seed {seed}, epoch {epoch}, {net}"));
        message("plain");
        let of_plain = plain.epoch(&data.train, &order, &data.test, || bar.inc(1))?;
        message("DO-Conv");
        let of_do_conv = do_conv.epoch(&data.train, &order, &data.test, || bar.inc(1))?;
        bar.suspend(|| println!("{}", report::epoch_row(seed, epoch, &of_plain, &of_do_conv)));
        epochs.0.push(of_plain);
        epochs.1.push(of_do_conv);
    }
    let fold = FoldReport::new(&do_conv.net, &do_conv.net.fold(), &data.test)?;
    Ok(Run { seed, plain: epochs.0, do_conv: epochs.1, fold })
}
