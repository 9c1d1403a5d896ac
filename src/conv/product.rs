//! A correlation by a kernel, by the path that suits its channels.

use super::correlation::Correlation;
use super::engine::Engine;
use super::gemm::correlate::Images;
use super::weights::Weights;
use super::winograd::points::Family;
use super::{border, direct, gemm, winograd};
use crate::machine::element::Element;
use crate::machine::memory::{Need, Room, Scratch};
use crate::machine::shared::Shared;

/// A correlation, ready to be computed.
pub struct Product<'a, T: Element> {
    path: Path<'a, T>,
    /// What is computed again since weights aren't finite.
    border: Option<border::Job<'a, T>>,
}

/// The path that suits a correlation's channels.
enum Path<'a, T: Element> {
    Direct(direct::correlate::Job<'a, T>),
    Planes(gemm::planes::Job<'a, T>),
    Blocked(gemm::correlate::Job<'a, T, Images<'a, T>>),
    Winograd(winograd::correlate::Job<'a, T>),
}

impl<'a, T: Element> Product<'a, T> {
    /// `y = weights * x + bias`, by Winograd's algorithm if `family` says so.
    pub fn new(
        engine: &Engine<'a, T>,
        family: Option<&'a Family<T>>,
        correlation: &'a Correlation,
        weights: &'a Weights<'a, T>,
        x: &'a [T],
        bias: Option<&'a [T]>,
    ) -> Room<Self> {
        let blocked = |panels| {
            let Correlation { rows, cols, taps, group_channels, .. } = correlation;
            let depths = engine.blocking.depths(group_channels[0], taps.len());
            let channels = correlation.groups * group_channels[0];
            let x = Images { x, channels, plane: rows.input * cols.input };
            if gemm::planes::suits(engine, correlation) {
                let job = gemm::planes::Job::new(engine, correlation, depths, panels, x, bias);
                return Path::Planes(job);
            }
            Path::Blocked(gemm::correlate::Job::new(engine, correlation, depths, panels, x, bias))
        };
        if let (Some(family), Some(kernel)) = (family, weights.form()) {
            let job = winograd::correlate::Job::new(engine, family, correlation, kernel, x, bias)?;
            // What isn't finite spreads over the tiles that read it.
            return Ok(Self { path: Path::Winograd(job), border: None });
        }
        let path = match (weights, weights.panels()) {
            (Weights::Direct(view, _), _) => {
                Path::Direct(direct::correlate::Job::new(engine, correlation, view, x, bias)?)
            }
            (_, Some(panels)) => blocked(panels),
            (_, None) => unreachable!("weights are packed unless they are direct"),
        };
        let panels = weights.panels();
        let border =
            panels.and_then(|panels| border::Job::new(engine, correlation, panels, x, bias));
        Ok(Self { path, border })
    }

    /// What [`Product::run`] works in.
    pub fn need(&self) -> Need {
        match &self.path {
            Path::Direct(job) => job.need(),
            Path::Planes(job) => job.need(),
            Path::Blocked(job) => job.need(),
            Path::Winograd(job) => job.need(),
        }
    }

    /// Writes the product to `y`.
    pub fn run(&self, scratch: &Scratch<T>, y: &Shared<T>) {
        match &self.path {
            Path::Direct(job) => job.run(scratch, y),
            Path::Planes(job) => job.run(scratch, y),
            Path::Blocked(job) => job.run(scratch, y),
            Path::Winograd(job) => job.run(scratch, y),
        }
        if let Some(border) = &self.border {
            border.run(y);
        }
    }
}
