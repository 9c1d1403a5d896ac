//! The pixels of a block, a register at a time.

use super::Strip;

/// Cuts lines of a block into vectors of pixels, two at a time where two read zeros through the same rows
/// of the kernel: of two lines, or of one. Each starts at a line and a column; past the last column of a
/// line, a vector has lanes that are no pixels.
pub struct Vectors<'a, M, E> {
    strip: &'a Strip<M, E>,
    lines: usize,
    cols: usize,
    lanes: usize,
    /// The next line and column.
    line: usize,
    col: usize,
    /// Whether the next line goes with the one after it.
    two_lines: bool,
}

/// Where one or two vectors start.
pub enum Places {
    One([[usize; 2]; 1]),
    Two([[usize; 2]; 2]),
}

impl<'a, M: Copy, E: Copy> Vectors<'a, M, E> {
    /// Of `lines` lines of `cols` columns, in vectors of `lanes` pixels.
    pub fn new(strip: &'a Strip<M, E>, [lines, cols]: [usize; 2], lanes: usize) -> Self {
        let mut vectors = Self { strip, lines, cols, lanes, line: 0, col: 0, two_lines: false };
        vectors.two_lines = vectors.are_alike();
        vectors
    }

    /// Whether there are two lines that read zeros through the same rows of the kernel.
    fn are_alike(&self) -> bool {
        let &Self { strip, lines, line, .. } = self;
        let reads = |line: usize, row_tap: usize| strip.row(line, row_tap).is_some();
        line + 1 < lines
            && (0..strip.kernel[0]).all(|row_tap| reads(line, row_tap) == reads(line + 1, row_tap))
    }
}

impl<M: Copy, E: Copy> Iterator for Vectors<'_, M, E> {
    type Item = Places;

    #[inline(always)]
    fn next(&mut self) -> Option<Places> {
        let Self { lines, cols, lanes, line, col, two_lines, .. } = *self;
        if line >= lines || cols == 0 {
            return None;
        }
        let after = col + lanes;
        let (places, next) = match two_lines {
            true => (Places::Two([[line, col], [line + 1, col]]), after),
            false if after < cols => (Places::Two([[line, col], [line, after]]), after + lanes),
            false => (Places::One([[line, col]]), after),
        };
        self.col = next;
        if next >= cols {
            self.line += if two_lines { 2 } else { 1 };
            self.col = 0;
            self.two_lines = self.are_alike();
        }
        Some(places)
    }
}
