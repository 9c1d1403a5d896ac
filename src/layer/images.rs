//! The caller's images as layers take them.

use std::borrow::Cow;

use ndarray::{ArrayRef, ArrayView4, Dimension};

use crate::array::{self, expect_shape, ordered};
use crate::config::geometry::{Geometry, Spec};
use crate::error::Result;
use crate::scalar::Scalar;

/// `x` in order, and the geometry of a layer for it.
pub fn resolve_input<'a, T: Scalar, D: Dimension>(
    operation: &'static str,
    spec: &Spec,
    x: &'a ArrayRef<T, D>,
) -> Result<(Cow<'a, [T]>, Geometry)> {
    let x: ArrayView4<T> = array::view(operation, "x", x)?;
    let geometry = Geometry::new(operation, spec, x.dim().into())?;
    Ok((ordered(operation, "x", x)?, geometry))
}

/// `dy` in order, if it has the shape of the output.
pub fn resolve_gradient<'a, T: Scalar, D: Dimension>(
    operation: &'static str,
    geometry: &Geometry,
    dy: &'a ArrayRef<T, D>,
) -> Result<Cow<'a, [T]>> {
    let dy: ArrayView4<T> = array::view(operation, "dy", dy)?;
    expect_shape(operation, "dy", &geometry.output_shape(), dy.shape())?;
    ordered(operation, "dy", dy)
}
