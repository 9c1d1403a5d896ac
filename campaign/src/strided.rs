//! Arrays of any strides: axes in any order, reversed, with gaps, or broadcast.

use do_conv::Scalar;
use ndarray::{
    ArrayD, ArrayView, ArrayViewD, ArrayViewMut, ArrayViewMutD, Axis, Dimension, IxDyn, Slice,
};

use crate::draw::Draw;

/// What stands in the gaps.
const GAP: f64 = 123_456_789.0;

/// An array within a larger one.
#[derive(Debug, Clone)]
pub struct Strided<T> {
    base: ArrayD<T>,
    /// The axis of `base` that each axis is.
    order: Vec<usize>,
    /// Where it lies along each axis.
    slices: Vec<Slice>,
    reversed: Vec<bool>,
    /// An axis of zero stride, and its length.
    broadcast: Option<(usize, usize)>,
}

impl<T: Scalar> Strided<T> {
    /// An array to write to, with strides drawn from `layout`; in standard layout if that is 0.
    pub fn new(layout: u64, name: &str, shape: &[usize]) -> Self {
        Self::build(layout, name, shape, None)
    }

    fn build(layout: u64, name: &str, shape: &[usize], broadcast: Option<usize>) -> Self {
        let mut draw = Draw::new(layout, name, 0);
        let rank = shape.len();
        let mut order: Vec<usize> = (0..rank).collect();
        let standard = layout == 0;
        if !standard && draw.once_in(2) {
            for last in (1..rank).rev() {
                order.swap(last, draw.below(last + 1));
            }
        }
        let gaps = !standard && draw.once_in(2);
        let mut base_shape = vec![0; rank];
        let mut slices = Vec::new();
        let mut reversed = Vec::new();
        let mut larger = 1;
        for (axis, &base_axis) in order.iter().enumerate() {
            let edge = usize::from(!standard && broadcast != Some(axis));
            let mut step = if gaps && edge == 1 { draw.pick(&[1, 1, 2, 3]) } else { 1 };
            // Gaps in every axis would be most of the time.
            if larger * step > 6 {
                step = 1;
            }
            larger *= step;
            base_shape[base_axis] = edge + shape[axis] * step;
            slices.push(Slice::new(edge as isize, None, step as isize));
            reversed.push(!standard && draw.once_in(3));
        }
        let base = ArrayD::from_elem(IxDyn(&base_shape), T::round_from(GAP));
        Self { base, order, slices, reversed, broadcast: None }
    }

    /// An array of these values, in row-major order.
    pub fn of(layout: u64, name: &str, shape: &[usize], values: &[f64]) -> Self {
        let mut array = Self::new(layout, name, shape);
        array.write(values);
        array
    }

    fn write(&mut self, values: &[f64]) {
        self.view_mut().iter_mut().zip(values).for_each(|(to, &from)| *to = T::round_from(from));
    }

    /// An array of these values, which are the same all along `axis`: it has no stride there.
    pub fn broadcast(
        layout: u64,
        name: &str,
        shape: &[usize],
        values: &[f64],
        axis: Option<usize>,
    ) -> Self {
        let Some(axis) = axis.filter(|&axis| shape[axis] > 0) else {
            return Self::of(layout, name, shape, values);
        };
        let inner: usize = shape[axis + 1..].iter().product();
        let firsts: Vec<f64> = (0..values.len())
            .filter(|index| (index / inner).is_multiple_of(shape[axis]))
            .map(|index| values[index])
            .collect();
        let mut short = shape.to_vec();
        short[axis] = 1;
        let mut array = Self::build(layout, name, &short, Some(axis));
        array.write(&firsts);
        array.broadcast = Some((axis, shape[axis]));
        array
    }

    /// The array.
    pub fn view(&self) -> ArrayViewD<'_, T> {
        let mut view = self.base.view();
        if let Some((axis, len)) = self.broadcast {
            let mut shape = self.base.shape().to_vec();
            shape[self.order[axis]] = len;
            view = self.base.broadcast(shape).expect("an axis of length 1");
        }
        for (axis, &base_axis) in self.order.iter().enumerate() {
            view.slice_axis_inplace(Axis(base_axis), self.slices[axis]);
            if self.reversed[axis] {
                view.invert_axis(Axis(base_axis));
            }
        }
        view.permuted_axes(IxDyn(&self.order))
    }

    /// The array to write to.
    pub fn view_mut(&mut self) -> ArrayViewMutD<'_, T> {
        let mut view = self.base.view_mut();
        for (axis, &base_axis) in self.order.iter().enumerate() {
            view.slice_axis_inplace(Axis(base_axis), self.slices[axis]);
            if self.reversed[axis] {
                view.invert_axis(Axis(base_axis));
            }
        }
        view.permuted_axes(IxDyn(&self.order))
    }

    /// Whether nothing wrote into the gaps. Forgets the array's own elements.
    pub fn gaps_are_untouched(&mut self) -> bool {
        let gap = T::round_from(GAP);
        self.view_mut().fill(gap);
        self.base.iter().all(|&value| value == gap)
    }
}

/// A view of a rank that is known.
pub fn rank<T, D: Dimension>(view: ArrayViewD<'_, T>) -> ArrayView<'_, T, D> {
    view.into_dimensionality().expect("the rank it was made with")
}

/// A view to write to, of a rank that is known.
pub fn rank_mut<T, D: Dimension>(view: ArrayViewMutD<'_, T>) -> ArrayViewMut<'_, T, D> {
    view.into_dimensionality().expect("the rank it was made with")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_gaps_are_kept_apart() {
        let values: Vec<f64> = (0..24).map(f64::from).collect();
        let mut standard = 0;
        for layout in 0..100 {
            let mut array = Strided::<f32>::of(layout, "x", &[2, 3, 4], &values);
            assert_eq!(array.view().shape(), [2, 3, 4]);
            assert!(array.view().iter().zip(&values).all(|(&got, &value)| f64::from(got) == value));
            standard += usize::from(array.view().is_standard_layout());
            assert!(array.gaps_are_untouched());
        }
        assert!(standard < 50);
        let mut array = Strided::<f32>::new(1, "x", &[2, 3]);
        array.base.fill(0.0);
        assert!(!array.gaps_are_untouched());
    }

    #[test]
    fn broadcast_axes_have_no_stride() {
        for layout in 0..50 {
            let array = Strided::<f64>::broadcast(
                layout,
                "x",
                &[2, 3, 2],
                &[1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0, 3.0, 4.0],
                Some(1),
            );
            assert_eq!(array.view().strides()[1], 0);
            assert_eq!(array.view()[[1, 2, 1]], 4.0);
            assert_eq!(array.view()[[0, 1, 0]], 1.0);
        }
    }
}
