//! How a framework uses this crate: it owns tensors and autograd, and lends slices for each operation. Here
//! the framework is a dozen lines, and its tape two nodes; `do-conv-candle` does the same with candle's.

use do_conv::operator::{Compose, Conv2dGradientsMut, Convolve};
use do_conv::{DoConv2dConfig, Error};
use ndarray::{ArrayView, ArrayViewMut, Dim, Dimension, IntoDimension, Ix};

/// A tensor of the framework.
struct Tensor<const N: usize> {
    shape: [Ix; N],
    data: Vec<f32>,
}

impl<const N: usize> Tensor<N>
where
    [Ix; N]: IntoDimension<Dim = Dim<[Ix; N]>>,
    Dim<[Ix; N]>: Dimension,
{
    /// Some numbers, the same every time.
    fn new(shape: [Ix; N], scale: f32) -> Self {
        let number = |index: usize| scale * ((index * 7919 % 101) as f32 - 50.0) / 50.0;
        Self { shape, data: (0..shape.iter().product()).map(number).collect() }
    }

    fn zeros(shape: [Ix; N]) -> Self {
        Self::new(shape, 0.0)
    }

    fn view(&self) -> ArrayView<'_, f32, Dim<[Ix; N]>> {
        ArrayView::from_shape(self.shape, &self.data).expect("data for the shape")
    }

    fn view_mut(&mut self) -> ArrayViewMut<'_, f32, Dim<[Ix; N]>> {
        ArrayViewMut::from_shape(self.shape, &mut self.data).expect("data for the shape")
    }

    /// Gradient descent.
    fn step(&mut self, gradient: &Self) {
        self.data.iter_mut().zip(&gradient.data).for_each(|(value, gradient)| {
            *value -= 1e-4 * gradient;
        });
    }
}

fn main() -> Result<(), Error> {
    // Made once for a layer. They check its settings and keep buffers from call to call.
    let config = DoConv2dConfig::new(4, 8, [3, 3]).padding(1);
    let compose = Compose::<f32>::new(&config)?;
    let convolve = Convolve::<f32>::new(&config.conv)?;

    // The framework's own: images, parameters, and results of the shapes that the operators say.
    let (x, target) = (Tensor::new([2, 4, 10, 10], 1.0), Tensor::new([2, 8, 10, 10], 0.5));
    let (mut w, mut d_offset) = (Tensor::new([8, 4, 9], 0.2), Tensor::zeros([4, 9, 9]));
    let (mut dw, mut dd_offset) = (Tensor::zeros(w.shape), Tensor::zeros(d_offset.shape));
    let mut weight = Tensor::zeros(compose.weight_shape());
    let mut dweight = Tensor::zeros(weight.shape);
    let mut y = Tensor::zeros(convolve.output_shape(x.shape)?);
    let mut dy = Tensor::zeros(y.shape);

    let mut losses = Vec::new();
    for _ in 0..50 {
        // Forward: two nodes of the tape.
        compose.forward_into(d_offset.view(), w.view(), weight.view_mut())?;
        convolve.forward_into(x.view(), weight.view(), None, y.view_mut())?;

        // The loss Σ (y − target)² / 2 and its gradient.
        dy.data = y.data.iter().zip(&target.data).map(|(y, target)| y - target).collect();
        losses.push(dy.data.iter().map(|difference| difference * difference / 2.0).sum::<f32>());

        // Back through the nodes, for the gradients that somebody wants.
        let weight_alone =
            Conv2dGradientsMut { x: None, weight: Some(dweight.view_mut()), bias: None };
        convolve.backward_into(x.view(), weight.view(), dy.view(), weight_alone)?;
        let (dd_view, dw_view) = (dd_offset.view_mut(), dw.view_mut());
        compose.backward_into(d_offset.view(), w.view(), dweight.view(), dd_view, dw_view)?;
        w.step(&dw);
        d_offset.step(&dd_offset);
    }
    println!("loss {:.1} at first, {:.1} after {} steps", losses[0], losses[49], losses.len());
    assert!(losses[49] < losses[0] / 2.0, "training helps");
    Ok(())
}
