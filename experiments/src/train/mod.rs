//! A run: a net trained by burn, folded, and looked at.

mod checkpoint;
mod progress;

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use burn::data::dataloader::{DataLoader, Progress as Seen};
use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::module::ParamGroup;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{ModuleOptimizer, SgdConfig};
use burn::tensor::Device;
use burn::train::checkpoint::KeepLastNCheckpoints;
use burn::train::logger::{FileMetricLogger, MetricLogger};
use burn::train::metric::store::Split;
use burn::train::metric::{Adaptor, LossMetric, Metric, MetricMetadata, Numeric};
use burn::train::{InferenceStep, Learner, SupervisedTraining};
use do_conv::instruction_set;

use crate::data::idx::Data;
use crate::nets::{Builder, Classifier, Conv, Detector, Maccs, Net, Options, Segmenter, map};
use crate::record::{Epoch, NetKind, RunConfig, RunResult, Schedule, Task};
use crate::task::Learnt;
use checkpoint::Whole;
pub use progress::Event;
use progress::{Reporter, Silent, seconds};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Of stochastic gradient descent.
const MOMENTUM: f64 = 0.9;

/// How a run is watched.
pub struct Watch {
    /// burn's dashboard, instead of events.
    pub dashboard: bool,
    /// Where events go, a line of JSON each.
    pub events: Box<dyn Write + Send>,
    /// The most bytes that were allocated at once so far.
    pub peak_bytes: fn() -> u64,
    /// Threads that compute.
    pub threads: usize,
}

/// Does the run, from the last checkpoint in the folder if there is one, once no other process does it there.
///
/// # Errors
/// For a configuration that can't be, for files that can't be written, and for what stops burn.
pub fn run(config: &RunConfig, data: Data, folder: &Path, watch: Watch) -> Result<RunResult> {
    let lock = File::create(folder.join("lock"))?;
    lock.lock()?;
    match config.task {
        Task::Classify => train::<Classifier>(config, data, folder, watch),
        Task::Segment => train::<Segmenter>(config, data, folder, watch),
        Task::Detect => train::<Detector>(config, data, folder, watch),
    }
}

/// Says why a run can't be, of `found` images of the training and of the test, before it is started.
///
/// # Errors
/// For layers, options and numbers of images that don't go together.
pub fn check(config: &RunConfig, found: [usize; 2]) -> Result<()> {
    fn check<N: Learnt>(config: &RunConfig, found: [usize; 2]) -> Result<()> {
        N::counts(config, found)?;
        start::<N>(config, &Device::flex()).map(drop)
    }
    match config.task {
        Task::Classify => check::<Classifier>(config, found),
        Task::Segment => check::<Segmenter>(config, found),
        Task::Detect => check::<Detector>(config, found),
    }
}

fn train<N: Learnt>(
    config: &RunConfig,
    data: Data,
    folder: &Path,
    watch: Watch,
) -> Result<RunResult> {
    let device = Device::flex().autodiff();
    let (net, maccs) = start::<N>(config, &device)?;
    let done = checkpoint::last(folder, config.epochs)?;
    let loaders = N::loaders(config, data, done)?;
    let steps = config.epochs * loaders.train.num_items().div_ceil(config.batch);

    let whole = |name| Whole::new(folder, name);
    let mut training = SupervisedTraining::new(folder, loaders.train, loaders.test.clone());
    let interrupter = training.interrupter();
    let reporter = Reporter::new(folder, config.epochs, watch.events, interrupter.clone())?;
    training = training
        .metrics((LossMetric::new(), N::Metric::default()))
        .num_epochs(config.epochs)
        .with_custom_checkpointers(whole("model"), whole("optim"), whole("scheduler"))
        .with_checkpointing_strategy(KeepLastNCheckpoints::new(2))
        .with_progress_logger(reporter)
        .with_application_logger(None);
    if done > 0 {
        training = training.checkpoint(done);
    }
    if !watch.dashboard {
        training = training.renderer(Box::new(Silent));
    }
    let parameters = net.num_params();
    let schedule = match config.schedule {
        Schedule::Cosine => {
            CosineAnnealingLrSchedulerConfig::new(config.learning_rate, steps).init()?
        }
        Schedule::Constant => config.learning_rate.into(),
    };
    let result = training.launch(Learner::new(net, optimizer(config)?, schedule));
    if let Some(error) = result.error {
        return Err(error.to_string().into());
    }
    // The dashboard takes back a stop before burn returns it, but leaves the reason.
    if let Some(reason) = interrupter.get_message() {
        return Err(reason.into());
    }
    let peak_bytes = (watch.peak_bytes)();

    let net = result.model;
    let folded = map(&net, Conv::fold);
    Ok(RunResult {
        config: config.clone(),
        epochs: epochs::<N>(folder, config.epochs)?,
        metric: examine(&net, &*loaders.test)?,
        folded_metric: examine(&folded, &*loaders.test)?,
        other_bits: other_bits(&net, &folded, &*loaders.test)?,
        parameters: parameters as u64,
        folded_parameters: folded.num_params() as u64,
        maccs: maccs.training,
        folded_maccs: maccs.folded,
        peak_bytes,
        threads: watch.threads,
        instruction_set: instruction_set().to_string(),
    })
}

/// The net as it starts.
fn start<N: Net>(config: &RunConfig, device: &Device) -> Result<(N, Maccs)> {
    if config.task != Task::Classify && config.net == NetKind::Tutorial {
        return Err("expected a net of stages to look at scenes with, got the tutorial's".into());
    }
    let options = Options::of(config)?;
    device.seed(config.seed);
    let mut builder = Builder::new(&options, device);
    let net = N::build(&mut builder, &options)?;
    if builder.is_as_plain() {
        let expected = "a net that has layers of that kind there";
        return Err(
            format!("expected {expected}, got {:?} of {:?}", config.replaced, config.net).into()
        );
    }
    Ok((net, builder.maccs()))
}

fn optimizer(config: &RunConfig) -> Result<ModuleOptimizer> {
    // burn's momentum has a dampening of 0.1 if nobody says otherwise.
    let momentum = MomentumConfig::new().with_momentum(MOMENTUM).with_dampening(0.0);
    let without = SgdConfig::new().with_momentum(Some(momentum));
    let decay =
        (config.weight_decay > 0.0).then(|| WeightDecayConfig::new(config.weight_decay as f32));
    let optimizer = without.clone().with_weight_decay(decay).init();
    if config.decay_offset {
        return Ok(optimizer);
    }
    let offsets = ParamGroup::from_regex(r"\.D$").map_err(|error| format!("{error:?}"))?;
    Ok(optimizer.with_group(offsets, without.build(), None))
}

/// The metric of all test images, in percent.
fn examine<N: Learnt>(net: &N, test: &dyn DataLoader<N::Batch>) -> Result<f64> {
    let mut metric = N::Metric::default();
    let metadata = MetricMetadata { progress: Seen::new(0, 1, None), iteration: None, lr: None };
    for batch in test.iter() {
        let outcome = InferenceStep::step(net, batch?);
        metric.update(&Adaptor::adapt(&outcome), &metadata)?;
    }
    metric.compute()?;
    Ok(metric.final_value().current())
}

/// How many outputs of the two nets have other bits, over all test images.
fn other_bits<N: Learnt>(a: &N, b: &N, test: &dyn DataLoader<N::Batch>) -> Result<u64> {
    let mut other = 0;
    for batch in test.iter() {
        let images = N::images(&batch?);
        let outputs = |net: &N| net.outputs(images.clone()).try_into_vec_as::<f32>();
        let (a, b) = (outputs(a)?, outputs(b)?);
        other += a.iter().zip(&b).filter(|(a, b)| a.to_bits() != b.to_bits()).count() as u64;
    }
    Ok(other)
}

/// What burn wrote into the folder about each epoch.
fn epochs<N: Learnt>(folder: &Path, count: usize) -> Result<Vec<Epoch>> {
    let seconds = seconds(folder)?;
    let mut logger = FileMetricLogger::new(folder);
    let mut read = |name: &str, epoch: usize, split: Split| -> Result<f64> {
        let entries = logger.read_numeric(name, epoch, &split)?;
        let last = entries.last().map(|entry| entry.current());
        last.ok_or_else(|| format!("epoch {epoch}: burn wrote no {name} of {split}").into())
    };
    let (loss, metric) = (LossMetric::new().name(), N::Metric::default().name());
    (1..=count)
        .map(|epoch| {
            Ok(Epoch {
                epoch,
                train_loss: read(&loss, epoch, Split::Train)?,
                train_metric: read(&metric, epoch, Split::Train)?,
                test_loss: read(&loss, epoch, Split::Valid)?,
                test_metric: read(&metric, epoch, Split::Valid)?,
                seconds: seconds.get(&epoch).copied().unwrap_or(f64::NAN),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use burn::module::{Module, ModuleVisitor, Param};
    use burn::optim::GradientsParams;
    use burn::tensor::{Device, Distribution, Tensor};

    use super::*;
    use crate::record::{DStart, NetKind};
    use crate::report::sample::do_conv;

    /// Every number that is trained, parameter by parameter.
    #[derive(Default)]
    struct Numbers(Vec<Vec<f32>>);

    impl ModuleVisitor for Numbers {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let tensor = param.val();
            // Batch norms keep statistics, too.
            if tensor.is_require_grad() {
                self.0.push(tensor.try_into_vec_as().unwrap_or_default());
            }
        }
    }

    /// How many parameters that aren't zero a step leaves as they are, if no gradient but the decay changes them.
    fn not_decayed(config: &RunConfig) -> Result<usize> {
        let device = Device::flex().autodiff();
        let (net, _) = start::<Classifier>(config, &device)?;
        let images = Tensor::random([2, 1, 28, 28], Distribution::Uniform(0.0, 1.0), &device);
        let gradients = (net.outputs(images).sum() * 0.0).backward();
        let gradients = GradientsParams::from_grads(gradients, &net);
        let numbers = |net: &Classifier| {
            let mut numbers = Numbers::default();
            net.visit(&mut numbers);
            numbers.0
        };
        let before = numbers(&net);
        let after = numbers(&optimizer(config)?.step(1.0, net, gradients));
        let same = before.iter().zip(&after).filter(|(before, after)| before == after);
        Ok(same.filter(|(before, _)| before.iter().any(|&number| number != 0.0)).count())
    }

    /// The layers with a `D`: all 3×3 convolutions.
    #[test]
    fn all_but_the_offset_decays_if_that_is_asked_for() -> Result<()> {
        for (net, layers) in [
            (NetKind::Tutorial, 3),
            (NetKind::ResnetV1, 1 + 3 * 2),
            (NetKind::ResnetV2, 1 + 3 * 2),
            (NetKind::Resnext, 1 + 3),
        ] {
            let config = RunConfig { net, d_init: DStart::Random, weight_decay: 0.1, ..do_conv() };
            assert_eq!(not_decayed(&config)?, 0, "{net:?}");
            let kept = RunConfig { decay_offset: false, ..config };
            assert_eq!(not_decayed(&kept)?, layers, "{net:?}");
        }
        Ok(())
    }
}
