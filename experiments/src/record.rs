//! What a run is asked to be, and what it gave.

mod float;

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What is learnt.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// The class of an image: top-1 accuracy.
    Classify,
    /// The class of each pixel of a scene: mean intersection over union.
    Segment,
    /// The boxes of the objects of a scene: mean average precision at an overlap of one half.
    Detect,
}

impl Task {
    /// The metric's name, as tables and plots have it. All metrics are percentages.
    pub fn metric(self) -> &'static str {
        match self {
            Self::Classify => "top-1",
            Self::Segment => "mean IoU",
            Self::Detect => "AP50",
        }
    }
}

/// The net, or what a scene's net looks with.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum NetKind {
    /// Three convolutions of stride 2 with a bias, the net of PyTorch's tutorial and the published samples.
    Tutorial,
    /// Stages of two 3×3 convolutions a block, without shortcuts.
    Plain,
    /// The same with shortcuts (He et al., arXiv 1512.03385).
    ResnetV1,
    /// Bottlenecks, whose stride is that of the 3×3 convolution.
    ResnetV1b,
    /// Batch norm and ReLU before each convolution (He et al., arXiv 1603.05027).
    ResnetV2,
    /// Bottlenecks with a grouped 3×3 convolution (Xie et al., arXiv 1611.05431).
    Resnext,
    /// A depthwise and a pointwise convolution a block (Howard et al., arXiv 1704.04861).
    Mobilenet,
}

/// The layers of a net.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Plain convolutions: what the other kinds are compared with.
    Plain,
    /// DO-Conv.
    DoConv,
    /// A depthwise and a pointwise convolution in the place of each that is larger than 1×1 and isn't depthwise.
    Separable,
}

/// `S`, the depth multiplier of `D`, for a kernel of `MN` taps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum DMul {
    /// `MN + k`.
    Plus(usize),
    /// `k·MN`.
    Times(usize),
}

/// How `D` starts.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum DStart {
    /// As the identity: with `S = MN` the net starts as the same function as the plain one.
    Identity,
    /// Kaiming-uniform, as in the paper's ablation.
    Random,
}

/// How the learning rate goes on from its start.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Down to zero at the end, along half a cosine.
    Cosine,
    /// As it is.
    Constant,
}

/// The layers that are DO-Conv or separable; the others are plain.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Replaced {
    /// Every layer.
    All,
    /// The first layer.
    Stem,
    /// The first stage's.
    First,
    /// The middle stages'.
    Middle,
    /// The last stage's.
    Last,
    /// The stem's and all stages'.
    Backbone,
    /// Those behind the last stage, which only nets for scenes have.
    Head,
}

/// All that a run's numbers follow from, but for the instruction set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// What is learnt.
    pub task: Task,
    /// The net.
    pub net: NetKind,
    /// Its layers.
    pub kind: Kind,
    /// The multiplier of `D`; of DO-Conv only, as the next three.
    pub d_mul: DMul,
    /// How `D` starts.
    pub d_init: DStart,
    /// Whether weight decay draws the offset of `D` to zero, that is `D` to the identity.
    pub decay_offset: bool,
    /// Which layers are of that kind.
    pub replaced: Replaced,
    /// How the engine computes: `direct`, `winograd2` or `winograd4`.
    pub algorithm: String,
    /// The rate at the start.
    pub learning_rate: f64,
    /// How it goes on.
    pub schedule: Schedule,
    /// Weight decay of every parameter, but for `decay_offset`.
    pub weight_decay: f64,
    /// Images of a step.
    pub batch: usize,
    /// Passes over the training images.
    pub epochs: usize,
    /// Training images that are used, the first ones of the set; all without.
    pub images: Option<usize>,
    /// Blocks of a stage.
    pub blocks: usize,
    /// Name of the images' folder, and a hash of the images: `mnist-0123456789abcdef`.
    pub data: String,
    /// Seed of the first parameters, of the order of images, and of nothing else.
    pub seed: u64,
}

impl RunConfig {
    /// The run that this one is compared with: the same with plain layers.
    pub fn as_plain(&self) -> Self {
        Self { kind: Kind::Plain, ..self.clone() }.simplified()
    }

    /// The same run, where options that its kind doesn't have are as they are by default, so that equal runs are
    /// equal.
    pub fn simplified(self) -> Self {
        let replaced = match (self.task, self.replaced) {
            (Task::Classify, Replaced::Backbone) => Replaced::All,
            (_, replaced) => replaced,
        };
        let is_staged = (self.task, self.net) != (Task::Classify, NetKind::Tutorial);
        let common = Self { blocks: if is_staged { self.blocks } else { 1 }, replaced, ..self };
        let without_d = |config: Self| Self {
            d_mul: DMul::Times(1),
            d_init: DStart::Identity,
            decay_offset: true,
            ..config
        };
        match common.kind {
            Kind::Plain => Self { replaced: Replaced::All, ..without_d(common) },
            Kind::Separable => without_d(common),
            Kind::DoConv => Self {
                d_mul: if common.d_mul == DMul::Plus(0) { DMul::Times(1) } else { common.d_mul },
                decay_offset: common.decay_offset || common.weight_decay == 0.0,
                ..common
            },
        }
    }

    /// The same run with DO-Conv as the published code has it: `S = MN`, from the identity, everywhere.
    pub fn as_standard_do_conv(&self) -> Self {
        Self { kind: Kind::DoConv, ..self.as_plain() }
    }

    /// A name for files, another one for every configuration.
    pub fn id(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        let hash = hash(json.bytes());
        let (task, net, kind) = (name(&self.task), name(&self.net), name(&self.kind));
        format!("{task}-{net}-{kind}-{hash:016x}-seed{}", self.seed)
    }
}

/// The name that the command line, records and reports have for a value.
pub fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// FNV-1a, the same on every machine.
pub fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// An epoch: means over its batches as they were trained with, and over batches of the test after it (losses), and the
/// metric of all of their images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Counts from 1.
    pub epoch: usize,
    /// Loss in training.
    #[serde(with = "float")]
    pub train_loss: f64,
    /// Metric in training, in percent.
    #[serde(with = "float")]
    pub train_metric: f64,
    /// Loss in the test.
    #[serde(with = "float")]
    pub test_loss: f64,
    /// Metric in the test, in percent.
    #[serde(with = "float")]
    pub test_metric: f64,
    /// Training alone, in seconds.
    #[serde(with = "float")]
    pub seconds: f64,
}

/// What a run gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// What it was asked to be.
    pub config: RunConfig,
    /// One for each epoch, in order.
    pub epochs: Vec<Epoch>,
    /// Metric of the trained net on all test images, in percent.
    #[serde(with = "float")]
    pub metric: f64,
    /// The same after the fold; equal for a net that has nothing to fold.
    #[serde(with = "float")]
    pub folded_metric: f64,
    /// How many of the net's test outputs have other bits after the fold.
    pub other_bits: u64,
    /// Parameters in training.
    pub parameters: u64,
    /// Parameters after the fold.
    pub folded_parameters: u64,
    /// Multiply-accumulates of the convolutions for one image, forward, in training.
    pub maccs: u64,
    /// The same after the fold.
    pub folded_maccs: u64,
    /// The most memory that was allocated at once, images included, in bytes.
    pub peak_bytes: u64,
    /// Threads that computed it, on which no number above depends but times and memory.
    pub threads: usize,
    /// What it was computed with, on which the last bits of numbers depend: `avx512`, `avx2`, `neon`, `portable`.
    pub instruction_set: String,
}

impl fmt::Display for DMul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(1) | Self::Plus(0) => f.write_str("mn"),
            Self::Times(k) => write!(f, "{k}mn"),
            Self::Plus(k) => write!(f, "mn+{k}"),
        }
    }
}

impl From<DMul> for String {
    fn from(d_mul: DMul) -> Self {
        d_mul.to_string()
    }
}

impl TryFrom<String> for DMul {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for DMul {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("expected `mn`, `mn+K` or `Kmn` with a number K above 0, got {text:?}");
        let number = |text: &str| text.parse().ok().filter(|&k: &usize| k > 0).ok_or_else(wrong);
        match text.split_once("mn") {
            Some(("", "")) => Ok(Self::Times(1)),
            Some(("", more)) => number(more.strip_prefix('+').ok_or_else(wrong)?).map(Self::Plus),
            Some((times, "")) => number(times).map(Self::Times),
            _ => Err(wrong()),
        }
    }
}

impl DMul {
    /// `S` for a kernel of that many taps, if it is a number.
    pub fn of(self, taps: usize) -> Option<usize> {
        match self {
            Self::Plus(k) => taps.checked_add(k),
            Self::Times(k) => taps.checked_mul(k),
        }
    }
}
