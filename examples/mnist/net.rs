//! The net: three 3×3 convolutions of stride 2, a ReLU after each, then the mean over the pixels.

use do_conv::{Conv2d, Conv2dConfig, DInit, DoConv2d, DoConv2dConfig, Error, Layer};
use ndarray::{Array2, Array4, Axis, Zip};

use crate::data::{CLASSES, SIDE};

pub const LAYERS: usize = 3;

/// Channels before, between and after the layers.
const CHANNELS: [usize; LAYERS + 1] = [1, 16, 16, CLASSES];
/// Rows and columns there: every layer halves them, rounding up.
const SIDES: [usize; LAYERS + 1] = [SIDE, 14, 7, 4];

pub struct Net<L> {
    pub layers: [L; LAYERS],
}

/// The shape of the input of a layer.
pub fn input_shape(layer: usize, batch: usize) -> [usize; 4] {
    [batch, CHANNELS[layer], SIDES[layer], SIDES[layer]]
}

impl Net<Conv2d<f32>> {
    pub fn plain(seed: u64) -> Result<Self, Error> {
        let layer = |i| {
            Conv2dConfig::new(CHANNELS[i], CHANNELS[i + 1], [3, 3])
                .stride([2, 2])
                .padding(1)
                .init(layer_seed(seed, i))
        };
        Ok(Self { layers: [layer(0)?, layer(1)?, layer(2)?] })
    }
}

impl Net<DoConv2d<f32>> {
    pub fn do_conv(seed: u64, d_mul: usize, d_init: DInit) -> Result<Self, Error> {
        let layer = |i| {
            DoConv2dConfig::new(CHANNELS[i], CHANNELS[i + 1], [3, 3])
                .stride([2, 2])
                .padding(1)
                .d_mul(d_mul)
                .d_init(d_init)
                .init(layer_seed(seed, i))
        };
        Ok(Self { layers: [layer(0)?, layer(1)?, layer(2)?] })
    }

    /// The net to ship: plain convolutions, the same function.
    pub fn fold(&self) -> Net<Conv2d<f32>> {
        Net { layers: self.layers.each_ref().map(DoConv2d::fold) }
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
        let a1 = relu(first.forward(x)?);
        let a2 = relu(second.forward(&a1)?);
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
        let dy = relu_backward(x_gradient::<L>(gradients3), &a2);
        second.backward_into(&a1, dy, gradients2)?;
        let dy = relu_backward(x_gradient::<L>(gradients2), &a1);
        first.backward_into(x, dy, gradients1)?;
        Ok(loss)
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
    Zip::from(&mut *gradient).and(a).for_each(|gradient, &a| {
        if a <= 0.0 {
            *gradient = 0.0;
        }
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
    let (batch, channels, rows, columns) = a.dim();
    Array4::from_shape_fn((batch, channels, rows, columns), |(b, c, i, j)| {
        if a[[b, c, i, j]] > 0.0 { dmean[[b, c]] / (rows * columns) as f32 } else { 0.0 }
    })
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
