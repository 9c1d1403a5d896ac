//! The grid: every combination of the options that were given, each from every seed.

use clap::{Args, value_parser};
use do_conv::Algorithm;

use crate::record::{DMul, DStart, Kind, NetKind, Replaced, RunConfig, Schedule, Task};

/// Options that take a list are the axes of the grid.
#[derive(Args, Clone, Debug)]
pub struct Grid {
    /// What is learnt
    #[arg(long, value_enum, value_delimiter = ',', default_value = "classify")]
    pub task: Vec<Task>,

    /// The net, or the backbone of a scene's net
    #[arg(long, value_enum, value_delimiter = ',', default_value = "resnet-v1")]
    pub net: Vec<NetKind>,

    /// The layers; plain ones are always run, to compare with
    #[arg(long, value_enum, value_delimiter = ',', default_value = "do-conv")]
    pub kind: Vec<Kind>,

    /// S, the depth multiplier of D, for kernels of MN taps: mn, mn+K or Kmn
    #[arg(long, value_delimiter = ',', default_value = "mn")]
    pub d_mul: Vec<DMul>,

    /// How D starts
    #[arg(long, value_enum, value_delimiter = ',', default_value = "identity")]
    pub d_init: Vec<DStart>,

    /// Whether weight decay draws D to the identity, too
    #[arg(long, value_delimiter = ',', default_value = "true", action = clap::ArgAction::Append)]
    pub decay_offset: Vec<bool>,

    /// The layers that are DO-Conv or separable
    #[arg(long, value_enum, value_delimiter = ',', default_value = "all")]
    pub replaced: Vec<Replaced>,

    /// How the engine computes: direct, winograd2 or winograd4
    #[arg(long, value_delimiter = ',', default_value = "direct")]
    pub algorithm: Vec<Algorithm>,

    /// Learning rate at the start
    #[arg(long, value_delimiter = ',', default_value = "0.1", value_parser = rate, allow_negative_numbers = true)]
    pub learning_rate: Vec<f64>,

    /// How the learning rate goes on
    #[arg(long, value_enum, default_value = "cosine")]
    pub schedule: Schedule,

    /// Weight decay
    #[arg(long, value_delimiter = ',', default_value = "0.0001", value_parser = not_negative, allow_negative_numbers = true)]
    pub weight_decay: Vec<f64>,

    /// Images of a step
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub batch: usize,

    /// Passes over the training images
    #[arg(long, default_value_t = 5, value_parser = at_least_one)]
    pub epochs: usize,

    /// Training images, the first ones of the set, or scenes composed of them [default: all images, 4000 scenes]
    #[arg(long, value_parser = at_least_one)]
    pub images: Option<usize>,

    /// Blocks of a stage
    #[arg(long, default_value_t = 2, value_parser = at_least_one)]
    pub blocks: usize,

    /// Number of runs of each, from the seeds 0, 1, …
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u64).range(1..=10_000))]
    pub seeds: u64,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("expected a whole number above 0".to_owned()),
    }
}

/// burn's schedules have no rate above 1.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && number <= 1.0 => Ok(number),
        _ => Err("expected a number above 0 and at most 1".to_owned()),
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number >= 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("expected a number that is not below 0".to_owned()),
    }
}

impl Grid {
    /// Its runs on images of that name, seed by seed, so that all that is compared is there early; each once.
    pub fn runs(&self, data: &str) -> Vec<RunConfig> {
        let mut runs: Vec<RunConfig> = Vec::new();
        for seed in 0..self.seeds {
            for run in self.of_seed(data, seed) {
                for run in [run.as_plain(), run] {
                    if !runs.contains(&run) {
                        runs.push(run);
                    }
                }
            }
        }
        runs
    }

    fn of_seed(&self, data: &str, seed: u64) -> Vec<RunConfig> {
        let first = RunConfig {
            task: Task::Classify,
            net: NetKind::ResnetV1,
            kind: Kind::Plain,
            d_mul: DMul::Times(1),
            d_init: DStart::Identity,
            decay_offset: true,
            replaced: Replaced::All,
            algorithm: String::new(),
            learning_rate: 0.0,
            schedule: self.schedule,
            weight_decay: 0.0,
            batch: self.batch,
            epochs: self.epochs,
            images: self.images,
            blocks: self.blocks,
            data: data.to_owned(),
            seed,
        };
        let algorithms: Vec<_> = self.algorithm.iter().map(Algorithm::to_string).collect();
        let runs = vec![first];
        let runs = vary(runs, &self.task, |run, task| run.task = task);
        let runs = vary(runs, &self.net, |run, net| run.net = net);
        let runs = vary(runs, &algorithms, |run, algorithm| run.algorithm = algorithm);
        let runs = vary(runs, &self.learning_rate, |run, rate| run.learning_rate = rate);
        let runs = vary(runs, &self.weight_decay, |run, decay| run.weight_decay = decay);
        let runs = vary(runs, &self.kind, |run, kind| run.kind = kind);
        let runs = vary(runs, &self.replaced, |run, replaced| run.replaced = replaced);
        let runs = vary(runs, &self.d_mul, |run, d_mul| run.d_mul = d_mul);
        let runs = vary(runs, &self.d_init, |run, d_init| run.d_init = d_init);
        let runs = vary(runs, &self.decay_offset, |run, decay| run.decay_offset = decay);
        runs.into_iter().map(RunConfig::simplified).collect()
    }
}

/// Each of the runs with each of the values.
fn vary<V: Clone>(
    runs: Vec<RunConfig>,
    values: &[V],
    set: impl Fn(&mut RunConfig, V),
) -> Vec<RunConfig> {
    let with = |run: &RunConfig, value: &V| {
        let mut run = run.clone();
        set(&mut run, value.clone());
        run
    };
    runs.iter().flat_map(|run| values.iter().map(|value| with(run, value))).collect()
}
