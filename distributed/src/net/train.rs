//! Parameters change by a gradient of the plain net.

use std::iter::zip;

use do_conv::operator::Compose;
use do_conv::{DoConv2d, DoConv2dGradients, Result};
use ndarray::{ArrayView1, ArrayView4};

use super::{Net, Unit};

/// Stochastic gradient descent with momentum: `v ← momentum·v + gradient + weight_decay·p`, `p ← p − learning_rate·v`,
/// where biases and scales don't decay.
#[derive(Clone, Copy, Debug)]
pub struct Descent {
    /// How far to go.
    pub learning_rate: f32,
    /// What stays of the last step.
    pub momentum: f32,
    /// For `W`, and for the offset of `D` from the identity.
    pub weight_decay: f32,
}

/// The velocity of every parameter, in the order of [`Net::units_mut`] and of a layer's parameters in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Velocities(pub Vec<Vec<f32>>);

impl Velocities {
    /// All zero.
    pub fn new(net: &mut Net<DoConv2d<f32>>) -> Self {
        let mut all = Vec::new();
        net.parameters(|_, _, values| all.push(vec![0.0; values.len()]));
        Self(all)
    }
}

impl Net<DoConv2d<f32>> {
    /// Gives the net's parameters to `visit`, with the names of their unit and in it.
    pub fn parameters(&mut self, mut visit: impl FnMut(&str, &'static str, &mut [f32])) {
        for (name, unit) in self.units_mut() {
            match unit {
                Unit::Conv(conv) => {
                    conv.parameters_mut()
                        .for_each(|(parameter, values)| visit(&name, parameter, values));
                }
                Unit::Scale(scale) => visit(&name, "", std::slice::from_mut(scale)),
            }
        }
    }

    /// One step. `gradients` are those of the folded net, unit by unit, as its backward pass gives them.
    ///
    /// # Errors
    /// Where there is no room for gradients of `D` and `W`.
    ///
    /// # Panics
    /// For gradients of another net.
    pub fn descend(
        &mut self,
        descent: Descent,
        gradients: &[Vec<f32>],
        velocities: &mut Velocities,
    ) -> Result<()> {
        let mut velocities = velocities.0.iter_mut();
        let mut step = |name: &str, parameters: &mut [f32], gradients: &[f32]| {
            let decay = if matches!(name, "w" | "d_offset") { descent.weight_decay } else { 0.0 };
            let velocities = velocities.next().expect("one for each parameter");
            for ((p, g), v) in zip(zip(parameters, gradients), velocities) {
                *v = descent.momentum * *v + (g + decay * *p);
                *p -= descent.learning_rate * *v;
            }
        };
        assert_eq!(self.units_mut().count(), gradients.len(), "gradients are of this net");
        for ((_, unit), gradients) in zip(self.units_mut(), gradients) {
            match unit {
                Unit::Conv(conv) => {
                    let gradients = unfolded(conv, gradients)?;
                    for (name, parameters, gradients) in
                        conv.parameters_with_gradients(&gradients)?
                    {
                        step(name, parameters, gradients);
                    }
                }
                Unit::Scale(scale) => step("scale", std::slice::from_mut(scale), gradients),
            }
        }
        Ok(())
    }
}

/// The gradients of a layer from those of its composed kernel and bias, in a row: `dW = D·dW'`, `dD = W·dW'`.
fn unfolded(conv: &DoConv2d<f32>, gradients: &[f32]) -> Result<DoConv2dGradients<f32>> {
    let mut unfolded = conv.gradients(None)?;
    let (dweight, dbias) =
        gradients.split_at(gradients.len() - conv.bias().map_or(0, |bias| bias.len()));
    if let Some(bias) = &mut unfolded.bias {
        bias.assign(&ArrayView1::from(dbias));
    }
    match (conv.d_offset(), &mut unfolded.d_offset) {
        (Some(d_offset), Some(dd_offset)) => {
            let compose = Compose::new(conv.config())?;
            let dweight = ArrayView4::from_shape(compose.weight_shape(), dweight);
            let dweight = dweight.expect("gradients of this net");
            compose.backward_into(
                d_offset,
                conv.w(),
                dweight,
                dd_offset.view_mut(),
                unfolded.w.view_mut(),
            )?;
        }
        // A 1×1 kernel is its W.
        _ => zip(&mut unfolded.w, dweight).for_each(|(dw, dweight)| *dw = *dweight),
    }
    Ok(unfolded)
}
