//! Axes in another order than they are stored in.

use std::io;

use ndarray::ArrayView;

use super::room::room;

/// The extents of stored axes of which `axes`, in that order, have the extents `shape`.
pub fn stored_shape(shape: [usize; 3], axes: [usize; 3]) -> [usize; 3] {
    let mut stored = [0; 3];
    axes.into_iter().zip(shape).for_each(|(axis, extent)| stored[axis] = extent);
    stored
}

/// Puts the elements, in row-major order, of an array of that shape with its axes in another order into
/// `target`, after what is there.
pub fn permute_into<T: Copy>(elements: &[T], shape: &[usize], axes: &[usize], target: &mut Vec<T>) {
    // One without elements may have a shape too large for an array.
    if let Ok(array) = ArrayView::from_shape(shape, elements) {
        target.extend(array.permuted_axes(axes).iter());
    }
}

/// The same of elements of 1, 2, 4 or 8 bytes, as a new array.
pub fn permuted_bytes(
    bytes: &[u8],
    shape: &[usize],
    axes: &[usize],
    size: usize,
) -> io::Result<Vec<u8>> {
    fn elements<const N: usize>(
        bytes: &[u8],
        shape: &[usize],
        axes: &[usize],
    ) -> io::Result<Vec<u8>> {
        let elements = bytes.as_chunks::<N>().0;
        let mut permuted = room(elements.len())?;
        permute_into(elements, shape, axes, &mut permuted);
        Ok(permuted.into_flattened())
    }
    match size {
        1 => elements::<1>(bytes, shape, axes),
        2 => elements::<2>(bytes, shape, axes),
        4 => elements::<4>(bytes, shape, axes),
        _ => elements::<8>(bytes, shape, axes),
    }
}
