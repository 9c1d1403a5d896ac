//! MNIST with and without DO-Conv, trained by burn.
//!
//! The same net is trained twice from the same start, once with burn's [`Conv2d`] layers and once with
//! [`do_conv_burn::DoConv2d`] in their place; then the DO-Conv net is folded into plain layers, and
//! its logits must keep every bit. In a terminal, burn's dashboard shows the training.
//!
//! ```text
//! cargo run --release -p do-conv-burn --example mnist
//! cargo run --release -p do-conv-burn --example mnist -- --epochs 20 --seed 1 --plain-output
//! cargo run --release -p do-conv-burn --example mnist -- --data path/to/fashion-mnist
//! ```
//!
//! [`Conv2d`]: burn::nn::conv::Conv2d

#[path = "../../../../examples/mnist/data.rs"]
mod data;
mod dataset;
mod lines;
mod net;
mod report;
mod train;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use burn::tensor::Device;
use clap::{Parser, value_parser};

use data::Data;
use dataset::Images;
use net::Net;
use report::{Answers, table};
use train::{BATCH, train};

/// Trains a small MNIST net twice with burn, with plain and with DO-Conv layers, then folds the
/// DO-Conv net and checks that the fold changed no bit of its logits.
#[derive(Parser)]
#[command(name = "mnist")]
struct Args {
    /// Folder of the four IDX files (MNIST, Fashion-MNIST, …), raw or `.gz`
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/mnist/data"))]
    data: PathBuf,

    /// Passes over the training images
    #[arg(long, default_value_t = 12, value_parser = value_parser!(u32).range(1..=10_000))]
    epochs: u32,

    /// Seed of the first parameters and of the order of the images
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Lines of text instead of the dashboard, as where the output isn't a terminal
    #[arg(long)]
    plain_output: bool,
}

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
    let Data { train: images, test } = Data::load(&args.data)?;
    let (folder, found) = (args.data.display(), images.len());
    if found < BATCH {
        return Err(format!(
            "{folder}: expected at least {BATCH} training images, one batch, found {found}"
        )
        .into());
    }
    println!("{found} training and {} test images from {folder}", test.len());
    let (images, test) = (Images::new(images), Images::new(test));

    let plain = Net::plain(args.seed, &Device::flex().autodiff());
    let do_conv = plain.over_parameterize()?;
    let plain = train("plain", plain, &images, &test, args)?;
    let do_conv = train("DO-Conv", do_conv, &images, &test, args)?;

    let of_plain = Answers::new(&plain.net, &test)?;
    let of_do_conv = Answers::new(&do_conv.net, &test)?;
    let of_folded = Answers::new(&do_conv.net.fold(), &test)?;
    let nets = [
        ("plain", &of_plain, Some(plain.seconds_per_epoch)),
        ("DO-Conv", &of_do_conv, Some(do_conv.seconds_per_epoch)),
        ("folded", &of_folded, None),
    ];
    println!("\n{}", table(nets));
    let (differing, logits) = of_folded.differing(&of_do_conv);
    println!("\n{differing} of {logits} test logits have other bits after the fold");
    if differing > 0 {
        return Err("the folded net is not the trained one".into());
    }
    Ok(())
}
