//! A step of training: stochastic gradient descent with momentum.

use std::iter::zip;

use do_conv::{Error, Layer};
use ndarray::Array4;

use super::net::{LAYERS, Net};

pub const BATCH: usize = 32;
pub const LEARNING_RATE: f32 = 0.01;
pub const MOMENTUM: f32 = 0.9;

pub struct Trainer<L: Layer<f32>> {
    pub net: Net<L>,
    gradients: [L::Gradients; LAYERS],
    velocities: Vec<Vec<f32>>,
}

impl<L: Layer<f32>> Trainer<L> {
    pub fn new(mut net: Net<L>) -> Result<Self, Error> {
        let gradients = net.gradients(BATCH)?;
        let mut velocities = Vec::new();
        for (layer, gradients) in zip(&mut net.layers, &gradients) {
            let parameters = layer.parameters_with_gradients(gradients)?;
            velocities.extend(parameters.map(|(_, parameter, _)| vec![0.0; parameter.len()]));
        }
        Ok(Self { net, gradients, velocities })
    }

    /// Trains on one batch; gives the loss before. On a thread of the pool: so small layers find its other
    /// threads awake, and share work that isn't worth waking them for.
    pub fn step(&mut self, x: &Array4<f32>, labels: &[u8]) -> Result<f32, Error> {
        rayon::scope(|_| {
            let loss = self.net.backward(x, labels, &mut self.gradients)?;
            self.descend()?;
            Ok(loss)
        })
    }

    /// `v ← momentum·v + gradient`, `parameter ← parameter − rate·v`
    fn descend(&mut self) -> Result<(), Error> {
        let mut velocities = self.velocities.iter_mut();
        for (layer, gradients) in zip(&mut self.net.layers, &self.gradients) {
            for (_, parameter, gradient) in layer.parameters_with_gradients(gradients)? {
                let velocity = velocities.next().expect("one for each parameter");
                for ((p, g), v) in zip(zip(parameter, gradient), velocity) {
                    *v = MOMENTUM * *v + g;
                    *p -= LEARNING_RATE * *v;
                }
            }
        }
        Ok(())
    }
}
