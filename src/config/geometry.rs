//! From what was asked for to concrete sizes: [`Spec`] is a checked configuration, [`Geometry`] a
//! spec resolved against an input size. All size and padding arithmetic is here.

use super::algorithm::Algorithm;
use super::padding::PaddingMode;
use crate::error::{ErrorKind, Operation, Result};

/// A checked configuration: every field is positive where it must be, groups divide channels and
/// the padding is known for each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    pub in_channels: usize,
    pub out_channels: usize,
    pub groups: usize,
    pub kernel_size: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    pub padding: [[usize; 2]; 2],
    pub mode: PaddingMode,
    pub algorithm: Algorithm,
}

impl Spec {
    /// `n = I/g`, input channels of one group.
    pub fn group_inputs(&self) -> usize {
        self.in_channels / self.groups
    }

    /// `r = O/g`, output channels of one group.
    pub fn group_outputs(&self) -> usize {
        self.out_channels / self.groups
    }

    /// `MN`, taps of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel_size[0] * self.kernel_size[1]
    }

    /// `[O, n, M, N]`.
    pub fn weight_shape(&self) -> [usize; 4] {
        let [m, n] = self.kernel_size;
        [self.out_channels, self.group_inputs(), m, n]
    }
}

/// One axis of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    pub input: usize,
    pub output: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    /// Padding on the near and on the far side.
    pub padding: [usize; 2],
}

impl Axis {
    /// The position in the input, negative or past its end in the padding, that output position 0
    /// reads through `tap`.
    pub fn tap_offset(&self, tap: usize) -> isize {
        (tap * self.dilation) as isize - self.padding[0] as isize
    }

    /// Extent of the padded input.
    pub fn padded(&self) -> usize {
        self.padding[0] + self.input + self.padding[1]
    }
}

/// Channels of a group, in and out, from which on fewer multiplications save more than transforms take.
const FEWEST_CHANNELS: usize = 16;
/// Input channels of a group up to which the transformed tiles of a few outputs find room.
const MOST_CHANNELS: usize = 2048;
/// Phases of a dilation, by rows times by columns, up to which a tile of each finds room.
const MOST_PHASES: usize = 36;

/// A spec resolved against an input size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    pub batch: usize,
    pub spec: Spec,
    pub rows: Axis,
    pub cols: Axis,
}

impl Geometry {
    /// Resolves `spec` for an input `[batch, channels, height, width]`.
    pub fn new(operation: Operation, spec: &Spec, input: [usize; 4]) -> Result<Self> {
        let [batch, _, height, width] = input;
        operation.expect_shape("x", &[batch, spec.in_channels, height, width], &input)?;
        let geometry = Self {
            batch,
            spec: *spec,
            rows: axis(operation, spec, 0, height)?,
            cols: axis(operation, spec, 1, width)?,
        };
        for (field, shape) in [("x", input), ("y", geometry.output_shape())] {
            operation.element_count(field, &shape)?;
        }
        Ok(geometry)
    }

    /// `[B, I, H, W]`.
    pub fn input_shape(&self) -> [usize; 4] {
        let channels = self.spec.in_channels;
        [self.batch, channels, self.rows.input, self.cols.input]
    }

    /// `[B, O, OH, OW]`.
    pub fn output_shape(&self) -> [usize; 4] {
        let channels = self.spec.out_channels;
        [self.batch, channels, self.rows.output, self.cols.output]
    }

    /// The algorithm that computes it, forward and backward: the one that was chosen, where that applies.
    pub fn algorithm(&self) -> Algorithm {
        let Self { spec, rows, cols, .. } = self;
        let channels = [spec.group_inputs(), spec.group_outputs()];
        let [d_rows, d_cols] = spec.dilation;
        let applies = spec.kernel_size == [3, 3]
            && spec.stride == [1, 1]
            && channels.into_iter().all(|count| (FEWEST_CHANNELS..=MOST_CHANNELS).contains(&count))
            && d_rows.saturating_mul(d_cols) <= MOST_PHASES
            // More than one output in a phase.
            && [(rows, d_rows), (cols, d_cols)]
                .into_iter()
                .all(|(axis, dilation)| axis.input.min(axis.output) > dilation);
        if applies { spec.algorithm } else { Algorithm::Direct }
    }

    /// `OH · OW`.
    pub fn output_pixels(&self) -> usize {
        self.rows.output * self.cols.output
    }

    /// `H · W`.
    pub fn input_pixels(&self) -> usize {
        self.rows.input * self.cols.input
    }

    /// Multiply-accumulates of the plain convolution; saturates.
    pub fn maccs(&self) -> usize {
        self.batch
            .saturating_mul(self.spec.out_channels)
            .saturating_mul(self.output_pixels())
            .saturating_mul(self.spec.group_inputs())
            .saturating_mul(self.spec.taps())
    }
}

/// Resolves axis `index` (0 rows, 1 columns) for `input` pixels.
fn axis(operation: Operation, spec: &Spec, index: usize, input: usize) -> Result<Axis> {
    let name = ["height", "width"][index];
    let (kernel, stride, dilation) =
        (spec.kernel_size[index], spec.stride[index], spec.dilation[index]);
    let padding @ [near, far] = spec.padding[index];
    let size_error = |expected: String| {
        let field = ["x height", "x width"][index];
        Err(operation.error(ErrorKind::InputSize, field, expected, input))
    };
    let largest = near.max(far);
    match spec.mode {
        PaddingMode::Reflect if largest > 0 && largest >= input => {
            return size_error(format!("more than its reflect padding {largest}"));
        }
        PaddingMode::Circular if largest > input => {
            return size_error(format!("at least its circular padding {largest}"));
        }
        PaddingMode::Replicate if largest > 0 && input == 0 => {
            return size_error("at least 1 for replicate padding".into());
        }
        _ => {}
    }
    // Twice the padded extent must be a signed number, so that no position can overflow.
    let padded = near
        .checked_add(input)
        .and_then(|sum| sum.checked_add(far))
        .filter(|&padded| padded <= isize::MAX as usize / 2)
        .ok_or_else(|| {
            let expected = "a padded extent that fits half the address space";
            operation.error(
                ErrorKind::Overflow,
                "padding",
                expected,
                format!("{near} + {input} + {far}"),
            )
        })?;
    let extent = dilation * (kernel - 1) + 1;
    if extent > padded {
        return size_error(format!(
            "at least {}: the kernel spans {extent} of a {name} padded by {near} + {far}",
            extent - near - far
        ));
    }
    Ok(Axis {
        input,
        output: (padded - extent) / stride + 1,
        kernel,
        // A larger stride leads past the end as well, and this one can't overflow.
        stride: stride.min(padded.max(1)),
        dilation,
        padding,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(kernel: usize, stride: usize, dilation: usize, padding: [usize; 2]) -> Spec {
        Spec {
            in_channels: 6,
            out_channels: 4,
            groups: 2,
            kernel_size: [kernel, 1],
            stride: [stride, 1],
            dilation: [dilation, 1],
            padding: [padding, [0, 0]],
            mode: PaddingMode::Zeros,
            algorithm: Algorithm::Direct,
        }
    }

    #[test]
    fn an_output_is_where_the_whole_kernel_is_inside_the_padded_input() {
        for kernel in 1..5 {
            for (stride, dilation) in [(1, 1), (2, 1), (1, 3), (3, 2), (7, 1)] {
                for padding in [[0, 0], [1, 2], [4, 0]] {
                    for input in 0..12 {
                        let spec = spec(kernel, stride, dilation, padding);
                        let padded = padding[0] + input + padding[1];
                        let fits = |first: &usize| first + dilation * (kernel - 1) < padded;
                        let outputs = (0..padded).step_by(stride).filter(fits).count();
                        match Geometry::new(Operation("test"), &spec, [2, 6, input, 5]) {
                            Ok(geometry) => {
                                assert_eq!(geometry.output_shape(), [2, 4, outputs, 5]);
                                assert_eq!(geometry.input_shape(), [2, 6, input, 5]);
                                assert_eq!(geometry.rows.padded(), padded);
                                let maccs = 2 * 4 * outputs * 5 * 3 * kernel;
                                assert_eq!(geometry.maccs(), maccs);
                            }
                            Err(error) => {
                                assert_eq!((error.kind, outputs), (ErrorKind::InputSize, 0));
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_tap_reads_at_its_offset_from_the_padding_on() {
        let geometry = Geometry::new(Operation("test"), &spec(3, 2, 4, [5, 1]), [1, 6, 9, 1]);
        let rows = geometry.unwrap().rows;
        assert_eq!([0, 1, 2].map(|tap| rows.tap_offset(tap)), [-5, -1, 3]);
    }
}
