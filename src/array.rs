//! Between the caller's arrays, of any strides, and the contiguous slices that the engine works on.

use std::borrow::Cow;

use ndarray::{Array, ArrayRef, ArrayView, ArrayViewMut, Dimension, IntoDimension};

use crate::error::{Error, ErrorKind, Operation, Result};
use crate::machine::element::Element;
use crate::machine::memory::{self, NoRoom, Room};

/// What buffers to work in are called in an error.
const BUFFERS: &str = "buffers";

impl Operation {
    /// The array as one of rank `E`.
    pub fn view<'a, T, D: Dimension, E: Dimension>(
        self,
        field: &'static str,
        array: &'a ArrayRef<T, D>,
    ) -> Result<ArrayView<'a, T, E>> {
        let shape = array.shape();
        let view = array.view().into_dimensionality();
        view.map_err(|_| self.wrong_rank::<E>(field, shape))
    }

    /// The array as one of rank `E`, to write to.
    pub fn view_mut<'a, T, D: Dimension, E: Dimension>(
        self,
        field: &'static str,
        array: &'a mut ArrayRef<T, D>,
    ) -> Result<ArrayViewMut<'a, T, E>> {
        let shape = array.shape().to_vec();
        let view = array.view_mut().into_dimensionality();
        view.map_err(|_| self.wrong_rank::<E>(field, &shape))
    }

    fn wrong_rank<E: Dimension>(self, field: &'static str, got: &[usize]) -> Error {
        let rank = E::NDIM.unwrap_or_default();
        let expected = format!("an array of rank {rank}");
        self.error(ErrorKind::Shape, field, expected, format!("shape {got:?}"))
    }

    /// The caller's elements in logical order, copied only if they don't lie so.
    pub fn ordered<'a, T: Clone, D: Dimension>(
        self,
        field: &'static str,
        view: ArrayView<'a, T, D>,
    ) -> Result<Cow<'a, [T]>> {
        if let Some(slice) = view.to_slice() {
            return Ok(Cow::Borrowed(slice));
        }
        let mut elements = self.room(field, view.len())?;
        elements.extend(view.iter().cloned());
        Ok(Cow::Owned(elements))
    }

    /// Where results for `place` go.
    pub fn target<'a, T: Element, D: Dimension>(
        self,
        field: &'static str,
        mut place: ArrayViewMut<'a, T, D>,
    ) -> Result<Target<'a, T, D>> {
        if place.as_slice_mut().is_some() {
            return Ok(Target { place, copy: None });
        }
        let mut copy = self.room(field, place.len())?;
        copy.resize(place.len(), T::zero());
        Ok(Target { place, copy: Some(copy) })
    }

    /// The same for a place that may not be wanted; refuses one of another shape, or for what there is
    /// none of.
    pub fn wanted<'a, T: Element, D: Dimension>(
        self,
        field: &'static str,
        shape: Option<&[usize]>,
        place: Option<ArrayViewMut<'a, T, D>>,
    ) -> Result<Option<Target<'a, T, D>>> {
        let Some(place) = place else { return Ok(None) };
        self.expect_optional_shape(field, shape, Some(place.shape()))?;
        self.target(field, place).map(Some)
    }

    /// Lets `write` fill the elements of `place` and stores them, if there is room for what that needs.
    pub fn fill<T: Element, D: Dimension>(
        self,
        field: &'static str,
        place: ArrayViewMut<'_, T, D>,
        write: impl FnOnce(&mut [T]) -> Room<()>,
    ) -> Result<()> {
        let mut target = self.target(field, place)?;
        self.buffers(write(target.elements()))?;
        target.store();
        Ok(())
    }

    /// A new array of zeros, or an error where there is no room for it.
    pub fn zeros<T: Element, D: Dimension>(
        self,
        field: &'static str,
        shape: impl IntoDimension<Dim = D>,
    ) -> Result<Array<T, D>> {
        let shape = shape.into_dimension();
        let count = self.element_count(field, shape.slice())?;
        // Asked for and given back: a plain allocation that fails ends the process.
        self.room::<T>(field, count)?;
        Ok(Array::zeros(shape))
    }

    /// An empty vector with room for `count` elements, or an error where there is none.
    pub fn room<T>(self, field: &'static str, count: usize) -> Result<Vec<T>> {
        memory::room(count).map_err(|none| self.no_room(field, none))
    }

    /// What a computation gave, or an error where it found no room for the buffers that it works in.
    pub fn buffers<R>(self, result: Room<R>) -> Result<R> {
        result.map_err(|none| self.no_room(BUFFERS, none))
    }

    fn no_room(self, field: &'static str, NoRoom(elements): NoRoom) -> Error {
        let expected = format!("room for {elements} elements");
        self.error(ErrorKind::Memory, field, expected, "none")
    }

    /// The number of elements of an array, if even an array of `f64` of that shape can be addressed.
    pub fn element_count(self, field: &'static str, shape: &[usize]) -> Result<usize> {
        // Zero extents don't hide an overflow of the others: ndarray refuses those too.
        let mut extents = shape.iter().filter(|&&extent| extent != 0);
        let product = extents.try_fold(1usize, |product, &extent| product.checked_mul(extent));
        match product {
            Some(product) if product <= isize::MAX as usize / 8 => {
                Ok(if shape.contains(&0) { 0 } else { product })
            }
            _ => {
                let expected = "a number of elements that can be addressed";
                Err(self.error(ErrorKind::Overflow, field, expected, format!("{shape:?}")))
            }
        }
    }
}

/// Where results go: the caller's elements in logical order, or, if they don't lie so, a copy that
/// [`Target::store`] writes to them.
pub struct Target<'a, T, D> {
    place: ArrayViewMut<'a, T, D>,
    copy: Option<Vec<T>>,
}

impl<T: Element, D: Dimension> Target<'_, T, D> {
    /// The elements, of any value, to be written.
    pub fn elements(&mut self) -> &mut [T] {
        match &mut self.copy {
            Some(copy) => copy,
            None => self.place.as_slice_mut().unwrap_or_default(),
        }
    }

    /// Puts what was written in its place.
    pub fn store(mut self) {
        if let Some(copy) = self.copy {
            self.place.iter_mut().zip(copy).for_each(|(place, value)| *place = value);
        }
    }
}

/// A layer's own elements in logical order, which they are kept in.
pub fn contiguous<T: Clone, D: Dimension>(view: ArrayView<'_, T, D>) -> Cow<'_, [T]> {
    match view.to_slice() {
        Some(slice) => Cow::Borrowed(slice),
        None => Cow::Owned(view.iter().cloned().collect()),
    }
}

/// A layer's own elements in logical order, which they are kept in, to write to.
pub fn contiguous_mut<T, D: Dimension>(array: &mut Array<T, D>) -> &mut [T] {
    array.as_slice_mut().unwrap_or_default()
}
