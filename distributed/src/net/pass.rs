//! Forward and backward passes.

use std::mem::take;

use do_conv::{Conv2d, Conv2dGradients, Result};
use ndarray::{Array2, Array4, Axis};

use super::ops::{
    correct, cross_entropy, mean_of_pixels, mean_of_pixels_backward, relu, relu_backward,
};
use super::{Block, Net};

/// What a backward pass needs of the forward pass.
struct Tape {
    /// What came out of each convolution of the stem, and its ReLU.
    stem: Vec<Array4<f32>>,
    blocks: Vec<BlockTape>,
    /// What the mean is taken of.
    last: Array4<f32>,
    /// `[B, C, 1, 1]`
    mean: Array4<f32>,
}

struct BlockTape {
    /// `relu(x)`
    first: Array4<f32>,
    /// `relu(first(relu(x)))`
    second: Array4<f32>,
    /// What is scaled.
    branch: Array4<f32>,
}

impl Net<Conv2d<f32>> {
    /// How many images are classified correctly.
    ///
    /// # Errors
    /// For images of another shape than the net's.
    pub fn correct(&self, x: &Array4<f32>, labels: &[u8]) -> Result<usize> {
        Ok(correct(&self.forward(x)?.1, labels))
    }

    /// The sum of the cross-entropies of images over `batch`. Gradients of `scale`s, kernels and biases go to `ready`
    /// unit by unit, as [`Net::units_mut`] has them, as soon as they are there; a kernel's before its bias's.
    ///
    /// # Errors
    /// For images of another shape than the net's.
    pub fn backward(
        &self,
        x: &Array4<f32>,
        labels: &[u8],
        batch: usize,
        mut ready: impl FnMut(Vec<f32>),
    ) -> Result<f32> {
        let (tape, logits) = self.forward(x)?;
        let (loss, mut dy) = cross_entropy(logits, labels, batch);
        if let Some(head) = &self.head {
            let dlogits = dy.insert_axis(Axis(2)).insert_axis(Axis(3));
            let mut gradients = head.backward(&tape.mean, &dlogits)?;
            let dmean = input(&mut gradients);
            dy = dmean.remove_axis(Axis(3)).remove_axis(Axis(2));
            ready(flat(gradients));
        }
        let mut dy = mean_of_pixels_backward(&dy, &tape.last);
        for (block, tape) in self.blocks.iter().zip(&tape.blocks).rev() {
            dy = block.backward(tape, dy, &mut ready)?;
        }
        for (index, conv) in self.stem.iter().enumerate().rev() {
            let dy_conv = relu_backward(&mut dy, &tape.stem[index]);
            // Nobody asks for the gradient of the images.
            let (x, wanted) = match index.checked_sub(1) {
                Some(before) => (&tape.stem[before], Some(tape.stem[before].dim().into())),
                None => (x, None),
            };
            let mut gradients = conv.gradients(wanted)?;
            conv.backward_into(x, dy_conv, gradients.view_mut())?;
            dy = gradients.x.take().unwrap_or_default();
            ready(flat(gradients));
        }
        Ok(loss)
    }

    fn forward(&self, x: &Array4<f32>) -> Result<(Tape, Array2<f32>)> {
        let mut stem: Vec<Array4<f32>> = Vec::new();
        for conv in &self.stem {
            stem.push(relu(conv.forward(stem.last().unwrap_or(x))?));
        }
        let mut blocks = Vec::new();
        let mut y = stem.last().unwrap_or(x).clone();
        for block in &self.blocks {
            let (tape, out) = block.forward(y)?;
            blocks.push(tape);
            y = out;
        }
        let last = relu(y);
        let mut logits = mean_of_pixels(&last);
        let mean = logits.clone().insert_axis(Axis(2)).insert_axis(Axis(3));
        if let Some(head) = &self.head {
            logits = head.forward(&mean)?.remove_axis(Axis(3)).remove_axis(Axis(2));
        }
        Ok((Tape { stem, blocks, last, mean }, logits))
    }
}

impl Block<Conv2d<f32>> {
    fn forward(&self, x: Array4<f32>) -> Result<(BlockTape, Array4<f32>)> {
        let (mut y, first) = match &self.shortcut {
            Some(shortcut) => {
                let first = relu(x);
                (shortcut.forward(&first)?, first)
            }
            None => (x.clone(), relu(x)),
        };
        let second = relu(self.first.forward(&first)?);
        let branch = self.second.forward(&second)?;
        y.scaled_add(self.scale, &branch);
        Ok((BlockTape { first, second, branch }, y))
    }

    fn backward(
        &self,
        tape: &BlockTape,
        dy: Array4<f32>,
        ready: &mut impl FnMut(Vec<f32>),
    ) -> Result<Array4<f32>> {
        ready(vec![(&dy * &tape.branch).sum()]);
        let mut gradients = self.second.backward(&tape.second, &(&dy * self.scale))?;
        let mut dsecond = input(&mut gradients);
        ready(flat(gradients));
        let mut gradients =
            self.first.backward(&tape.first, relu_backward(&mut dsecond, &tape.second))?;
        let mut dfirst = input(&mut gradients);
        ready(flat(gradients));
        match &self.shortcut {
            Some(shortcut) => {
                let mut gradients = shortcut.backward(&tape.first, &dy)?;
                dfirst += &input(&mut gradients);
                ready(flat(gradients));
                relu_backward(&mut dfirst, &tape.first);
                Ok(dfirst)
            }
            None => {
                relu_backward(&mut dfirst, &tape.first);
                Ok(dfirst + dy)
            }
        }
    }
}

/// The gradient of a layer's input, which [`Conv2d::backward`] always gives.
fn input(gradients: &mut Conv2dGradients<f32>) -> Array4<f32> {
    take(&mut gradients.x).unwrap_or_default()
}

/// A kernel's gradient and its bias's in a row.
fn flat(gradients: Conv2dGradients<f32>) -> Vec<f32> {
    let mut flat = gradients.weight.into_raw_vec_and_offset().0;
    flat.extend(gradients.bias.into_iter().flatten());
    flat
}
