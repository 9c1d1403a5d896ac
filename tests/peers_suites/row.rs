//! What a row of the tables says.

use do_conv::{Composition, DoConv2dConfig, Padding, PaddingMode};

use crate::common::Problem;

/// One situation of a peer's test.
pub struct Row {
    /// Project, file and test.
    pub source: String,
    pub problem: Problem,
    /// Whether the layer is asked for [`Padding::Same`]; the problem has the sides that the peer pads.
    pub same: bool,
}

/// An image `[B, I, H, W]` convolved by a kernel `[O, I/g, M, N]`, with a bias.
pub fn row(test: impl Into<String>, x: [usize; 4], kernel: [usize; 4]) -> Row {
    let [batch, in_channels, height, width] = x;
    let [out_channels, group_inputs, rows, cols] = kernel;
    let problem = Problem {
        batch,
        in_channels,
        out_channels,
        groups: in_channels / group_inputs,
        image: [height, width],
        kernel_size: [rows, cols],
        d_mul: rows * cols,
        ..Problem::DENSE
    };
    Row { source: test.into(), problem, same: false }
}

/// A line `[B, I, W]` convolved by a kernel `[O, I/g, N]`, as an image of one row.
pub fn line(test: impl Into<String>, x: [usize; 3], kernel: [usize; 3]) -> Row {
    row(test, [x[0], x[1], 1, x[2]], [kernel[0], kernel[1], 1, kernel[2]])
}

/// What keeps the size of an axis, of which the far side gets the larger half.
pub fn halves(kernel: usize, dilation: usize) -> [usize; 2] {
    let both = dilation * (kernel - 1);
    [both / 2, both.div_ceil(2)]
}

/// Names the file of rows that have the test alone.
pub fn of_file(file: &str, mut rows: Vec<Row>) -> Vec<Row> {
    rows.iter_mut().for_each(|row| row.source = format!("{file}, {}", row.source));
    rows
}

impl Row {
    pub fn stride(mut self, rows: usize, cols: usize) -> Self {
        self.problem.stride = [rows, cols];
        self
    }

    pub fn dilation(mut self, rows: usize, cols: usize) -> Self {
        self.problem.dilation = [rows, cols];
        self
    }

    /// Padding above and below, left and right.
    pub fn pad(self, rows: usize, cols: usize) -> Self {
        self.sides([rows; 2], [cols; 2])
    }

    pub fn sides(mut self, rows: [usize; 2], cols: [usize; 2]) -> Self {
        self.problem.padding = [rows, cols];
        self
    }

    /// [`Padding::Same`], which the peer takes for these sides.
    pub fn same(mut self, rows: [usize; 2], cols: [usize; 2]) -> Self {
        self.same = true;
        self.sides(rows, cols)
    }

    pub fn mode(mut self, mode: PaddingMode) -> Self {
        self.problem.mode = mode;
        self
    }

    pub fn no_bias(mut self) -> Self {
        self.problem.bias = false;
        self
    }

    pub fn config(&self, composition: Composition) -> DoConv2dConfig {
        let config = self.problem.config(composition);
        if self.same { config.padding(Padding::Same) } else { config }
    }
}
