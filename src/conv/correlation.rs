//! What both paths compute: a grouped cross-correlation of images.

use super::strip::axis::TapAxis;

/// A grouped cross-correlation. It is a convolution's forward pass, or one phase of its input's
/// gradient.
pub struct Correlation {
    pub batch: usize,
    pub groups: usize,
    /// Channels of one group of the source and of the target.
    pub group_channels: [usize; 2],
    /// How the source is read.
    pub rows: TapAxis,
    pub cols: TapAxis,
    /// By row, then by column of the axes, the tap of the kernel.
    pub taps: Vec<usize>,
    pub target: Target,
}

impl Correlation {
    /// The same, with each image as one long row if every pixel of the target is made of the one pixel
    /// of the source in its place.
    pub fn flattened(self) -> Self {
        let Self { rows, cols, target, .. } = &self;
        let in_place =
            |axis: &TapAxis| axis.step == 1 && axis.offsets == [0] && axis.input == axis.output;
        let same = in_place(rows)
            && in_place(cols)
            && target.plane == [rows.output, cols.output]
            && target.step == [1, 1];
        let pixels = rows.output * cols.output;
        let axis = |pixels| TapAxis { input: pixels, output: pixels, ..rows.clone() };
        if !same {
            return self;
        }
        let target = Target { plane: [1, pixels], origin: [0, 0], step: [1, 1] };
        Self { rows: axis(1), cols: axis(pixels), target, ..self }
    }

    /// Multiply-accumulates, those with padding included; saturates.
    pub fn maccs(&self) -> usize {
        let Self { batch, groups, group_channels: [sources, targets], rows, cols, taps, .. } = self;
        [groups, sources, targets, &rows.output, &cols.output, &taps.len()]
            .into_iter()
            .fold(*batch, |product, &factor| product.saturating_mul(factor))
    }
}

/// Where output pixel `(row, col)` is written in each plane of the target:
/// at `origin + step · (row, col)`.
pub struct Target {
    pub plane: [usize; 2],
    pub origin: [usize; 2],
    pub step: [usize; 2],
}
