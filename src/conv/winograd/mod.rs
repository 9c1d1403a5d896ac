//! Winograd's minimal filtering algorithms for 3×3 kernels of stride 1.

pub mod correlate;
mod images;
pub mod kernel;
pub mod kernel_gradient;
mod lines;
mod piecewise;
pub mod points;
mod product;
mod source;
#[cfg(test)]
mod tests;
mod tiles;
mod whole;

use crate::conv::gemm::panels::Panels;
use crate::machine::element::Element;
use kernel::TransformedPanels;
use points::Family;

/// The panels of a kernel, transformed; `turned` by half a turn for the gradient of the input.
pub fn transformed<'a, T: Element, K: Panels<T>>(
    family: &'a Family<T>,
    kernel: &'a K,
    turned: bool,
) -> impl Panels<T> + 'a {
    TransformedPanels { family, kernel, turned }
}
