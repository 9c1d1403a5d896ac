//! The net: three 3×3 convolutions of stride 2, a ReLU after each, then the mean over the pixels. With
//! convolutions of stride 1, the mean over each square of 2×2 pixels is taken between layers instead.

use std::borrow::Cow;

use do_conv::{Algorithm, Conv2d, Conv2dConfig, DInit, DoConv2d, DoConv2dConfig, Error, Layer};
use ndarray::{Array2, Array4, Zip};

use super::data::{CLASSES, SIDE};
use super::ops::{cross_entropy, mean_of_pixels, mean_of_pixels_backward, relu, relu_backward};

pub const LAYERS: usize = 3;

/// Channels before, between and after the layers.
const CHANNELS: [usize; LAYERS + 1] = [1, 16, 16, CLASSES];
/// Rows and columns before each layer: what is before halves them.
const SIDES: [usize; LAYERS] = [SIDE, 14, 7];

pub struct Net<L> {
    pub layers: [L; LAYERS],
    pools: bool,
}

/// What layers are made and computed like.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    pub algorithm: Algorithm,
    /// 1 or 2.
    pub stride: usize,
}

impl Form {
    fn config(self, layer: usize) -> Conv2dConfig {
        Conv2dConfig::new(CHANNELS[layer], CHANNELS[layer + 1], [3, 3])
            .stride([self.stride; 2])
            .padding(1)
            .algorithm(self.algorithm)
    }

    fn net<L>(self, layers: [L; LAYERS]) -> Net<L> {
        Net { layers, pools: self.stride == 1 }
    }
}

/// The shape of the input of a layer.
pub fn input_shape(layer: usize, batch: usize) -> [usize; 4] {
    [batch, CHANNELS[layer], SIDES[layer], SIDES[layer]]
}

impl Net<Conv2d<f32>> {
    pub fn plain(seed: u64, form: Form) -> Result<Self, Error> {
        let layer = |i| form.config(i).init(layer_seed(seed, i));
        Ok(form.net([layer(0)?, layer(1)?, layer(2)?]))
    }
}

impl Net<DoConv2d<f32>> {
    pub fn do_conv(seed: u64, d_mul: usize, d_init: DInit, form: Form) -> Result<Self, Error> {
        let layer = |i| {
            DoConv2dConfig::from(form.config(i))
                .d_mul(d_mul)
                .d_init(d_init)
                .init(layer_seed(seed, i))
        };
        Ok(form.net([layer(0)?, layer(1)?, layer(2)?]))
    }

    /// The net to ship: plain convolutions, the same function.
    pub fn fold(&self) -> Net<Conv2d<f32>> {
        Net { layers: self.layers.each_ref().map(DoConv2d::fold), pools: self.pools }
    }
}

/// The same in both nets, so that they start alike.
fn layer_seed(seed: u64, layer: usize) -> u64 {
    seed * LAYERS as u64 + layer as u64
}

impl<L: Layer<f32>> Net<L> {
    pub fn logits(&self, x: &Array4<f32>) -> Result<Array2<f32>, Error> {
        let [.., last] = self.activations(x)?;
        Ok(mean_of_pixels(&last))
    }

    /// What comes out of every layer and its ReLU.
    pub fn activations(&self, x: &Array4<f32>) -> Result<[Array4<f32>; LAYERS], Error> {
        let [first, second, third] = &self.layers;
        let a1 = relu(self.pool(first.forward(x)?));
        let a2 = relu(self.pool(second.forward(&a1)?));
        let a3 = relu(third.forward(&a2)?);
        Ok([a1, a2, a3])
    }

    /// Buffers for [`Net::backward`]. Nobody asks for the gradient of the images.
    pub fn gradients(&self, batch: usize) -> Result<[L::Gradients; LAYERS], Error> {
        let [first, second, third] = &self.layers;
        Ok([
            first.gradients(None)?,
            second.gradients(Some(input_shape(1, batch)))?,
            third.gradients(Some(input_shape(2, batch)))?,
        ])
    }

    /// The mean cross-entropy of the batch; its gradients go to `gradients`.
    pub fn backward(
        &self,
        x: &Array4<f32>,
        labels: &[u8],
        gradients: &mut [L::Gradients; LAYERS],
    ) -> Result<f32, Error> {
        let [first, second, third] = &self.layers;
        let [a1, a2, a3] = self.activations(x)?;
        let (loss, dlogits) = cross_entropy(mean_of_pixels(&a3), labels, labels.len());

        let [gradients1, gradients2, gradients3] = gradients;
        let dy = mean_of_pixels_backward(&dlogits, &a3);
        third.backward_into(&a2, &dy, gradients3)?;
        let dy = self.pool_backward(relu_backward(x_gradient::<L>(gradients3), &a2));
        second.backward_into(&a1, &*dy, gradients2)?;
        let dy = self.pool_backward(relu_backward(x_gradient::<L>(gradients2), &a1));
        first.backward_into(x, &*dy, gradients1)?;
        Ok(loss)
    }

    /// What stands between two layers: nothing, or the mean over each square of 2×2 pixels.
    fn pool(&self, y: Array4<f32>) -> Array4<f32> {
        if !self.pools {
            return y;
        }
        Zip::from(y.exact_chunks((1, 1, 2, 2))).map_collect(|square| square.sum() / 4.0)
    }

    fn pool_backward<'a>(&self, dy: &'a Array4<f32>) -> Cow<'a, Array4<f32>> {
        if !self.pools {
            return Cow::Borrowed(dy);
        }
        let (batch, channels, rows, columns) = dy.dim();
        let mut spread = Array4::zeros((batch, channels, 2 * rows, 2 * columns));
        Zip::from(spread.exact_chunks_mut((1, 1, 2, 2)))
            .and(dy)
            .for_each(|mut square, dy| square.fill(dy / 4.0));
        Cow::Owned(spread)
    }
}

fn x_gradient<L: Layer<f32>>(gradients: &mut L::Gradients) -> &mut Array4<f32> {
    L::x_gradient(gradients).expect("`Net::gradients` asks for the gradient of every inner input")
}
