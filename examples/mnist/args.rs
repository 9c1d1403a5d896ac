//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum, value_parser};
use do_conv::{Algorithm, DInit, Init};

use crate::net::Form;

/// Trains a small MNIST net twice, with plain and with DO-Conv layers, then folds the DO-Conv net
/// and checks that the fold changed no bit of its logits.
#[derive(Parser)]
#[command(name = "mnist")]
pub struct Args {
    /// Folder of the four IDX files (MNIST, Fashion-MNIST, …), raw or `.gz`
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/mnist/data"))]
    pub data: PathBuf,

    /// Passes over the training images
    #[arg(long, default_value_t = 12, value_parser = value_parser!(u32).range(1..=10_000))]
    pub epochs: u32,

    /// Number of runs, with the seeds 0, 1, …
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=10_000))]
    pub seeds: u32,

    /// Depth multiplier of D; 9, the size of the 3×3 kernel, is the least
    #[arg(long, default_value_t = 9)]
    pub d_mul: usize,

    /// How D starts
    #[arg(long, value_enum, default_value_t = DStart::Identity)]
    pub d_init: DStart,

    /// Stride of the layers. With 1, the mean over 2×2 pixels is taken between layers instead
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u8).range(1..=2))]
    pub stride: u8,

    /// How layers are computed: direct, winograd2 or winograd4, which apply to stride 1 alone
    #[arg(long, default_value_t = Algorithm::Direct)]
    pub algorithm: Algorithm,

    /// Where the learning curves go, as SVG
    #[arg(long, value_name = "PATH", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/mnist-learning-curves.svg"))]
    pub plot: PathBuf,
}

impl Args {
    pub fn form(&self) -> Form {
        Form { algorithm: self.algorithm, stride: self.stride.into() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DStart {
    /// The DO-Conv net starts as the same function as the plain one
    Identity,
    /// Kaiming-uniform, as in the ablation of the paper
    Random,
}

impl From<DStart> for DInit {
    fn from(start: DStart) -> Self {
        match start {
            DStart::Identity => DInit::Identity,
            DStart::Random => DInit::Random(Init::default()),
        }
    }
}
