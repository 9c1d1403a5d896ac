//! The caller's images as layers take them.

use std::borrow::Cow;

use ndarray::{Array4, ArrayRef, ArrayView4, ArrayViewMut4, Dimension};

use crate::config::geometry::{Geometry, Spec};
use crate::error::{Operation, Result};
use crate::scalar::Scalar;

/// What a backward pass is given: both images in order, and the geometry of the layer for `x`.
pub struct Pass<'a, T: Clone> {
    pub geometry: Geometry,
    pub x: Cow<'a, [T]>,
    pub dy: Cow<'a, [T]>,
}

/// Checks `x` and `dy` against the layer.
pub fn resolve<'a, T: Scalar, D: Dimension, E: Dimension>(
    operation: Operation,
    spec: &Spec,
    x: &'a ArrayRef<T, D>,
    dy: &'a ArrayRef<T, E>,
) -> Result<Pass<'a, T>> {
    let (geometry, x) = resolve_input(operation, spec, x)?;
    let dy: ArrayView4<T> = operation.view("dy", dy)?;
    operation.expect_shape("dy", &geometry.output_shape(), dy.shape())?;
    Ok(Pass { geometry, x, dy: operation.ordered("dy", dy)? })
}

/// A new output for `x`, which `write` writes.
pub fn output<T: Scalar, D: Dimension>(
    operation: Operation,
    spec: &Spec,
    x: &ArrayRef<T, D>,
    write: impl FnOnce(&Geometry, &[T], ArrayViewMut4<T>) -> Result<()>,
) -> Result<Array4<T>> {
    let (geometry, x) = resolve_input(operation, spec, x)?;
    let mut y = operation.zeros("y", geometry.output_shape())?;
    write(&geometry, &x, y.view_mut())?;
    Ok(y)
}

/// The same into `y`, if that has the output's shape.
pub fn output_into<T: Scalar, D: Dimension, E: Dimension>(
    operation: Operation,
    spec: &Spec,
    x: &ArrayRef<T, D>,
    y: &mut ArrayRef<T, E>,
    write: impl FnOnce(&Geometry, &[T], ArrayViewMut4<T>) -> Result<()>,
) -> Result<()> {
    let (geometry, x) = resolve_input(operation, spec, x)?;
    let y: ArrayViewMut4<T> = operation.view_mut("y", y)?;
    operation.expect_shape("y", &geometry.output_shape(), y.shape())?;
    write(&geometry, &x, y)
}

/// The geometry of the layer for `x`, and that in order.
fn resolve_input<'a, T: Scalar, D: Dimension>(
    operation: Operation,
    spec: &Spec,
    x: &'a ArrayRef<T, D>,
) -> Result<(Geometry, Cow<'a, [T]>)> {
    let x: ArrayView4<T> = operation.view("x", x)?;
    let geometry = Geometry::new(operation, spec, x.dim().into())?;
    Ok((geometry, operation.ordered("x", x)?))
}
