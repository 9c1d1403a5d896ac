//! Between the caller's arrays, of any strides, and the contiguous slices that kernels work on.

use std::borrow::Cow;

use ndarray::{Array, ArrayRef, ArrayView, ArrayViewMut, Dimension, IntoDimension};

use crate::error::{Error, ErrorKind, Result};
use crate::machine::element::Element;
use crate::machine::memory::{self, NoRoom, Room};

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

/// A layer's own elements in logical order, which they are kept in, to write to.
pub(crate) fn contiguous_mut<T, D: Dimension>(array: &mut Array<T, D>) -> &mut [T] {
    array.as_slice_mut().unwrap_or_default()
}

/// Where results go: the caller's elements in logical order, or, if they don't lie so, a copy that
/// [`Target::store`] writes to them.
pub(crate) struct Target<'a, T, D> {
    place: ArrayViewMut<'a, T, D>,
    copy: Option<Vec<T>>,
}

impl<'a, T: Element, D: Dimension> Target<'a, T, D> {
    pub(crate) fn new(
        operation: &'static str,
        field: &'static str,
        mut place: ArrayViewMut<'a, T, D>,
    ) -> Result<Self> {
        if place.as_slice_mut().is_some() {
            return Ok(Self { place, copy: None });
        }
        let mut copy = room(operation, field, place.len())?;
        copy.resize(place.len(), T::zero());
        Ok(Self { place, copy: Some(copy) })
    }

    /// The same of a place that may not be wanted.
    pub(crate) fn optional(
        operation: &'static str,
        field: &'static str,
        place: Option<ArrayViewMut<'a, T, D>>,
    ) -> Result<Option<Self>> {
        place.map(|place| Self::new(operation, field, place)).transpose()
    }

    /// The elements, of any value, to be written.
    pub(crate) fn elements(&mut self) -> &mut [T] {
        match &mut self.copy {
            Some(copy) => copy,
            None => self.place.as_slice_mut().unwrap_or_default(),
        }
    }

    /// Puts what was written in its place.
    pub(crate) fn store(mut self) {
        if let Some(copy) = self.copy {
            self.place.iter_mut().zip(copy).for_each(|(place, value)| *place = value);
        }
    }
}

/// Lets `write` fill the elements of `target` and stores them, if there is room for what that needs.
pub(crate) fn fill<T: Element, D: Dimension>(
    operation: &'static str,
    field: &'static str,
    target: ArrayViewMut<'_, T, D>,
    write: impl FnOnce(&mut [T]) -> Room<()>,
) -> Result<()> {
    let mut target = Target::new(operation, field, target)?;
    write(target.elements()).map_err(|none| none.refuse(operation, NoRoom::BUFFERS))?;
    target.store();
    Ok(())
}

/// A new array of zeros, or an error where there is no room for it.
pub(crate) fn zeros<T: Element, D: Dimension>(
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
    memory::room(count).map_err(|none| none.refuse(operation, field))
}

/// The number of elements of an array, if even an array of `f64` of that shape can be addressed.
pub(crate) fn element_count(
    operation: &'static str,
    field: &'static str,
    shape: &[usize],
) -> Result<usize> {
    // Zero extents don't hide an overflow of the others: ndarray refuses those too.
    let mut extents = shape.iter().filter(|&&extent| extent != 0);
    let product = extents.try_fold(1usize, |product, &extent| product.checked_mul(extent));
    match product {
        Some(product) if product <= isize::MAX as usize / 8 => {
            Ok(if shape.contains(&0) { 0 } else { product })
        }
        _ => {
            let expected = "a number of elements that can be addressed";
            let got = format!("{shape:?}");
            Err(Error::new(ErrorKind::Overflow, operation, field, expected, got))
        }
    }
}
