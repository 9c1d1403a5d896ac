//! What the tiles of a kernel's gradient read where it lies, and what they bring near meanwhile.

use std::ops::Range;

use super::kernel_gradient::{Job, Task};
use crate::conv::strip::reading::{Block, regions};
use crate::machine::element::Element;
use crate::machine::simd::tile::Ahead;
use crate::machine::threads::cut;

/// Most pixels of a stretch, where lines follow each other: a tile brings as many channels near.
const STRETCH: usize = 32;

/// Channels of images, and the pixels of each that a block reads.
struct Source<'a, T> {
    images: &'a [T],
    /// Where the first of the channels starts.
    first: usize,
    channels: usize,
    plane: usize,
    region: Range<usize>,
}

impl<T: Element> Source<'_, T> {
    /// Some lines of some channels at a time.
    fn ahead(self, [stretches, steps]: [usize; 2]) -> impl Iterator<Item = Ahead<T>> + use<T> {
        let Self { images, first, channels, plane, region } = self;
        let first = images.as_ptr().wrapping_add(first + region.start);
        // A region may start and end in the middle of a line.
        let lines = region.len() / Ahead::<T>::LINE + 2;
        // A step brings a channel near; what is past the last would be in vain.
        let parts = if 2 * channels < steps { 0 } else { channels.div_ceil(steps) };
        cut(channels, parts).flat_map(move |part| {
            let channel = part.start.min(channels.saturating_sub(steps));
            (0..lines).step_by(stretches.max(1)).map(move |line| Ahead {
                first: first.wrapping_add(channel * plane + line * Ahead::<T>::LINE),
                step: plane,
                stretches,
                stretch_step: Ahead::<T>::LINE,
            })
        })
    }
}

impl<T: Element> Job<'_, T> {
    /// Writes the stretches of a block whose pixels are read where they lie, and says how many there are
    /// and how long each is.
    pub fn in_place_stretches(
        &self,
        block: &Block,
        lanes: usize,
        stretches: &mut Vec<[usize; 2]>,
    ) -> [usize; 2] {
        let (rows, cols) = (self.reading.rows.output, self.reading.cols.output);
        let image_len = self.reading.channels * rows * cols;
        let block_lines = block.lines.len();
        // Whole lines of an image follow each other; a block may also have parts of two.
        let lines = match (block.cols.len() == cols, block.lines.end <= rows) {
            (true, true) => block_lines,
            (true, false) if block.lines.start == 0 && block_lines.is_multiple_of(rows) => rows,
            _ => 1,
        };
        let (runs, len) = (block_lines / lines, lines * block.cols.len());
        let parts = len.div_ceil(STRETCH);
        let parts = (parts..=2 * parts).find(|&parts| len.is_multiple_of(parts)).unwrap_or(1);
        stretches.clear();
        for run in 0..runs {
            let line = block.lines.start + run * lines;
            let start = line / rows * image_len + line % rows * cols + block.cols.start;
            stretches.extend((0..parts).map(|part| {
                let at = part * (len / parts);
                [start + at, (run * len + at) * lanes]
            }));
        }
        [stretches.len(), len / parts]
    }

    /// What each tile brings near, in so many stretches of so many steps, of what a task reads of a block.
    pub fn ahead(
        &self,
        task: &Task,
        block: &Block,
        lanes: usize,
        stretch: [usize; 2],
    ) -> impl Iterator<Item = Ahead<T>> + use<T> {
        let (geometry, spec) = (self.geometry, &self.geometry.spec);
        let (inputs, outputs) = (spec.group_inputs(), spec.group_outputs());
        let (x_plane, dy_plane) = (geometry.input_pixels(), geometry.output_pixels());
        let input = block.image * spec.in_channels + task.group * inputs + task.inputs.start;
        let first = task.panels.start * lanes;
        let output = block.image * spec.out_channels + task.group * outputs + first;
        let cols = geometry.cols.output;
        let dy = Source {
            images: self.dy,
            first: output * dy_plane,
            channels: outputs.min(task.panels.end * lanes) - first,
            plane: dy_plane,
            region: block.lines.start * cols..block.lines.end * cols,
        };
        let x = regions(&self.reading, block).into_iter().map(|region| Source {
            images: self.x,
            first: input * x_plane,
            channels: task.inputs.len(),
            plane: x_plane,
            region,
        });
        let sources: Vec<_> = x.chain([dy]).map(|source| source.ahead(stretch)).collect();
        sources.into_iter().flatten()
    }
}
