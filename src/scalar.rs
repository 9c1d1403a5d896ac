//! The element types of the crate: `f32` and `f64`.

use crate::do_conv::Ops;
use crate::machine::element::Element;

/// An element type of layers: `f32` or `f64`. Sealed.
pub trait Scalar: Element + Ops {
    /// `u`, the largest relative error of one rounding: 2⁻²⁴ for `f32`, 2⁻⁵³ for `f64`.
    const UNIT_ROUNDOFF: f64;

    /// The value as an `f64`, exactly.
    fn widen(self) -> f64;

    /// The nearest value to an `f64`: one rounding.
    fn round_from(value: f64) -> Self;
}

impl Scalar for f32 {
    const UNIT_ROUNDOFF: f64 = f32::EPSILON as f64 / 2.0;

    fn widen(self) -> f64 {
        self.into()
    }

    fn round_from(value: f64) -> Self {
        value as f32
    }
}

impl Scalar for f64 {
    const UNIT_ROUNDOFF: f64 = f64::EPSILON / 2.0;

    fn widen(self) -> f64 {
        self
    }

    fn round_from(value: f64) -> Self {
        value
    }
}
