//! The net: three 3×3 convolutions of stride 2, a ReLU after each, then the mean over the pixels. With
//! convolutions of stride 1, the mean over each square of 2×2 pixels is taken between layers instead.

use std::borrow::Cow;

use do_conv::{Algorithm, Conv2d, Conv2dConfig, DInit, DoConv2d, DoConv2dConfig, Error, Layer};
use ndarray::{Array2, Array4, Axis, Zip};

use super::data::{CLASSES, SIDE};

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
        let (loss, dlogits) = cross_entropy(mean_of_pixels(&a3), labels);

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

fn relu(mut y: Array4<f32>) -> Array4<f32> {
    y.mapv_inplace(|y| y.max(0.0));
    y
}

/// From the gradient of what the ReLU put out, `a`, to that of what it took, in place.
fn relu_backward<'a>(gradient: &'a mut Array4<f32>, a: &Array4<f32>) -> &'a Array4<f32> {
    // A choice and no branch: signs are as good as random.
    Zip::from(&mut *gradient).and(a).for_each(|gradient, &a| {
        *gradient = if a <= 0.0 { 0.0 } else { *gradient };
    });
    gradient
}

/// Global average pooling: `[B, C, H, W]` to `[B, C]`.
fn mean_of_pixels(a: &Array4<f32>) -> Array2<f32> {
    let (_, _, rows, columns) = a.dim();
    a.sum_axis(Axis(3)).sum_axis(Axis(2)) / (rows * columns) as f32
}

/// The gradient of the last layer's output: back through the mean, then the ReLU that gave `a`.
fn mean_of_pixels_backward(dmean: &Array2<f32>, a: &Array4<f32>) -> Array4<f32> {
    let (_, _, rows, columns) = a.dim();
    let share = dmean / (rows * columns) as f32;
    let share = share.insert_axis(Axis(2)).insert_axis(Axis(3));
    let choose = |&a: &f32, &share: &f32| if a > 0.0 { share } else { 0.0 };
    Zip::from(a).and_broadcast(&share).map_collect(choose)
}

/// The mean over the batch of `ln Σ exp(logit) − logit[label]`, and its gradient.
fn cross_entropy(mut logits: Array2<f32>, labels: &[u8]) -> (f32, Array2<f32>) {
    let batch = labels.len() as f32;
    let mut loss = 0.0;
    for (mut row, &label) in logits.outer_iter_mut().zip(labels) {
        let label = usize::from(label);
        // The largest logit is taken off first: `exp` then cannot overflow.
        let largest = row.fold(f32::NEG_INFINITY, |largest, &logit| largest.max(logit));
        row -= largest;
        let of_label = row[label];
        row.mapv_inplace(f32::exp);
        let sum = row.sum();
        loss += sum.ln() - of_label;
        row /= sum;
        row[label] -= 1.0;
        row /= batch;
    }
    (loss / batch, logits)
}
