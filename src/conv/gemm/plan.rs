//! How the pixels of a block are cut into register tiles.

use std::ops::Range;

use crate::conv::strip::Strip;
use crate::conv::strip::reading::{Block, Reading};
use crate::machine::threads::cut;

/// Some pixels of one line of a block, no more than a register tile has rows.
pub struct Piece {
    /// The first pixel, counted from the start of the block's image.
    pub first: usize,
    pub pixels: usize,
    /// Pixels of the block that come before.
    pub before: usize,
    /// Its parts, of which the first has all pixels.
    pub parts: Range<usize>,
}

/// The pixels of a piece that some taps don't read zeros through.
pub struct Part {
    pub pixels: Range<usize>,
    /// Where the taps read.
    pub stretches: Range<usize>,
}

/// The pieces of a block, the same for like blocks.
#[derive(Default)]
pub struct Plan {
    pub pieces: Vec<Piece>,
    pub parts: Vec<Part>,
    /// Where a tap starts to read the strip, and the kernel's panel.
    pub stretches: Vec<[usize; 2]>,
}

/// What a correlation's blocks have in common.
pub struct Layout<'a> {
    pub reading: Reading<'a>,
    /// By kernel row, then by kernel column of the source's axes, where the tap starts in a panel of
    /// the kernel.
    pub taps: Vec<usize>,
    /// Most rows of a register tile.
    pub most_rows: usize,
    /// Steps of a stretch, at least.
    pub steps: usize,
}

/// Steps of a tile that take about as long as reading and writing its sums.
const STEPS_TO_STORE: usize = 4;

impl Plan {
    pub fn new<M: Copy, E: Copy>(layout: &Layout, block: &Block, strip: &Strip<M, E>) -> Self {
        let mut plan = Self::default();
        let Reading { cols, joined_lines, .. } = layout.reading;
        let (lines, line_len) = layout.reading.lines(block);
        let line = if joined_lines { 0..line_len } else { block.cols.clone() };
        let ends = layout.ends(line.clone());
        // All at once, since a table that grows is there twice.
        let starts = [line.start].into_iter().chain(ends.iter().copied());
        let of_line =
            starts.zip(&ends).map(|(start, end)| (end - start).div_ceil(layout.most_rows));
        let pieces = lines * of_line.sum::<usize>();
        plan.pieces.reserve_exact(pieces);
        plan.parts.reserve_exact(2 * pieces);
        plan.stretches.reserve_exact(pieces * layout.reading.taps());
        for index in 0..lines {
            let first = (block.lines.start + index) * cols.output;
            let mut start = line.start;
            for &end in &ends {
                for piece in cut(end - start, (end - start).div_ceil(layout.most_rows)) {
                    let piece = start + piece.start..start + piece.end;
                    let before = piece.start - line.start;
                    let first_part = plan.parts.len();
                    plan.add_parts(layout, strip, index, before, piece.clone());
                    plan.pieces.push(Piece {
                        first: first + piece.start,
                        pixels: piece.len(),
                        before: index * line_len + before,
                        parts: first_part..plan.parts.len(),
                    });
                }
                start = end;
            }
        }
        plan
    }

    /// Adds the parts of the piece `outputs` of a line, of which `before` pixels come first.
    fn add_parts<M: Copy, E: Copy>(
        &mut self,
        layout: &Layout,
        strip: &Strip<M, E>,
        line: usize,
        before: usize,
        outputs: Range<usize>,
    ) {
        let Reading { rows, cols, joined_lines, .. } = layout.reading;
        let (kernel_rows, kernel_cols) = (rows.offsets.len(), cols.offsets.len());
        let all = 0..outputs.len();
        let part_of = |col_tap: usize| {
            if joined_lines {
                // Only those taps are left out that no pixel of any image reads through, lest the sign
                // of a zero show who shares a piece.
                let any = !cols.nonzero(0..cols.output, col_tap).is_empty();
                return if any { all.clone() } else { 0..0 };
            }
            let part = cols.nonzero(outputs.clone(), col_tap);
            let saved = layout.steps * kernel_rows * (all.len() - part.len());
            match part.is_empty() || saved > STEPS_TO_STORE * all.len() {
                true => part.start - outputs.start..part.end - outputs.start,
                false => all.clone(),
            }
        };
        let part_of: Vec<_> = (0..kernel_cols).map(part_of).collect();
        let read_rows: Vec<_> =
            (0..kernel_rows).filter(|&tap| !rows.nonzero(0..rows.output, tap).is_empty()).collect();
        let mut parts = vec![&all];
        for part in &part_of {
            if !part.is_empty() && !parts.contains(&part) {
                parts.push(part);
            }
        }
        for part in parts {
            let first = self.stretches.len();
            for &row_tap in &read_rows {
                for col_tap in (0..kernel_cols).filter(|&tap| part_of[tap] == *part) {
                    if let Some(start) = strip.start(line, [row_tap, col_tap]) {
                        let tap = layout.taps[row_tap * kernel_cols + col_tap];
                        self.stretches.push([start + before + part.start, tap]);
                    }
                }
            }
            let stretches = first..self.stretches.len();
            self.parts.push(Part { pixels: part.clone(), stretches });
        }
    }
}

impl Layout<'_> {
    /// Where to cut a line: at its end, and where padding ends, if that leaves pieces long enough.
    fn ends(&self, line: Range<usize>) -> Vec<usize> {
        let Reading { cols, joined_lines, .. } = self.reading;
        let mut ends = Vec::new();
        if !joined_lines {
            let shortest = (2 * self.most_rows).div_ceil(5);
            let interior = (0..cols.offsets.len()).map(|tap| cols.nonzero(line.clone(), tap));
            let mut cuts: Vec<_> = interior.flat_map(|cols| [cols.start, cols.end]).collect();
            cuts.sort_unstable();
            let mut start = line.start;
            for cut in cuts {
                if cut >= start + shortest && cut + shortest <= line.end {
                    ends.push(cut);
                    start = cut;
                }
            }
        }
        ends.push(line.end);
        ends
    }
}
