//! A small ResNet and a small MobileNet, with candle's plain or with DO-Conv layers, trained on MNIST or
//! Fashion-MNIST: AdamW, a cosine schedule, a checkpoint after every epoch that a training resumes from, and a
//! line of losses and accuracies for each. A DO-Conv net is folded at the end, and what is saved is a plain net,
//! under the names that `torch.nn` has for it.
//!
//! ```text
//! cargo run --release -p do-conv-candle --example nets
//! cargo run --release -p do-conv-candle --example nets -- --net mobilenet --layers plain --epochs 10
//! cargo run --release -p do-conv-candle --example nets -- --data path/to/fashion-mnist --folder runs/fashion --epochs 5
//! cargo run --release -p do-conv-candle --example nets -- --data path/to/fashion-mnist --folder runs/fashion --resume 5 --epochs 10
//! ```
//!
//! candle's AdamW can't be saved: its moments start again at zero where a training is resumed.

#[allow(dead_code)] // The core crate's example needs more.
#[path = "../../../../examples/mnist/data.rs"]
mod data;
mod model;

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use candle_core::{DType, Device, ModuleT, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, VarBuilder, VarMap, loss};
use clap::{Parser, ValueEnum, value_parser};
use indicatif::{ProgressBar, ProgressStyle};

use data::{Data, Set};
use model::{Kind, Layer, Net};

const BATCH: usize = 64;
/// Test images are looked at in larger batches.
const TEST_BATCH: usize = 250;
const LEARNING_RATE: f64 = 0.002;

/// Trains a small ResNet or MobileNet, with plain or DO-Conv layers, and saves a plain net.
#[derive(Parser)]
#[command(name = "nets")]
struct Args {
    /// Folder of the four IDX files (MNIST, Fashion-MNIST, …), raw or `.gz`
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/mnist/data"))]
    data: PathBuf,

    #[arg(long, value_enum, default_value = "resnet")]
    net: Nets,

    #[arg(long, value_enum, default_value = "do-conv")]
    layers: Layers,

    /// Passes over the training images
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=10_000))]
    epochs: u32,

    /// Seed of the order of the images
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Where checkpoints and the trained net go; none are written without
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,

    /// Goes on after that epoch, from its checkpoint in the folder
    #[arg(long, value_name = "EPOCH", requires = "folder")]
    resume: Option<u32>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Nets {
    Resnet,
    Mobilenet,
}

#[derive(Clone, Copy, ValueEnum)]
enum Layers {
    Plain,
    DoConv,
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
    let Data { train, test } = Data::load(&args.data)?;
    let (data, found) = (args.data.display(), train.len());
    if found < BATCH {
        let expected = format!("at least {BATCH} training images, one batch");
        return Err(format!("{data}: expected {expected}, found {found}").into());
    }
    println!("{found} training and {} test images from {data}", test.len());

    let mut variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    let kind = match args.layers {
        Layers::Plain => Kind::Plain,
        Layers::DoConv => Kind::DoConv,
    };
    let net = match args.net {
        Nets::Resnet => Net::resnet(kind, vb)?,
        Nets::Mobilenet => Net::mobilenet(kind, vb)?,
    };
    if let (Some(folder), Some(epoch)) = (&args.folder, args.resume) {
        variables.load(folder.join(format!("epoch-{epoch}.safetensors")))?;
    }
    train_net(&net, &variables, &train, &test, args)?;

    let folded = net.fold()?;
    println!("\ntrained: {:.2} % of the test images", percent(&net, &test)?);
    println!("folded: {:.2} %", percent(&folded, &test)?);
    if let Some(folder) = &args.folder {
        let path = folder.join("net.safetensors");
        candle_core::safetensors::save(&tensors(&folded)?, &path)?;
        println!("saved {}", path.display());
    }
    Ok(())
}

fn train_net(
    net: &Net,
    variables: &VarMap,
    train: &Set,
    test: &Set,
    args: &Args,
) -> Result<(), Box<dyn Error>> {
    // Running means and variances are variables, too, but no gradient comes to them.
    let parameters = ParamsAdamW { lr: LEARNING_RATE, weight_decay: 1e-4, ..Default::default() };
    let mut optimizer = AdamW::new(variables.all_vars(), parameters)?;
    let batches = train.len() / BATCH;
    let steps = args.epochs as usize * batches;
    let done = args.resume.unwrap_or(0);
    let bar = ProgressBar::new(u64::from(args.epochs.saturating_sub(done)) * batches as u64)
        .with_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} steps, {eta} left")?);
    println!("\nepoch  training loss  test accuracy, %  seconds");
    for epoch in done + 1..=args.epochs {
        let start = Instant::now();
        let order = shuffled(train.len(), args.seed, epoch);
        let mut sum = 0.0;
        for (index, indices) in order.chunks_exact(BATCH).enumerate() {
            let step = (epoch as usize - 1) * batches + index;
            let progress = step as f64 / steps as f64;
            optimizer.set_learning_rate(
                LEARNING_RATE * (1.0 + (std::f64::consts::PI * progress).cos()) / 2.0,
            );
            let (images, labels) = batch(train, indices.iter().copied())?;
            let loss = loss::cross_entropy(&net.forward_t(&images, true)?, &labels)?;
            optimizer.backward_step(&loss)?;
            sum += loss.to_scalar::<f32>()?;
            bar.inc(1);
        }
        let (seconds, loss) = (start.elapsed().as_secs_f64(), sum / batches as f32);
        let accuracy = percent(net, test)?;
        bar.suspend(|| println!("{epoch:>5}  {loss:>13.4}  {accuracy:>16.2}  {seconds:>7.2}"));
        if let Some(folder) = &args.folder {
            fs::create_dir_all(folder)?;
            let layers = net.units().filter_map(|unit| match &unit.conv {
                Layer::DoConv(layer) => Some(layer),
                _ => None,
            });
            let path = folder.join(format!("epoch-{epoch}.safetensors"));
            do_conv_candle::save(variables, layers, path)?;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// A plain net's tensors, by the names that `torch.nn` modules have for them.
fn tensors(net: &Net) -> candle_core::Result<HashMap<String, Tensor>> {
    let mut tensors = HashMap::new();
    for unit in net.units() {
        let name = &unit.name;
        let Layer::Folded(conv) = &unit.conv else {
            candle_core::bail!("{name}: expected a folded layer")
        };
        tensors.insert(format!("{name}.conv.weight"), conv.weight().clone());
        let norm = &unit.norm;
        tensors.insert(format!("{name}.norm.running_mean"), norm.running_mean().clone());
        tensors.insert(format!("{name}.norm.running_var"), norm.running_var().clone());
        if let Some((weight, bias)) = norm.weight_and_bias() {
            tensors.insert(format!("{name}.norm.weight"), weight.clone());
            tensors.insert(format!("{name}.norm.bias"), bias.clone());
        }
    }
    tensors.insert("head.weight".to_owned(), net.head.weight().clone());
    if let Some(bias) = net.head.bias() {
        tensors.insert("head.bias".to_owned(), bias.clone());
    }
    Ok(tensors)
}

/// Percent of the images that are classified correctly.
fn percent(net: &Net, set: &Set) -> candle_core::Result<f32> {
    let mut right = 0.0;
    for start in (0..set.len()).step_by(TEST_BATCH) {
        let (images, labels) = batch(set, start..set.len().min(start + TEST_BATCH))?;
        let answers = net.forward_t(&images, false)?.argmax(1)?;
        right += answers.eq(&labels)?.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?;
    }
    Ok(100.0 * right / set.len() as f32)
}

/// Images `[B, 1, 28, 28]` and their labels.
fn batch(
    set: &Set,
    indices: impl ExactSizeIterator<Item = usize> + Clone,
) -> candle_core::Result<(Tensor, Tensor)> {
    let (images, labels) = set.batch(indices);
    let shape = images.shape().to_vec();
    let labels: Vec<u32> = labels.into_iter().map(u32::from).collect();
    let images = Tensor::from_vec(images.into_raw_vec_and_offset().0, shape, &Device::Cpu)?;
    Ok((images, Tensor::new(labels, &Device::Cpu)?))
}

/// A fresh order of the training images for every epoch.
fn shuffled(len: usize, seed: u64, epoch: u32) -> Vec<usize> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (u64::from(epoch) << 32) | 1;
    let mut order: Vec<usize> = (0..len).collect();
    for i in (1..len).rev() {
        // Xorshift (Marsaglia, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(i, (state % (i as u64 + 1)) as usize);
    }
    order
}
