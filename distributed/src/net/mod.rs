//! The nets: one structure for layers that are trained and for the plain ones that compute.

#[allow(missing_docs, reason = "written as an example, not as a library")]
#[path = "../../../examples/mnist/ops.rs"]
mod ops;
mod pass;
#[cfg(test)]
mod tests;
mod train;

use clap::ValueEnum;
use do_conv::{Conv2d, DoConv2d, DoConv2dConfig, Init, Result};

pub use train::{Descent, Velocities};

use crate::data::CLASSES;

/// Which net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NetKind {
    /// Three 3×3 convolutions of stride 2, the mean over pixels: the MNIST example's
    Tutorial,
    /// A stem of stride 2, three stages of residual blocks, 16, 32 and 64 wide, the mean over pixels, a linear layer
    Residual,
}

/// Convolutions, each with a ReLU behind it; residual blocks; the mean over the pixels; a linear layer.
#[derive(Clone, Debug)]
pub struct Net<C> {
    stem: Vec<C>,
    blocks: Vec<Block<C>>,
    /// A 1×1 convolution of the mean.
    head: Option<C>,
}

/// `y = s(x) + scale·second(relu(first(relu(x))))`, where `s` is nothing, or a 1×1 convolution of `relu(x)` where
/// shapes change. There is no batch norm, which would tie the images of a batch together; `scale` starts at zero
/// instead, as in S. De and S. Smith, arXiv 2002.10444.
#[derive(Clone, Debug)]
struct Block<C> {
    first: C,
    second: C,
    shortcut: Option<C>,
    scale: f32,
}

/// What a net's parameters are grouped by: gradients of one are whole at the same time.
#[derive(Debug)]
pub enum Unit<C, S> {
    /// A convolution.
    Conv(C),
    /// The scale of a block.
    Scale(S),
}

impl Net<DoConv2d<f32>> {
    /// A net whose first parameters follow from the seed. `blocks` is how many a stage has; the tutorial's net has none.
    ///
    /// # Errors
    /// None for the layers that are made here.
    pub fn new(kind: NetKind, blocks: usize, seed: u64) -> Result<Self> {
        let mut layers = 0;
        let mut layer = |inputs, outputs, size: usize, stride: usize| {
            layers += 1;
            let config = DoConv2dConfig::new(inputs, outputs, [size; 2]);
            // Without batch norm a deep net starts better by He's initialisation than by the default.
            let w_init = match kind {
                NetKind::Tutorial => config.conv.w_init,
                NetKind::Residual => Init::KaimingNormal { a: 0.0 },
            };
            config
                .w_init(w_init)
                .stride([stride; 2])
                .padding(size / 2)
                // As the MNIST example's three.
                .init(seed * 3 + layers - 1)
        };
        match kind {
            NetKind::Tutorial => Ok(Self {
                stem: vec![layer(1, 16, 3, 2)?, layer(16, 16, 3, 2)?, layer(16, CLASSES, 3, 2)?],
                blocks: Vec::new(),
                head: None,
            }),
            NetKind::Residual => {
                let stem = vec![layer(1, 16, 3, 2)?];
                let mut stages = Vec::new();
                let mut inputs = 16;
                for outputs in [16, 32, 64] {
                    for _ in 0..blocks {
                        let stride = if inputs == outputs { 1 } else { 2 };
                        stages.push(Block {
                            first: layer(inputs, outputs, 3, stride)?,
                            second: layer(outputs, outputs, 3, 1)?,
                            shortcut: match inputs == outputs {
                                true => None,
                                false => Some(layer(inputs, outputs, 1, stride)?),
                            },
                            scale: 0.0,
                        });
                        inputs = outputs;
                    }
                }
                Ok(Self { stem, blocks: stages, head: Some(layer(inputs, CLASSES, 1, 1)?) })
            }
        }
    }

    /// The net to compute with, and to ship: plain convolutions by the composed kernels.
    pub fn fold(&self) -> Net<Conv2d<f32>> {
        Net {
            stem: self.stem.iter().map(DoConv2d::fold).collect(),
            blocks: self.blocks.iter().map(Block::fold).collect(),
            head: self.head.as_ref().map(DoConv2d::fold),
        }
    }
}

impl Block<DoConv2d<f32>> {
    fn fold(&self) -> Block<Conv2d<f32>> {
        Block {
            first: self.first.fold(),
            second: self.second.fold(),
            shortcut: self.shortcut.as_ref().map(DoConv2d::fold),
            scale: self.scale,
        }
    }
}

impl<C> Net<C> {
    /// All parameters with their names, in the order in which a backward pass has their gradients.
    pub fn units_mut(&mut self) -> impl Iterator<Item = (String, Unit<&mut C, &mut f32>)> {
        let head = self.head.iter_mut().map(|head| ("head".to_owned(), Unit::Conv(head)));
        let blocks = self.blocks.iter_mut().enumerate().rev().flat_map(|(index, block)| {
            let Block { first, second, shortcut, scale } = block;
            let units = [
                Some(("scale", Unit::Scale(scale))),
                Some(("second", Unit::Conv(second))),
                Some(("first", Unit::Conv(first))),
                shortcut.as_mut().map(|shortcut| ("shortcut", Unit::Conv(shortcut))),
            ];
            units
                .into_iter()
                .flatten()
                .map(move |(name, unit)| (format!("blocks.{index}.{name}"), unit))
        });
        let stem = self.stem.iter_mut().enumerate().rev();
        let stem = stem.map(|(index, conv)| (format!("stem.{index}"), Unit::Conv(conv)));
        head.chain(blocks).chain(stem)
    }
}
