//! Arrays within larger ones, and comparisons of arrays.

use do_conv::Scalar;
use ndarray::{
    Array, ArrayBase, ArrayD, ArrayRef, ArrayView, ArrayViewMut, ArrayViewMutD, Axis, Dimension,
    IntoDimension, IxDyn, RawData, Slice,
};

/// An array of any strides, which has nines around it.
pub struct Lent<T> {
    whole: ArrayD<T>,
    /// Whether the last axis is the outermost; and by axis whether it is reversed, and has gaps.
    transposed: bool,
    axes: Vec<[bool; 2]>,
}

impl<T: Scalar> Lent<T> {
    /// An array of that shape, of sevens, that lies as the bits of `layout` say; 0 is the usual order.
    pub fn new(layout: u64, shape: &[usize]) -> Self {
        let bit = |index: usize| layout >> index & 1 == 1;
        // Gaps in every axis would be most of the time.
        let gaps = (layout >> 5 & 7).checked_sub(1);
        let axes: Vec<_> =
            (0..shape.len()).map(|axis| [bit(axis + 1), gaps == Some(axis as u64)]).collect();
        let mut extents: Vec<_> = shape
            .iter()
            .zip(&axes)
            .map(|(len, [_, gaps])| len * (1 + usize::from(*gaps)))
            .collect();
        if bit(0) {
            extents.reverse();
        }
        let whole = ArrayD::from_elem(IxDyn(&extents), T::round_from(9.0));
        let mut lent = Self { whole, transposed: bit(0), axes };
        lent.any().fill(T::round_from(7.0));
        lent
    }

    /// An array of these values.
    pub fn of<D: Dimension>(layout: u64, values: &ArrayRef<T, D>) -> Self {
        let mut lent = Self::new(layout, values.shape());
        lent.any().assign(&values.view().into_dyn());
        lent
    }

    fn any(&mut self) -> ArrayViewMutD<'_, T> {
        place(self.whole.view_mut(), self.transposed, &self.axes)
    }

    /// The array, to read.
    pub fn view<D: Dimension>(&self) -> ArrayView<'_, T, D> {
        let view = place(self.whole.view(), self.transposed, &self.axes);
        view.into_dimensionality().expect("the rank that it was made with")
    }

    /// The array, to write to.
    pub fn view_mut<D: Dimension>(&mut self) -> ArrayViewMut<'_, T, D> {
        self.any().into_dimensionality().expect("the rank that it was made with")
    }

    /// Whether it is still of sevens.
    pub fn is_untouched(&self) -> bool {
        untouched(&self.view::<IxDyn>())
    }

    /// Refuses anything written around the array.
    pub fn expect_nines(mut self) {
        let nine = T::round_from(9.0);
        self.any().fill(nine);
        assert!(self.whole.iter().all(|&value| value == nine), "written around an array");
    }
}

/// The array within the whole.
fn place<S: RawData>(
    whole: ArrayBase<S, IxDyn>,
    transposed: bool,
    axes: &[[bool; 2]],
) -> ArrayBase<S, IxDyn> {
    let mut view = if transposed { whole.reversed_axes() } else { whole };
    for (axis, &[reversed, gaps]) in axes.iter().enumerate() {
        let step = if gaps { 2 } else { 1 };
        let slice = Slice::new(0, None, if reversed { -step } else { step });
        view.slice_axis_inplace(Axis(axis), slice);
    }
    view
}

/// An array of sevens.
pub fn sevens<T: Scalar, D: Dimension>(shape: impl IntoDimension<Dim = D>) -> Array<T, D> {
    Array::from_elem(shape.into_dimension(), T::round_from(7.0))
}

/// Whether an array is still of sevens.
pub fn untouched<T: Scalar, D: Dimension>(array: &ArrayRef<T, D>) -> bool {
    array.iter().all(|&value| value == T::round_from(7.0))
}

/// Refuses arrays of other bits; any not-a-number is like any other.
pub fn expect_bits<T: Scalar, D: Dimension>(
    what: &str,
    got: &ArrayRef<T, D>,
    want: &ArrayRef<T, D>,
) {
    assert_eq!(got.shape(), want.shape(), "{what}: shapes");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let same = got.widen().to_bits() == want.widen().to_bits();
        assert!(same || got.is_nan() && want.is_nan(), "{what}: {got} for {want} at {index}");
    }
}

/// Refuses values that aren't these; a zero may have any sign.
pub fn expect_values<T: Scalar, D: Dimension>(
    what: &str,
    got: &ArrayRef<T, D>,
    want: &ArrayRef<f64, D>,
) {
    assert_eq!(got.shape(), want.shape(), "{what}: shapes");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(got.widen() == *want, "{what}: {got} for {want} at {index}");
    }
}
