//! MNIST with and without DO-Conv, in candle.
//!
//! The same net is trained twice from the same start, with candle's plain layers and with DO-Conv
//! layers, by candle's AdamW; then the DO-Conv net is folded, for the CPU and into candle's own layers.
//!
//! ```text
//! cargo run --release -p do-conv-candle --example mnist
//! cargo run --release -p do-conv-candle --example mnist -- --data path/to/mnist --epochs 5
//! ```

#[allow(dead_code)] // The core crate's example needs more.
#[path = "../../../../examples/mnist/data.rs"]
mod data;
mod net;
mod train;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{VarBuilder, VarMap};
use clap::{Parser, value_parser};
use do_conv_candle::DoConv2d;
use indicatif::{ProgressBar, ProgressStyle};

use data::Data;
use net::Net;
use train::{BATCH, LEARNING_RATE, Set, Trainer, accuracy, logits};

/// Trains a small MNIST net twice, with candle's plain and with DO-Conv layers, then folds the DO-Conv
/// net and checks that the fold for the CPU changed no bit of its logits.
#[derive(Parser)]
#[command(name = "mnist")]
struct Args {
    /// Folder of the four IDX files (MNIST, Fashion-MNIST, …), raw or `.gz`
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/mnist/data"))]
    data: PathBuf,

    /// Passes over the training images
    #[arg(long, default_value_t = 12, value_parser = value_parser!(u32).range(1..=10_000))]
    epochs: u32,

    /// Seed of the order of the training images
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn main() -> ExitCode {
    // In the pool of threads that candle keeps for the CPU.
    match Device::Cpu.with_context(|| run(&Args::parse()).map_err(|error| error.to_string())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let data = Data::load(&args.data)?;
    let (train, test) = (Set::new(&data.train)?, Set::new(&data.test)?);
    if train.len() < BATCH {
        let (folder, found) = (args.data.display(), train.len());
        return Err(format!(
            "{folder}: expected at least {BATCH} training images, one batch, found {found}"
        )
        .into());
    }
    println!(
        "{} training and {} test images from {}",
        train.len(),
        test.len(),
        args.data.display()
    );
    println!("AdamW: batch {BATCH}, learning rate {LEARNING_RATE}");

    let [plain_variables, do_conv_variables] = [VarMap::new(), VarMap::new()];
    let vb = VarBuilder::from_varmap(&plain_variables, DType::F32, &Device::Cpu);
    let plain = Net::plain(vb)?;
    let do_conv = Net::do_conv(&plain, &do_conv_variables)?;
    let mut plain = Trainer::new(plain, &plain_variables)?;
    let mut do_conv = Trainer::new(do_conv, &do_conv_variables)?;

    let steps = 2 * u64::from(args.epochs) * (train.len() / BATCH) as u64;
    let bar = ProgressBar::new(steps)
        .with_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} steps, {eta} left")?);
    println!(
        "\n         training loss     test accuracy, %\nepoch    plain  DO-Conv    plain  DO-Conv"
    );
    for epoch in 1..=args.epochs {
        let order = shuffled(train.len(), args.seed, epoch)?;
        let losses = [plain.epoch(&train, &order, &bar)?, do_conv.epoch(&train, &order, &bar)?];
        let accuracies = [percent(&plain.net, &test)?, percent(&do_conv.net, &test)?];
        bar.suspend(|| {
            println!(
                "{epoch:>5}  {:>7.4}  {:>7.4}  {:>7.2}  {:>7.2}",
                losses[0], losses[1], accuracies[0], accuracies[1]
            );
        });
    }
    bar.finish_and_clear();

    let folded = do_conv.net.fold(DoConv2d::fold_for_cpu)?;
    let candles = do_conv.net.fold(DoConv2d::fold)?;
    let seconds = |time: std::time::Duration| time.as_secs_f64() / f64::from(args.epochs);
    let row = |name: &str, parameters: usize, accuracy: f32, seconds: Option<f64>| {
        let seconds = seconds.map_or("–".to_owned(), |seconds| format!("{seconds:.2}"));
        println!("{name:<22}  {parameters:>10}  {accuracy:>11.2}  {seconds:>9}");
    };
    println!("\nnet                     parameters  accuracy, %  s / epoch");
    let parameters = count(&plain_variables);
    row("plain", parameters, percent(&plain.net, &test)?, Some(seconds(plain.time)));
    let over = count(&do_conv_variables);
    row("DO-Conv", over, percent(&do_conv.net, &test)?, Some(seconds(do_conv.time)));
    row("folded for the CPU", parameters, percent(&folded, &test)?, None);
    row("folded into candle's", parameters, percent(&candles, &test)?, None);

    let unfolded = logits(&do_conv.net, &test)?;
    let of_folded = logits(&folded, &test)?;
    let differing = differing_bits(&unfolded, &of_folded)?;
    let all = unfolded.elem_count();
    println!("\nfolded for the CPU: {differing} of {all} test logits have other bits");
    let difference = (logits(&candles, &test)? - &unfolded)?.abs()?.max_all()?;
    println!("folded into candle's: largest difference {:.1e}", difference.to_scalar::<f32>()?);
    match differing {
        0 => Ok(()),
        _ => Err("the fold changed logits".into()),
    }
}

/// A fresh order of the training images for every epoch, the same for both nets.
fn shuffled(len: usize, seed: u64, epoch: u32) -> candle_core::Result<Tensor> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (u64::from(epoch) << 32) | 1;
    let mut order: Vec<u32> = (0..len as u32).collect();
    for i in (1..len).rev() {
        // Xorshift (Marsaglia, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(i, (state % (i as u64 + 1)) as usize);
    }
    Tensor::new(order, &Device::Cpu)
}

fn percent(net: &impl Module, set: &Set) -> candle_core::Result<f32> {
    Ok(100.0 * accuracy(&logits(net, set)?, set)?)
}

fn count(variables: &VarMap) -> usize {
    variables.all_vars().iter().map(|variable| variable.elem_count()).sum()
}

fn differing_bits(a: &Tensor, b: &Tensor) -> candle_core::Result<usize> {
    let [a, b] = [a, b].map(|logits| logits.flatten_all()?.to_vec1::<f32>());
    Ok(a?.iter().zip(&b?).filter(|(a, b)| a.to_bits() != b.to_bits()).count())
}
