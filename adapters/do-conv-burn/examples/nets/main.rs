//! A small ResNet and a small MobileNet, with burn's plain or with DO-Conv layers, trained by burn on MNIST or
//! Fashion-MNIST: AdamW, a cosine schedule, a checkpoint after every epoch that a training resumes from, burn's
//! metrics and its dashboard. A DO-Conv net is folded at the end, and what is saved is a plain net, under the
//! names that `torch.nn` has for it.
//!
//! ```text
//! cargo run --release -p do-conv-burn --example nets
//! cargo run --release -p do-conv-burn --example nets -- --net mobilenet --layers plain --epochs 10
//! cargo run --release -p do-conv-burn --example nets -- --data path/to/fashion-mnist --folder runs/fashion --epochs 5
//! cargo run --release -p do-conv-burn --example nets -- --data path/to/fashion-mnist --folder runs/fashion --resume 5 --epochs 10
//! ```

#[path = "../../../../examples/mnist/data.rs"]
mod data;
#[allow(dead_code)] // The example of MNIST needs more.
#[path = "../mnist/dataset.rs"]
mod dataset;
#[path = "../mnist/lines.rs"]
mod lines;
mod model;

use std::error::Error;
use std::fs;
use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::optim::AdamWConfig;
use burn::store::{BurnToPyTorchAdapter, ModuleSnapshot, SafetensorsStore};
use burn::tensor::Device;
use burn::train::checkpoint::KeepLastNCheckpoints;
use burn::train::metric::{AccuracyMetric, LossMetric};
use burn::train::{Learner, SupervisedTraining};
use clap::{Parser, ValueEnum, value_parser};
use do_conv_burn::DoConv2d;

use data::Data;
use dataset::Images;
use lines::Lines;
use model::{Layer, Net, Trained};

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
    net: Kind,

    #[arg(long, value_enum, default_value = "do-conv")]
    layers: Layers,

    /// Passes over the training images
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=10_000))]
    epochs: u32,

    /// Seed of the first parameters and of the order of the images
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Where checkpoints and the trained net go; none are written without
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,

    /// Goes on after that epoch, from its checkpoint in the folder
    #[arg(long, value_name = "EPOCH", requires = "folder")]
    resume: Option<usize>,

    /// Lines of text instead of the dashboard, as where the output isn't a terminal
    #[arg(long)]
    plain_output: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Resnet,
    Mobilenet,
}

#[derive(Clone, Copy, ValueEnum)]
enum Layers {
    Plain,
    DoConv,
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
        let expected = format!("at least {BATCH} training images, one batch");
        return Err(format!("{folder}: expected {expected}, found {found}").into());
    }
    println!("{found} training and {} test images from {folder}", test.len());
    let (images, test) = (Images::new(images), Images::new(test));
    match args.layers {
        Layers::Plain => {
            let net = train::<Conv2d>("plain", &images, &test, args)?;
            println!("\nplain: {:.2} % of the test images", accuracy(&net, &test)?);
            save(&net, args)
        }
        Layers::DoConv => {
            let net = train::<DoConv2d>("DO-Conv", &images, &test, args)?;
            let folded = net.convert(DoConv2d::fold_for_cpu);
            println!("\nDO-Conv: {:.2} % of the test images", accuracy(&net, &test)?);
            println!("folded: {:.2} %", accuracy(&folded, &test)?);
            println!("{} parameters, folded {}", net.num_params(), folded.num_params());
            save(&folded, args)
        }
    }
}

/// The net after its training, without autodiff.
fn train<C: Trained>(
    name: &str,
    images: &Images,
    test: &Images,
    args: &Args,
) -> Result<Net<C>, Box<dyn Error>> {
    let device = Device::flex().autodiff();
    device.seed(args.seed);
    let net: Net<C> = match args.net {
        Kind::Resnet => Net::resnet(&device),
        Kind::Mobilenet => Net::mobilenet(&device),
    };
    println!("{name}: {} parameters", net.num_params());

    // burn writes the metrics of every batch to files, too.
    let temporary = tempfile::tempdir()?;
    let folder = args.folder.as_deref().unwrap_or(temporary.path());
    let batches = burn::data::dataset::Dataset::len(images).div_ceil(BATCH);
    let mut training = SupervisedTraining::new(
        folder,
        images.loader(BATCH, Some(args.seed)),
        test.loader(TEST_BATCH, None),
    )
    .metrics((LossMetric::new(), AccuracyMetric::new()))
    .num_epochs(args.epochs as usize)
    .label(name)
    .with_application_logger(None);
    if args.folder.is_some() {
        let every_epoch = KeepLastNCheckpoints::new(args.epochs as usize);
        training = training.with_default_checkpointers().with_checkpointing_strategy(every_epoch);
    }
    if let Some(epoch) = args.resume {
        // burn panics for want of one.
        let path = folder.join(format!("checkpoint/model-{epoch}.bpk"));
        if !path.is_file() {
            return Err(format!("{}: expected the checkpoint of an epoch", path.display()).into());
        }
        training = training.checkpoint(epoch);
    }
    if args.plain_output || !stdout().is_terminal() {
        training = training.renderer(Box::new(Lines::default()));
    }
    let interrupter = training.interrupter();
    let steps = args.epochs as usize * batches;
    let schedule = CosineAnnealingLrSchedulerConfig::new(LEARNING_RATE, steps).init()?;
    let optimizer = AdamWConfig::new().with_weight_decay(1e-4).init();

    let start = Instant::now();
    let result = training.launch(Learner::new(net, optimizer, schedule));
    let seconds = start.elapsed().as_secs_f64();
    if let Some(error) = result.error {
        return Err(format!("{name}: {error}").into());
    }
    // The dashboard takes back a stop before burn returns it, but leaves the reason.
    if let Some(reason) = interrupter.get_message() {
        return Err(format!("{name}: {reason}").into());
    }
    let epochs = args.epochs as usize - args.resume.unwrap_or(0).min(args.epochs as usize);
    if epochs > 0 {
        println!("{:.2} seconds per epoch, the test included", seconds / epochs as f64);
    }
    Ok(result.model)
}

/// Percent of the images that are classified correctly.
fn accuracy<C: Layer>(net: &Net<C>, test: &Images) -> Result<f64, Box<dyn Error>> {
    let (mut correct, mut all) = (0, 0);
    for (images, labels) in test.batches(TEST_BATCH, &Device::flex()) {
        let answers: Vec<i64> = net.logits(images).argmax(1).try_into_vec_as()?;
        let pairs = answers.iter().zip(&labels);
        correct += pairs.filter(|(answer, label)| **answer == i64::from(**label)).count();
        all += labels.len();
    }
    Ok(100.0 * correct as f64 / all as f64)
}

/// Writes a plain net that `torch.nn` modules of the same names load.
fn save<C: Layer>(net: &Net<C>, args: &Args) -> Result<(), Box<dyn Error>> {
    let Some(folder) = &args.folder else { return Ok(()) };
    fs::create_dir_all(folder)?;
    let path = folder.join("net.safetensors");
    let mut store =
        SafetensorsStore::from_file(&path).overwrite(true).with_to_adapter(BurnToPyTorchAdapter);
    net.save_into(&mut store)?;
    println!("saved {}", path.display());
    Ok(())
}
