//! The caller's images as layers take them.

use std::borrow::Cow;

use ndarray::{ArrayRef, ArrayView4, Dimension};

use crate::config::geometry::{Geometry, Spec};
use crate::error::{Operation, Result};
use crate::scalar::Scalar;

/// `x` in order, and the geometry of a layer for it.
pub fn resolve_input<'a, T: Scalar, D: Dimension>(
    operation: Operation,
    spec: &Spec,
    x: &'a ArrayRef<T, D>,
) -> Result<(Cow<'a, [T]>, Geometry)> {
    let x: ArrayView4<T> = operation.view("x", x)?;
    let geometry = Geometry::new(operation, spec, x.dim().into())?;
    Ok((operation.ordered("x", x)?, geometry))
}

/// `dy` in order, if it has the shape of the output.
pub fn resolve_gradient<'a, T: Scalar, D: Dimension>(
    operation: Operation,
    geometry: &Geometry,
    dy: &'a ArrayRef<T, D>,
) -> Result<Cow<'a, [T]>> {
    let dy: ArrayView4<T> = operation.view("dy", dy)?;
    operation.expect_shape("dy", &geometry.output_shape(), dy.shape())?;
    operation.ordered("dy", dy)
}
