//! Gradients of a DO-Conv layer and the state that a training forward pass saves for them.

use std::borrow::Cow;
use std::sync::Arc;

use ndarray::{Array1, Array3, Array4, ArrayViewMut1, ArrayViewMut3, ArrayViewMut4};

use crate::array::{expect_optional_shape, expect_shape};
use crate::config::geometry::Geometry;
use crate::error::Result;
use crate::scalar::Scalar;

/// Gradients of a [`DoConv2d`](crate::DoConv2d), each of the shape of what it is the gradient of.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
pub struct Gradients<T> {
    /// Gradient of the input, `[B, I, H, W]`; `None` if it isn't wanted.
    pub x: Option<Array4<T>>,
    /// Gradient of `W`, `[O, I/g, S]`.
    pub w: Array3<T>,
    /// Gradient of the offset of `D`, `[I, M·N, S]`, if the layer has a `D`.
    pub d_offset: Option<Array3<T>>,
    /// Gradient of the bias, `[O]`, if the layer has one.
    pub bias: Option<Array1<T>>,
}

/// Where [`DoConv2d::backward_into`](crate::DoConv2d::backward_into) writes gradients: views of any
/// strides.
#[derive(Debug)]
pub struct GradientsMut<'a, T> {
    /// Gradient of the input, `[B, I, H, W]`; `None` if it isn't wanted.
    pub x: Option<ArrayViewMut4<'a, T>>,
    /// Gradient of `W`, `[O, I/g, S]`.
    pub w: ArrayViewMut3<'a, T>,
    /// Gradient of the offset of `D`, `[I, M·N, S]`, if the layer has a `D`.
    pub d_offset: Option<ArrayViewMut3<'a, T>>,
    /// Gradient of the bias, `[O]`, if the layer has one.
    pub bias: Option<ArrayViewMut1<'a, T>>,
}

impl<T: Scalar> Gradients<T> {
    /// The gradients as places to write to.
    pub fn view_mut(&mut self) -> GradientsMut<'_, T> {
        GradientsMut {
            x: self.x.as_mut().map(|x| x.view_mut()),
            w: self.w.view_mut(),
            d_offset: self.d_offset.as_mut().map(|d_offset| d_offset.view_mut()),
            bias: self.bias.as_mut().map(|bias| bias.view_mut()),
        }
    }

    /// Gradients of the parameters, with the names and in the order of
    /// [`DoConv2d::parameters`](crate::DoConv2d::parameters). A gradient that isn't in standard layout
    /// is left out.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, &[T])> {
        let w = self.w.as_slice().map(|w| ("w", w));
        let d_offset = self.d_offset.as_ref().and_then(|d| Some(("d_offset", d.as_slice()?)));
        let bias = self.bias.as_ref().and_then(|bias| Some(("bias", bias.as_slice()?)));
        w.into_iter().chain(d_offset).chain(bias)
    }
}

impl<T> GradientsMut<'_, T> {
    /// Refuses gradients of other shapes than these.
    pub(crate) fn validate(
        &self,
        operation: &'static str,
        input: [usize; 4],
        w: &[usize],
        d_offset: Option<&[usize]>,
        bias: Option<&[usize]>,
    ) -> Result<()> {
        if let Some(x) = &self.x {
            expect_shape(operation, "gradients.x", &input, x.shape())?;
        }
        expect_shape(operation, "gradients.w", w, self.w.shape())?;
        let got = self.d_offset.as_ref().map(|d_offset| d_offset.shape());
        expect_optional_shape(operation, "gradients.d_offset", d_offset, got)?;
        let got = self.bias.as_ref().map(|bias| bias.shape());
        expect_optional_shape(operation, "gradients.bias", bias, got)
    }
}

/// Stands for the values of a layer's parameters: a layer gets a new one whenever they may change.
/// Identity is by address, so neither a counter nor a comparison of values is needed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Revision(Arc<()>);

impl PartialEq for Revision {
    /// Whether both stand for the same values of the same layer, or of a clone of it.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// What [`DoConv2d::forward_train`](crate::DoConv2d::forward_train) keeps for
/// [`DoConv2d::backward`](crate::DoConv2d::backward): the input, borrowed if its elements lie in
/// order.
#[derive(Debug, Clone)]
pub struct Saved<'x, T: Clone> {
    pub(crate) x: Cow<'x, [T]>,
    pub(crate) geometry: Geometry,
    pub(crate) revision: Revision,
}

impl<T: Clone> Saved<'_, T> {
    /// The same state with an input of its own.
    pub fn into_owned(self) -> Saved<'static, T> {
        Saved {
            x: Cow::Owned(self.x.into_owned()),
            geometry: self.geometry,
            revision: self.revision,
        }
    }

    /// The shape `[B, I, H, W]` of the input.
    pub fn input_shape(&self) -> [usize; 4] {
        self.geometry.input_shape()
    }

    /// The shape `[B, O, OH, OW]` of the output.
    pub fn output_shape(&self) -> [usize; 4] {
        self.geometry.output_shape()
    }
}
