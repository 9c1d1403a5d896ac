//! The nets, each written once for every kind of layer.

mod block;
mod builder;
mod classifier;
mod conv;
mod detector;
mod segmenter;

pub use builder::{Builder, Maccs};
pub use classifier::Classifier;
pub use conv::Conv;
pub use detector::Detector;
pub use segmenter::Segmenter;

use burn::module::Module;
use burn::tensor::Tensor;
use do_conv::Algorithm;

use crate::record::{DMul, DStart, Kind, NetKind, Replaced, RunConfig};

type Result<T> = std::result::Result<T, do_conv::Error>;

/// What decides how a net is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The blocks' kind.
    pub net: NetKind,
    /// Blocks of a stage.
    pub blocks: usize,
    /// The layers' kind.
    pub kind: Kind,
    /// Multiplier of `D`.
    pub d_mul: DMul,
    /// Start of `D`.
    pub d_init: DStart,
    /// The layers that are of that kind.
    pub replaced: Replaced,
    /// How the engine computes.
    pub algorithm: Algorithm,
    /// What a random `D` is drawn from.
    pub seed: u64,
}

impl Options {
    /// What a run asks for.
    ///
    /// # Errors
    /// For an algorithm that there is none of.
    pub fn of(config: &RunConfig) -> std::result::Result<Self, String> {
        Ok(Self {
            net: config.net,
            blocks: config.blocks,
            kind: config.kind,
            d_mul: config.d_mul,
            d_init: config.d_init,
            replaced: config.replaced,
            algorithm: config.algorithm.parse().map_err(|error| format!("{error}"))?,
            seed: config.seed,
        })
    }
}

/// A net for one of the tasks.
pub trait Net: Module + std::fmt::Display + 'static {
    /// Makes it, on the builder's device.
    ///
    /// # Errors
    /// As [`Builder::conv`].
    fn build(builder: &mut Builder<'_>, options: &Options) -> Result<Self>
    where
        Self: Sized;

    /// The net with other convolutions.
    ///
    /// # Errors
    /// Where `change` gives one.
    fn try_map<E>(
        &self,
        change: &impl Fn(&Conv) -> std::result::Result<Conv, E>,
    ) -> std::result::Result<Self, E>;

    /// The net's raw outputs for images `[B, 1, H, W]`, joined into one axis for each image.
    fn outputs(&self, images: Tensor<4>) -> Tensor<2>;

    /// Rows and columns of the images that it is made for.
    const SIDE: usize;
}

/// The net with each convolution changed.
pub fn map<N: Net>(net: &N, change: impl Fn(&Conv) -> Conv) -> N {
    match net.try_map::<std::convert::Infallible>(&|conv| Ok(change(conv))) {
        Ok(net) => net,
        Err(never) => match never {},
    }
}
