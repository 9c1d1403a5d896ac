//! Makes the convolutions of a net, and counts what they cost.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use do_conv::{DInit, Init};
use do_conv_burn::{Conv2d, DoConv2d, DoConv2dConfig};

use super::conv::{Conv, Separable, Shape};
use super::{Options, Result};
use crate::record::{DStart, Kind, Replaced};

/// Where a layer stands in its net.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first layer.
    Stem,
    /// A stage, counted from 0, of how many.
    Stage(usize, usize),
    /// Behind the last stage.
    Head,
}

impl Place {
    fn is_in(self, replaced: Replaced) -> bool {
        match (replaced, self) {
            (Replaced::All, _)
            | (Replaced::Stem, Self::Stem)
            | (Replaced::Head, Self::Head)
            | (Replaced::First, Self::Stage(0, _))
            | (Replaced::Backbone, Self::Stem | Self::Stage(..)) => true,
            (Replaced::Middle, Self::Stage(stage, of)) => 0 < stage && stage + 1 < of,
            (Replaced::Last, Self::Stage(stage, of)) => stage + 1 == of,
            _ => false,
        }
    }
}

/// Multiply-accumulates of a net's convolutions for one image, forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maccs {
    /// In training, by kernel composition.
    pub training: u64,
    /// After the fold.
    pub folded: u64,
}

/// Makes the layers of a net, one after the other.
pub struct Builder<'a> {
    options: &'a Options,
    device: &'a Device,
    place: Place,
    layers: u64,
    maccs: Maccs,
    /// Of the DO-Conv or separable ones.
    replaced: usize,
}

impl<'a> Builder<'a> {
    /// For parameters on that device.
    pub fn new(options: &'a Options, device: &'a Device) -> Self {
        let maccs = Maccs::default();
        Self { options, device, place: Place::Stem, layers: 0, maccs, replaced: 0 }
    }

    /// Where the layers that come next stand.
    pub fn enter(&mut self, place: Place) {
        self.place = place;
    }

    /// The device of the parameters.
    pub fn device(&self) -> &'a Device {
        self.device
    }

    /// What the layers so far cost.
    pub fn maccs(&self) -> Maccs {
        self.maccs
    }

    /// Whether another kind than plain was asked for and no layer so far is of it.
    pub fn is_as_plain(&self) -> bool {
        self.options.kind != Kind::Plain && self.replaced == 0
    }

    /// A convolution for images of `side` rows and columns.
    ///
    /// # Errors
    /// For a `D` of a multiplier that there is no room for.
    pub fn conv(&mut self, shape: Shape, side: usize) -> Result<Conv> {
        self.layers += 1;
        let Shape { channels: [inputs, outputs], kernel, groups, .. } = shape;
        let maccs = shape.maccs(side);
        // A 1×1 kernel has no `D`, and what is depthwise or pointwise needs no separation. A layer of one input is
        // depthwise: outputs of one kernel each, not multiples of one output.
        let kind = match self.options.kind {
            _ if kernel == 1 || !self.place.is_in(self.options.replaced) => Kind::Plain,
            Kind::Separable if groups == inputs => Kind::Plain,
            kind => kind,
        };
        if kind != Kind::Plain {
            self.replaced += 1;
        }
        match kind {
            Kind::Plain => {
                self.count(maccs, maccs);
                self.plain(shape).map(Conv::Plain)
            }
            Kind::DoConv => {
                let config = shape.do_config(self.options);
                let layer = config.try_init(self.device)?;
                // Drawn in the order of the layers, whoever reads them first.
                let [_, _, d_mul] = layer.W.val().dims();
                drop(layer.bias.as_ref().map(Param::val));
                let layer = self.start(layer, &config)?;
                let compose = outputs * (inputs / groups) * kernel * kernel * d_mul;
                self.count(maccs + compose as u64, maccs);
                Ok(Conv::DoConv(layer))
            }
            Kind::Separable => {
                let depthwise = Shape { channels: [inputs; 2], groups: inputs, ..shape };
                let depthwise = Shape { bias: false, ..depthwise };
                let pointwise = Shape { stride: 1, dilation: 1, kernel: 1, ..shape };
                let both = depthwise.maccs(side) + pointwise.maccs(shape.output_side(side));
                self.count(both, both);
                Ok(Conv::Separable(Separable {
                    depthwise: self.plain(depthwise)?,
                    pointwise: self.plain(pointwise)?,
                }))
            }
        }
    }

    fn plain(&self, shape: Shape) -> Result<Conv2d> {
        let conv = shape.config(self.options).try_init(self.device)?;
        drop((conv.weight.val(), conv.bias.as_ref().map(Param::val)));
        Ok(conv)
    }

    fn count(&mut self, training: u64, folded: u64) {
        self.maccs.training += training;
        self.maccs.folded += folded;
    }

    /// The layer with its `D` as the options say. A random one is the core crate's.
    fn start(&self, mut layer: DoConv2d, config: &DoConv2dConfig) -> Result<DoConv2d> {
        if self.options.d_init == DStart::Identity {
            return Ok(layer);
        }
        let [inputs, outputs] = config.channels;
        let mut core = do_conv::DoConv2dConfig::new(inputs, outputs, config.kernel_size)
            .groups(config.groups)
            .d_init(DInit::Random(Init::default()));
        core.d_mul = config.d_mul;
        // Another seed for each layer of each run.
        let core = core.init::<f32>(self.options.seed << 16 | self.layers)?;
        if let Some(random) = core.d_offset() {
            let shape = random.shape().to_vec();
            let random = TensorData::new(random.iter().copied().collect::<Vec<_>>(), shape);
            layer.D = Some(Param::from_tensor(Tensor::from_data(random, self.device)));
        }
        Ok(layer)
    }
}
