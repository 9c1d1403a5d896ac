//! Two nets for images of 28×28 pixels, each written once for every kind of layer: blocks of two 3×3
//! convolutions with a shortcut (He et al., arXiv 1512.03385), and blocks of a depthwise and a pointwise one
//! (Howard et al., arXiv 1704.04861).

use candle_core::{Module, ModuleT, Result, Tensor};
use candle_nn::{BatchNorm, Linear, VarBuilder, batch_norm, conv2d_no_bias, linear};
use do_conv_candle::{Conv2d, DoConv2d, DoConv2dConfig, do_conv2d_no_bias};

use crate::data::CLASSES;

/// A convolution of any kind, without a bias, since a batch norm follows.
pub enum Layer {
    Plain(candle_nn::Conv2d),
    DoConv(DoConv2d),
    Folded(Conv2d),
}

/// What nets are trained with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    DoConv,
}

/// A convolution that keeps the size of its images, divided by the stride.
#[derive(Clone, Copy)]
struct Shape {
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    groups: usize,
}

impl Layer {
    fn new(kind: Kind, shape: Shape, vb: VarBuilder) -> Result<Self> {
        let Shape { channels: [inputs, outputs], kernel, stride, groups } = shape;
        let padding = kernel / 2;
        let config = candle_nn::Conv2dConfig { padding, stride, groups, ..Default::default() };
        Ok(match kind {
            Kind::Plain => Self::Plain(conv2d_no_bias(inputs, outputs, kernel, config, vb)?),
            Kind::DoConv => {
                let config = DoConv2dConfig::from(config);
                Self::DoConv(do_conv2d_no_bias(inputs, outputs, kernel, config, vb)?)
            }
        })
    }

    fn fold(&self) -> Result<Self> {
        Ok(match self {
            Self::Plain(conv) => Self::Folded(Conv2d::from_candle(conv)?.keep()?),
            Self::DoConv(layer) => Self::Folded(layer.fold_for_cpu()?),
            Self::Folded(conv) => Self::Folded(conv.clone()),
        })
    }
}

impl Module for Layer {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Plain(conv) => conv.forward(x),
            Self::DoConv(layer) => layer.forward(x),
            Self::Folded(conv) => conv.forward(x),
        }
    }
}

/// A convolution and its batch norm.
pub struct Unit {
    pub name: String,
    pub conv: Layer,
    pub norm: BatchNorm,
}

impl Unit {
    fn new(kind: Kind, shape: Shape, vb: VarBuilder) -> Result<Self> {
        let norm = batch_norm(shape.channels[1], 1e-5, vb.pp("norm"))?;
        Ok(Self { name: vb.prefix(), conv: Layer::new(kind, shape, vb.pp("conv"))?, norm })
    }

    fn fold(&self) -> Result<Self> {
        Ok(Self { name: self.name.clone(), conv: self.conv.fold()?, norm: self.norm.clone() })
    }
}

impl ModuleT for Unit {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.norm.forward_t(&self.conv.forward(x)?, train)
    }
}

/// Two units, the first of which may be of a stride, and what goes around them.
pub struct Block {
    first: Unit,
    second: Unit,
    shortcut: Shortcut,
}

/// What is added to the end of a block.
enum Shortcut {
    None,
    Identity,
    Projection(Box<Unit>),
}

impl Block {
    fn residual(kind: Kind, channels: [usize; 2], stride: usize, vb: VarBuilder) -> Result<Self> {
        let [inputs, outputs] = channels;
        let first = Shape { channels, kernel: 3, stride, groups: 1 };
        let second = Shape { channels: [outputs; 2], stride: 1, ..first };
        let shortcut = if stride > 1 || inputs != outputs {
            let projection = Shape { kernel: 1, ..first };
            Shortcut::Projection(Box::new(Unit::new(
                kind,
                projection,
                vb.pp("shortcut.projection"),
            )?))
        } else {
            Shortcut::Identity
        };
        Ok(Self {
            first: Unit::new(kind, first, vb.pp("first"))?,
            second: Unit::new(kind, second, vb.pp("second"))?,
            shortcut,
        })
    }

    fn separable(kind: Kind, channels: [usize; 2], stride: usize, vb: VarBuilder) -> Result<Self> {
        let [inputs, _] = channels;
        let depthwise = Shape { channels: [inputs; 2], kernel: 3, stride, groups: inputs };
        let pointwise = Shape { channels, kernel: 1, stride: 1, groups: 1 };
        Ok(Self {
            first: Unit::new(kind, depthwise, vb.pp("first"))?,
            second: Unit::new(kind, pointwise, vb.pp("second"))?,
            shortcut: Shortcut::None,
        })
    }

    fn units(&self) -> impl Iterator<Item = &Unit> {
        let projection = match &self.shortcut {
            Shortcut::Projection(unit) => Some(&**unit),
            _ => None,
        };
        [&self.first, &self.second].into_iter().chain(projection)
    }

    fn fold(&self) -> Result<Self> {
        Ok(Self {
            first: self.first.fold()?,
            second: self.second.fold()?,
            shortcut: match &self.shortcut {
                Shortcut::None => Shortcut::None,
                Shortcut::Identity => Shortcut::Identity,
                Shortcut::Projection(unit) => Shortcut::Projection(Box::new(unit.fold()?)),
            },
        })
    }
}

impl ModuleT for Block {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let hidden = self.first.forward_t(x, train)?.relu()?;
        let y = self.second.forward_t(&hidden, train)?;
        match &self.shortcut {
            Shortcut::None => y.relu(),
            Shortcut::Identity => (y + x)?.relu(),
            Shortcut::Projection(unit) => (y + unit.forward_t(x, train)?)?.relu(),
        }
    }
}

pub struct Net {
    stem: Unit,
    blocks: Vec<Block>,
    pub head: Linear,
}

impl Net {
    pub fn resnet(kind: Kind, vb: VarBuilder) -> Result<Self> {
        let blocks = [([16, 16], 1), ([16, 32], 2), ([32, 64], 2)];
        Self::new(kind, &blocks, Block::residual, vb)
    }

    pub fn mobilenet(kind: Kind, vb: VarBuilder) -> Result<Self> {
        let blocks = [([16, 32], 1), ([32, 64], 2), ([64, 64], 1), ([64, 128], 2)];
        Self::new(kind, &blocks, Block::separable, vb)
    }

    fn new(
        kind: Kind,
        blocks: &[([usize; 2], usize)],
        make: impl Fn(Kind, [usize; 2], usize, VarBuilder) -> Result<Block>,
        vb: VarBuilder,
    ) -> Result<Self> {
        let ends = |index: usize| blocks[index].0;
        let stem = Shape { channels: [1, ends(0)[0]], kernel: 3, stride: 1, groups: 1 };
        let features = ends(blocks.len() - 1)[1];
        let blocks = blocks.iter().enumerate().map(|(index, &(channels, stride))| {
            make(kind, channels, stride, vb.pp(format!("blocks.{index}")))
        });
        Ok(Self {
            stem: Unit::new(kind, stem, vb.pp("stem"))?,
            blocks: blocks.collect::<Result<_>>()?,
            head: linear(features, CLASSES, vb.pp("head"))?,
        })
    }

    pub fn units(&self) -> impl Iterator<Item = &Unit> {
        [&self.stem].into_iter().chain(self.blocks.iter().flat_map(Block::units))
    }

    /// The net for inference, of plain convolutions.
    pub fn fold(&self) -> Result<Self> {
        Ok(Self {
            stem: self.stem.fold()?,
            blocks: self.blocks.iter().map(Block::fold).collect::<Result<_>>()?,
            head: self.head.clone(),
        })
    }
}

impl ModuleT for Net {
    /// `[B, 1, H, W]` to `[B, CLASSES]`.
    fn forward_t(&self, images: &Tensor, train: bool) -> Result<Tensor> {
        let x = self.stem.forward_t(images, train)?.relu()?;
        let x = self.blocks.iter().try_fold(x, |x, block| block.forward_t(&x, train))?;
        self.head.forward(&x.mean((2, 3))?)
    }
}
