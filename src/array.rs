//! Between the caller's arrays, of any strides, and the contiguous slices that kernels work on.

use std::borrow::Cow;

use ndarray::{Array, ArrayRef, ArrayView, ArrayViewMut, Dimension, IntoDimension};

use crate::Scalar;
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::element_count;

/// The array as one of rank `E`.
pub(crate) fn view<'a, T, D: Dimension, E: Dimension>(
    operation: &'static str,
    field: &'static str,
    array: &'a ArrayRef<T, D>,
) -> Result<ArrayView<'a, T, E>> {
    let shape = array.shape();
    let view = array.view().into_dimensionality();
    view.map_err(|_| wrong_rank::<E>(operation, field, shape))
}

/// The array as one of rank `E`, to write to.
pub(crate) fn view_mut<'a, T, D: Dimension, E: Dimension>(
    operation: &'static str,
    field: &'static str,
    array: &'a mut ArrayRef<T, D>,
) -> Result<ArrayViewMut<'a, T, E>> {
    let shape = array.shape().to_vec();
    let view = array.view_mut().into_dimensionality();
    view.map_err(|_| wrong_rank::<E>(operation, field, &shape))
}

fn wrong_rank<E: Dimension>(operation: &'static str, field: &'static str, got: &[usize]) -> Error {
    let rank = E::NDIM.unwrap_or_default();
    let got = format!("shape {got:?}");
    Error::new(ErrorKind::Shape, operation, field, format!("an array of rank {rank}"), got)
}

/// Refuses an array of another shape.
pub(crate) fn expect_shape(
    operation: &'static str,
    field: &'static str,
    expected: &[usize],
    got: &[usize],
) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(Error::shape(operation, field, expected, got))
}

/// Refuses an optional array that is of another shape, missing, or not wanted.
pub(crate) fn expect_optional_shape(
    operation: &'static str,
    field: &'static str,
    expected: Option<&[usize]>,
    got: Option<&[usize]>,
) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    let describe =
        |shape: Option<&[usize]>| shape.map_or("none".into(), |shape| format!("{shape:?}"));
    let (expected, got) = (describe(expected), describe(got));
    Err(Error::new(ErrorKind::Shape, operation, field, expected, got))
}

/// The caller's elements in logical order, copied only if they don't lie so.
pub(crate) fn ordered<'a, T: Clone, D: Dimension>(
    operation: &'static str,
    field: &'static str,
    view: ArrayView<'a, T, D>,
) -> Result<Cow<'a, [T]>> {
    if let Some(slice) = view.to_slice() {
        return Ok(Cow::Borrowed(slice));
    }
    let mut elements = room(operation, field, view.len())?;
    elements.extend(view.iter().cloned());
    Ok(Cow::Owned(elements))
}

/// A layer's own elements in logical order, which they are kept in.
pub(crate) fn contiguous<T: Clone, D: Dimension>(view: ArrayView<'_, T, D>) -> Cow<'_, [T]> {
    match view.to_slice() {
        Some(slice) => Cow::Borrowed(slice),
        None => Cow::Owned(view.iter().cloned().collect()),
    }
}

/// Lets `write` fill a slice and stores it in `target`, directly if its elements lie in order; gives
/// what `write` gives.
pub(crate) fn fill<T: Scalar, D: Dimension, R>(
    mut target: ArrayViewMut<'_, T, D>,
    write: impl FnOnce(&mut [T]) -> R,
) -> R {
    if let Some(slice) = target.as_slice_mut() {
        return write(slice);
    }
    let mut values = vec![T::zero(); target.len()];
    let result = write(&mut values);
    target.iter_mut().zip(values).for_each(|(target, value)| *target = value);
    result
}

/// A new array of zeros, or an error where there is no room for it.
pub(crate) fn zeros<T: Scalar, D: Dimension>(
    operation: &'static str,
    field: &'static str,
    shape: impl IntoDimension<Dim = D>,
) -> Result<Array<T, D>> {
    let shape = shape.into_dimension();
    let count = element_count(operation, field, shape.slice())?;
    // Asked for and given back: a plain allocation that fails ends the process.
    room::<T>(operation, field, count)?;
    Ok(Array::zeros(shape))
}

/// An empty vector with room for `count` elements, or an error where there is none.
pub(crate) fn room<T>(
    operation: &'static str,
    field: &'static str,
    count: usize,
) -> Result<Vec<T>> {
    let mut elements = Vec::new();
    elements.try_reserve_exact(count).map_err(|_| {
        let expected = format!("room for {count} elements");
        Error::new(ErrorKind::Memory, operation, field, expected, "none")
    })?;
    Ok(elements)
}
