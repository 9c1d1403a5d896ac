//! What a training is.

use std::path::PathBuf;

use clap::Args;

use crate::agreement::Facts;
use crate::data::{Data, checksum};
use crate::net::{Descent, NetKind};

/// What a training is.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Which net
    #[arg(long, value_enum, default_value = "tutorial")]
    pub net: NetKind,

    /// Residual blocks in each stage
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub blocks: u32,

    /// Folder of four IDX files of 28×28 pixels and ten classes, raw or `.gz`; on every machine
    #[arg(long, value_name = "DIR", default_value = "examples/mnist/data")]
    pub data: PathBuf,

    /// Images of a step, of all processes
    #[arg(long, default_value_t = 32)]
    pub batch: usize,

    /// Images that are differentiated at once: gradients are summed leaf by leaf, in the order of one tree for any number
    /// of processes. Of 1, image by image
    #[arg(long, default_value_t = 8)]
    pub leaf: usize,

    /// How far a step goes
    #[arg(long, default_value_t = 0.01, value_parser = finite)]
    pub learning_rate: f32,

    /// What stays of the last step
    #[arg(long, default_value_t = 0.9, value_parser = finite)]
    pub momentum: f32,

    /// For `W` and the offset of `D`
    #[arg(long, default_value_t = 0.0, value_parser = finite)]
    pub weight_decay: f32,

    /// What first parameters and the order of images follow from
    #[arg(long, default_value_t = 0)]
    pub seed: u32,

    /// Bytes of gradients that are summed over processes at once, at least: smaller sums start sooner, larger ones take fewer
    /// messages. Numbers don't depend on it
    #[arg(long, default_value_t = 64 << 10)]
    pub bucket: usize,
}

impl Options {
    pub(crate) fn descent(&self) -> Descent {
        let Self { learning_rate, momentum, weight_decay, .. } = *self;
        Descent { learning_rate, momentum, weight_decay }
    }

    /// What the numbers follow from: a checkpoint is only taken up with the same.
    pub(crate) fn facts(&self, data: &Data) -> Facts {
        vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("net", format!("{:?}", self.net)),
            ("blocks", self.blocks.to_string()),
            ("data", format!("{} images, {:08x}", data.train.len(), checksum(data))),
            ("batch", self.batch.to_string()),
            ("leaf", self.leaf.to_string()),
            ("learning rate", self.learning_rate.to_string()),
            ("momentum", self.momentum.to_string()),
            ("weight decay", self.weight_decay.to_string()),
            ("seed", self.seed.to_string()),
            ("instruction set", do_conv::instruction_set().to_owned()),
        ]
    }
}

fn finite(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(value) if f32::is_finite(value) => Ok(value),
        _ => Err("expected a finite number".to_owned()),
    }
}
