//! Training by burn: its learner, its optimizer, its metrics.

use std::error::Error;
use std::io::{IsTerminal, stdout};
use std::time::Instant;

use burn::optim::SgdConfig;
use burn::optim::momentum::MomentumConfig;
use burn::train::metric::{AccuracyMetric, LossMetric};
use burn::train::{Learner, SupervisedTraining};

use crate::Args;
use crate::dataset::Images;
use crate::lines::Lines;
use crate::net::{Layer, Net};

pub const BATCH: usize = 32;
const LEARNING_RATE: f64 = 0.01;
const MOMENTUM: f64 = 0.9;

/// Test images are looked at in larger batches.
pub const TEST_BATCH: usize = 250;

pub struct Trained<L: Layer> {
    /// Without autodiff.
    pub net: Net<L>,
    /// Training and test.
    pub seconds_per_epoch: f64,
}

pub fn train<L: Layer>(
    name: &str,
    net: Net<L>,
    images: &Images,
    test: &Images,
    args: &Args,
) -> Result<Trained<L>, Box<dyn Error>> {
    // burn's momentum has a dampening of 0.1 if nobody says otherwise.
    let momentum = MomentumConfig::new().with_momentum(MOMENTUM).with_dampening(0.0);
    let optimizer = SgdConfig::new().with_momentum(Some(momentum)).init();
    // burn writes the metrics of every batch to files.
    let folder = tempfile::tempdir()?;
    let mut training = SupervisedTraining::new(
        folder.path(),
        images.loader(BATCH, Some(args.seed)),
        test.loader(TEST_BATCH, None),
    )
    .metrics((LossMetric::new(), AccuracyMetric::new()))
    .num_epochs(args.epochs as usize)
    .label(name)
    .with_application_logger(None);
    if args.plain_output || !stdout().is_terminal() {
        training = training.renderer(Box::new(Lines::default()));
    }
    let interrupter = training.interrupter();

    let start = Instant::now();
    let result = training.launch(Learner::new(net, optimizer, LEARNING_RATE));
    let seconds = start.elapsed().as_secs_f64();
    if let Some(error) = result.error {
        return Err(format!("{name}: {error}").into());
    }
    // The dashboard takes back a stop before burn returns it, but leaves the reason.
    if let Some(reason) = interrupter.get_message() {
        return Err(format!("{name}: {reason}").into());
    }
    folder.close()?;
    Ok(Trained { net: result.model, seconds_per_epoch: seconds / f64::from(args.epochs) })
}
