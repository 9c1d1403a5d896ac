//! Feature composition: `y = W * (D∘x) + b`, a depthwise convolution by `D` followed by a 1×1
//! convolution by `W`.
//!
//! The features are `F[i·S + s, p] = Σ_m D[c, m, s] · x[c, p + m]`. There is no backward pass here: the
//! gradients of both compositions are the same, and by the composed kernel they take fewer
//! multiply-accumulates wherever there are more pixels than taps.

mod blocked;
mod depthwise;
mod direct;
#[cfg(test)]
mod tests;

use crate::compose::Factors;
use crate::config::geometry::Geometry;
use crate::conv::direct::pixels::MOST;
use crate::conv::engine::Engine;
use crate::machine::element::Element;
use crate::machine::memory::Room;

/// Writes `y`, `[B, O, OH, OW]`, if there is room for what that needs. The composer of `factors` must
/// pair by input channel.
pub(crate) fn forward<T: Element>(
    engine: &Engine<T>,
    geometry: &Geometry,
    factors: Factors<T>,
    x: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) -> Room<()> {
    if y.is_empty() {
        return Ok(());
    }
    let compute = match geometry.spec.group_outputs() <= MOST {
        true => direct::forward,
        false => blocked::forward,
    };
    compute(engine, geometry, factors, x, bias, y)
}
