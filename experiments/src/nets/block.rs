//! Blocks of convolutions, and the stages that are made of them.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use super::builder::{Builder, Place};
use super::conv::{Conv, Shape, Unit};
use crate::record::NetKind;

/// Channel groups of a ResNeXt-like block.
const CARDINALITY: usize = 8;
/// By how much a bottleneck's output is wider than what its 3×3 convolution reads.
const EXPANSION: usize = 4;

/// How the units of a block are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A ReLU behind each.
    Chain,
    /// A ReLU between them, and one behind the sum with the shortcut.
    Residual,
    /// A batch norm and a ReLU in front of each, and none behind the sum with the shortcut.
    PreActivation,
}

/// A few units, of which the first or second may have a stride.
#[derive(Module, Debug)]
pub struct Block {
    units: Vec<Unit>,
    /// The shortcut's, where it can't be the identity.
    projection: Option<Unit>,
    #[module(skip)]
    form: Form,
}

/// What a block does to images.
#[derive(Clone, Copy)]
struct Step {
    /// Channels before it.
    inputs: usize,
    /// The stage's width, from which channels follow.
    width: usize,
    stride: usize,
    dilation: usize,
    side: usize,
}

impl Step {
    /// A 3×3 convolution.
    fn conv(&self, channels: [usize; 2], stride: usize) -> Shape {
        Shape::new(channels, 3).stride(stride).dilation(self.dilation)
    }

    fn after(&self) -> usize {
        self.side.div_ceil(self.stride)
    }
}

impl Block {
    fn new(builder: &mut Builder<'_>, net: NetKind, step: Step) -> super::Result<Self> {
        let Step { inputs, width, stride, side, .. } = step;
        let after = step.after();
        let wide = outputs(net, width);
        let (form, shapes) = match net {
            // The tutorial's net has no blocks; as a scene's backbone it has these.
            NetKind::Plain | NetKind::Tutorial => (Form::Chain, basic(step)),
            NetKind::ResnetV1 => (Form::Residual, basic(step)),
            NetKind::ResnetV2 => (Form::PreActivation, basic(step)),
            NetKind::ResnetV1b => (Form::Residual, bottleneck(step, width, 1)),
            NetKind::Resnext => (Form::Residual, bottleneck(step, 2 * width, CARDINALITY)),
            NetKind::Mobilenet => {
                let depthwise = step.conv([inputs; 2], stride).groups(inputs);
                (Form::Chain, vec![(depthwise, side), (Shape::new([inputs, wide], 1), after)])
            }
        };
        let unit = |(shape, side)| match form {
            Form::PreActivation => Unit::after_norm(builder, shape, side),
            _ => Unit::new(builder, shape, side),
        };
        let units = shapes.into_iter().map(unit).collect::<super::Result<_>>()?;
        let projection = Shape::new([inputs, wide], 1).stride(stride);
        let projection = match form {
            Form::Chain => None,
            _ if stride == 1 && inputs == wide => None,
            Form::Residual => Some(Unit::new(builder, projection, side)?),
            Form::PreActivation => Some(Unit::bare(builder, projection, side)?),
        };
        Ok(Self { units, projection, form })
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let activate = |x, unit: &Unit| unit.activate(x);
        match (self.form, self.units.as_slice()) {
            (Form::Chain, units) => units.iter().fold(x, activate),
            (_, []) => x,
            (Form::Residual, [units @ .., last]) => {
                let y = last.forward(units.iter().fold(x.clone(), activate));
                relu(y + self.shortcut(x))
            }
            (Form::PreActivation, [first, units @ ..]) => {
                let activated = relu(first.normalize(x.clone()));
                let y = first.convolve(activated.clone());
                let y = units.iter().fold(y, |y, unit| unit.convolve(relu(unit.normalize(y))));
                y + match self.projection {
                    Some(_) => self.shortcut(activated),
                    None => x,
                }
            }
        }
    }

    fn shortcut(&self, x: Tensor<4>) -> Tensor<4> {
        match &self.projection {
            Some(projection) => projection.forward(x),
            None => x,
        }
    }

    fn try_map<E>(&self, change: &impl Fn(&Conv) -> Result<Conv, E>) -> Result<Self, E> {
        let units = self.units.iter().map(|unit| unit.try_map(change)).collect::<Result<_, E>>()?;
        let projection = self.projection.as_ref().map(|unit| unit.try_map(change)).transpose()?;
        Ok(Self { units, projection, form: self.form })
    }
}

/// Two 3×3 convolutions, and the sides of the images that they read.
fn basic(step: Step) -> Vec<(Shape, usize)> {
    let first = step.conv([step.inputs, step.width], step.stride);
    vec![(first, step.side), (step.conv([step.width; 2], 1), step.after())]
}

/// A 1×1, a 3×3 of that width and the stride, and a 1×1 convolution.
fn bottleneck(step: Step, middle: usize, groups: usize) -> Vec<(Shape, usize)> {
    vec![
        (Shape::new([step.inputs, middle], 1), step.side),
        (step.conv([middle; 2], step.stride).groups(groups), step.side),
        (Shape::new([middle, EXPANSION * step.width], 1), step.after()),
    ]
}

/// Channels behind a block of that width.
fn outputs(net: NetKind, width: usize) -> usize {
    match net {
        NetKind::ResnetV1b | NetKind::Resnext => EXPANSION * width,
        NetKind::Mobilenet => 2 * width,
        _ => width,
    }
}

/// A stage: blocks of one width, the first of which may have a stride.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    /// Channels that the others follow from.
    pub width: usize,
    /// Of the first block.
    pub stride: usize,
    /// Of every 3×3 convolution.
    pub dilation: usize,
}

/// The stem and the stages of a net.
#[derive(Module, Debug)]
pub struct Backbone {
    stem: Unit,
    blocks: Vec<Block>,
    /// Behind blocks that end without one.
    last: Option<burn::nn::BatchNorm>,
}

/// The feature maps at the end of a backbone.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// Channels.
    pub channels: usize,
    /// Rows and columns.
    pub side: usize,
}

impl Backbone {
    /// A stem of stride 2 and stages of `blocks` blocks, for grey images of `side` rows and columns.
    ///
    /// # Errors
    /// As [`Builder::conv`].
    pub fn new(
        builder: &mut Builder<'_>,
        net: NetKind,
        stages: &[Stage],
        blocks: usize,
        side: usize,
    ) -> super::Result<(Self, Features)> {
        let mut channels = stages.first().map_or(1, |stage| stage.width);
        builder.enter(Place::Stem);
        let shape = Shape::new([1, channels], 3).stride(2);
        let stem = match net {
            NetKind::ResnetV2 => Unit::bare(builder, shape, side)?,
            _ => Unit::new(builder, shape, side)?,
        };
        let mut side = shape.output_side(side);
        let mut made = Vec::new();
        for (i, &Stage { width, stride, dilation }) in stages.iter().enumerate() {
            builder.enter(Place::Stage(i, stages.len()));
            for block in 0..blocks {
                let stride = if block == 0 { stride } else { 1 };
                let step = Step { inputs: channels, width, stride, dilation, side };
                made.push(Block::new(builder, net, step)?);
                (channels, side) = (outputs(net, width), step.after());
            }
        }
        let last = (net == NetKind::ResnetV2)
            .then(|| burn::nn::BatchNormConfig::new(channels).init(builder.device()));
        Ok((Self { stem, blocks: made, last }, Features { channels, side }))
    }

    /// `[B, 1, H, W]` to the features, behind a ReLU.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = match &self.last {
            Some(_) => self.stem.forward(x),
            None => self.stem.activate(x),
        };
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        match &self.last {
            Some(norm) => relu(norm.forward(x)),
            None => x,
        }
    }

    /// The backbone with other convolutions.
    ///
    /// # Errors
    /// Where `change` gives one.
    pub fn try_map<E>(&self, change: &impl Fn(&Conv) -> Result<Conv, E>) -> Result<Self, E> {
        let blocks = self.blocks.iter().map(|block| block.try_map(change));
        Ok(Self {
            stem: self.stem.try_map(change)?,
            blocks: blocks.collect::<Result<_, E>>()?,
            last: self.last.clone(),
        })
    }
}
