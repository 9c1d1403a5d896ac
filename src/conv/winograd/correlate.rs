//! Correlations of images by a transformed kernel: the forward pass, and the gradient of the input.
//!
//! Two ways, by the size of the transformed kernel alone:
//!
//! * [`whole`](super::whole): where it is small it is made once, and kept by folded layers.
//! * [`piecewise`](super::piecewise): where it is large it never exists.

use super::images::Images;
use super::kernel::KernelForm;
use super::piecewise::Piecewise;
use super::points::Family;
use super::whole::Whole;
use crate::conv::correlation::Correlation;
use crate::conv::engine::Engine;
use crate::machine::element::Element;
use crate::machine::memory::{Need, Room, Scratch};
use crate::machine::shared::Shared;

/// A correlation by Winograd's algorithm, ready to be computed.
pub struct Job<'a, T: Element> {
    images: Images<'a, T>,
    way: Way<'a, T>,
    need: Need,
}

/// How the kernel is transformed.
enum Way<'a, T: Element> {
    Whole(Whole<'a, T>),
    Piecewise(Piecewise<'a, T>),
}

impl<'a, T: Element> Job<'a, T> {
    /// By a kernel in any form.
    pub fn new(
        engine: &Engine<'a, T>,
        family: &'a Family<T>,
        correlation: &'a Correlation,
        kernel: KernelForm<'a, T>,
        x: &'a [T],
        bias: Option<&'a [T]>,
    ) -> Room<Self> {
        let points = family.points().pow(2);
        let is_transformed = matches!(&kernel, KernelForm::Packed(kernel)
            if kernel.panel_len == points * kernel.tap_len);
        let blocking = &engine.blocking;
        let elements =
            if is_transformed { blocking.transformed } else { blocking.shared_transformed };
        let images = Images::new(engine, family, correlation, elements, x, bias);
        let (way, need) = match kernel {
            KernelForm::Packed(kernel) if is_transformed => {
                let (way, need) = Whole::new(&images, kernel);
                (Way::Whole(way), need)
            }
            kernel => {
                let (way, need) = Piecewise::new(engine, &images, kernel)?;
                (Way::Piecewise(way), need)
            }
        };
        Ok(Self { images, way, need })
    }

    /// What [`Job::run`] works in.
    pub fn need(&self) -> Need {
        self.need
    }

    /// Writes the correlation to `y`.
    pub fn run(&self, scratch: &Scratch<T>, y: &Shared<T>) {
        match &self.way {
            Way::Whole(way) => way.run(&self.images, scratch, y),
            Way::Piecewise(way) => way.run(&self.images, scratch, y),
        }
    }
}
