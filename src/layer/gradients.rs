//! Gradients of the layers, and where a backward pass writes them.

use ndarray::{Array, Array1, Array3, Array4, Dimension};

use crate::error::{ErrorKind, Operation, Result};
use crate::operator::{Conv2dGradientsMut, DoConv2dGradientsMut};
use crate::scalar::Scalar;

/// Gradients of a [`Conv2d`](crate::Conv2d), each of the shape of what it is the gradient of.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
pub struct Conv2dGradients<T> {
    /// Gradient of the input, `[B, I, H, W]`; `None` if it isn't wanted.
    pub x: Option<Array4<T>>,
    /// Gradient of the kernel, `[O, I/g, M, N]`.
    pub weight: Array4<T>,
    /// Gradient of the bias, `[O]`, if the layer has one.
    pub bias: Option<Array1<T>>,
}

impl<T: Scalar> Conv2dGradients<T> {
    /// The gradients as places to write to.
    pub fn view_mut(&mut self) -> Conv2dGradientsMut<'_, T> {
        Conv2dGradientsMut {
            x: self.x.as_mut().map(|x| x.view_mut()),
            weight: Some(self.weight.view_mut()),
            bias: self.bias.as_mut().map(|bias| bias.view_mut()),
        }
    }
}

/// Gradients of a [`DoConv2d`](crate::DoConv2d), each of the shape of what it is the gradient of.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
pub struct DoConv2dGradients<T> {
    /// Gradient of the input, `[B, I, H, W]`; `None` if it isn't wanted.
    pub x: Option<Array4<T>>,
    /// Gradient of `W`, `[O, I/g, S]`.
    pub w: Array3<T>,
    /// Gradient of the offset of `D`, `[I, M·N, S]`, if the layer has a `D`.
    pub d_offset: Option<Array3<T>>,
    /// Gradient of the bias, `[O]`, if the layer has one.
    pub bias: Option<Array1<T>>,
}

impl<T: Scalar> DoConv2dGradients<T> {
    /// The gradients as places to write to.
    pub fn view_mut(&mut self) -> DoConv2dGradientsMut<'_, T> {
        DoConv2dGradientsMut {
            x: self.x.as_mut().map(|x| x.view_mut()),
            w: Some(self.w.view_mut()),
            d_offset: self.d_offset.as_mut().map(|d_offset| d_offset.view_mut()),
            bias: self.bias.as_mut().map(|bias| bias.view_mut()),
        }
    }
}

/// A parameter's values beside their gradient's, both in order.
pub(super) type Beside<'a, T> = Option<(&'static str, &'a mut [T], &'a [T])>;

/// A parameter, if there is one, beside its gradient: both must have one shape and lie in order.
pub(super) fn beside<'a, T, D: Dimension>(
    operation: Operation,
    name: &'static str,
    field: &'static str,
    parameter: Option<&'a mut Array<T, D>>,
    gradient: Option<&'a Array<T, D>>,
) -> Result<Beside<'a, T>> {
    let shape = parameter.as_ref().map(|parameter| parameter.shape());
    operation.expect_optional_shape(field, shape, gradient.map(|gradient| gradient.shape()))?;
    let (Some(parameter), Some(gradient)) = (parameter, gradient) else { return Ok(None) };
    match (parameter.as_slice_mut(), gradient.as_slice()) {
        (Some(parameter), Some(gradient)) => Ok(Some((name, parameter, gradient))),
        _ => {
            let expected = "an array in standard layout";
            let got = format!("strides {:?}", gradient.strides());
            Err(operation.error(ErrorKind::Shape, field, expected, got))
        }
    }
}
