//! The net: three 3×3 convolutions of stride 2, a ReLU after each, then the mean over the pixels.

use candle_core::{Module, Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, VarBuilder, VarMap, conv2d};
use do_conv_candle::DoConv2d;

/// Channels before, between and after the layers.
const CHANNELS: [usize; 4] = [1, 16, 16, 10];

/// The net of plain, of DO-Conv or of folded layers.
pub struct Net<L> {
    layers: Vec<L>,
}

impl Net<Conv2d> {
    /// Plain layers of candle's own, with new variables.
    pub fn plain(vb: VarBuilder) -> Result<Self> {
        let config = Conv2dConfig { stride: 2, padding: 1, ..Default::default() };
        let layers = CHANNELS.windows(2).enumerate().map(|(index, channels)| {
            conv2d(channels[0], channels[1], 3, config, vb.pp(format!("conv{index}")))
        });
        Ok(Self { layers: layers.collect::<Result<_>>()? })
    }
}

impl Net<DoConv2d> {
    /// The over-parameterized form of a plain net, which starts as the same function. Its variables
    /// are put into `variables`.
    pub fn do_conv(plain: &Net<Conv2d>, variables: &VarMap) -> Result<Self> {
        let mut layers = Vec::new();
        for (index, conv) in plain.layers.iter().enumerate() {
            let layer = DoConv2d::from_conv2d(conv, None)?;
            let mut all = variables.data().lock().expect("nobody panicked with the map");
            for (name, variable) in layer.variables()? {
                all.insert(format!("conv{index}.{name}"), variable);
            }
            layers.push(layer);
        }
        Ok(Self { layers })
    }

    /// The net with every layer folded by `fold`.
    pub fn fold<L>(&self, fold: impl Fn(&DoConv2d) -> Result<L>) -> Result<Net<L>> {
        Ok(Net { layers: self.layers.iter().map(fold).collect::<Result<_>>()? })
    }
}

impl<L: Module> Module for Net<L> {
    /// The logits, `[B, 10]`, of images `[B, 1, 28, 28]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut layers = self.layers.iter();
        let activations = layers.try_fold(x.clone(), |x, layer| layer.forward(&x)?.relu())?;
        activations.mean((2, 3))
    }
}
