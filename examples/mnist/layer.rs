//! What the net asks of a layer, so that it is written once for plain and DO-Conv layers.

use do_conv::{Conv2d, Conv2dGradients, DoConv2d, Error, Gradients, Saved};
use ndarray::Array4;

/// `[batch, channels, rows, columns]`
pub type Shape = (usize, usize, usize, usize);

pub trait Layer {
    /// What the backward pass needs of the forward pass.
    type Saved<'x>;
    /// Buffers for the gradients, reused from step to step.
    type Gradients;

    fn forward(&self, x: &Array4<f32>) -> Result<Array4<f32>, Error>;

    fn forward_train<'x>(
        &self,
        x: &'x Array4<f32>,
    ) -> Result<(Array4<f32>, Self::Saved<'x>), Error>;

    /// `x` is the shape of the input, or `None` where its gradient is not wanted.
    fn gradients(&self, x: Option<Shape>) -> Result<Self::Gradients, Error>;

    fn backward_into(
        &self,
        saved: &Self::Saved<'_>,
        dy: &Array4<f32>,
        gradients: &mut Self::Gradients,
    ) -> Result<(), Error>;

    fn x_gradient(gradients: &mut Self::Gradients) -> Option<&mut Array4<f32>>;

    /// Every parameter beside its gradient.
    fn parameters<'a>(
        &'a mut self,
        gradients: &'a Self::Gradients,
    ) -> impl Iterator<Item = (&'a mut [f32], &'a [f32])>;
}

impl Layer for Conv2d<f32> {
    type Saved<'x> = &'x Array4<f32>;
    type Gradients = Conv2dGradients<f32>;

    fn forward(&self, x: &Array4<f32>) -> Result<Array4<f32>, Error> {
        self.forward(x)
    }

    fn forward_train<'x>(
        &self,
        x: &'x Array4<f32>,
    ) -> Result<(Array4<f32>, Self::Saved<'x>), Error> {
        Ok((self.forward(x)?, x))
    }

    fn gradients(&self, x: Option<Shape>) -> Result<Self::Gradients, Error> {
        self.gradients(x)
    }

    fn backward_into(
        &self,
        saved: &Self::Saved<'_>,
        dy: &Array4<f32>,
        gradients: &mut Self::Gradients,
    ) -> Result<(), Error> {
        self.backward_into(saved, dy, gradients.view_mut())
    }

    fn x_gradient(gradients: &mut Self::Gradients) -> Option<&mut Array4<f32>> {
        gradients.x.as_mut()
    }

    fn parameters<'a>(
        &'a mut self,
        gradients: &'a Self::Gradients,
    ) -> impl Iterator<Item = (&'a mut [f32], &'a [f32])> {
        self.parameters_mut().zip(gradients.parameters()).map(|((_, p), (_, g))| (p, g))
    }
}

impl Layer for DoConv2d<f32> {
    type Saved<'x> = Saved<'x, f32>;
    type Gradients = Gradients<f32>;

    fn forward(&self, x: &Array4<f32>) -> Result<Array4<f32>, Error> {
        self.forward(x)
    }

    fn forward_train<'x>(
        &self,
        x: &'x Array4<f32>,
    ) -> Result<(Array4<f32>, Self::Saved<'x>), Error> {
        self.forward_train(x)
    }

    fn gradients(&self, x: Option<Shape>) -> Result<Self::Gradients, Error> {
        self.gradients(x)
    }

    fn backward_into(
        &self,
        saved: &Self::Saved<'_>,
        dy: &Array4<f32>,
        gradients: &mut Self::Gradients,
    ) -> Result<(), Error> {
        self.backward_into(saved, dy, gradients.view_mut())
    }

    fn x_gradient(gradients: &mut Self::Gradients) -> Option<&mut Array4<f32>> {
        gradients.x.as_mut()
    }

    fn parameters<'a>(
        &'a mut self,
        gradients: &'a Self::Gradients,
    ) -> impl Iterator<Item = (&'a mut [f32], &'a [f32])> {
        self.parameters_mut().zip(gradients.parameters()).map(|((_, p), (_, g))| (p, g))
    }
}
