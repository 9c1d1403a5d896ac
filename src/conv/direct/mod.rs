//! Convolution with few output channels a group, depthwise above all: there, lanes of channels would
//! stay empty, so a register holds pixels of a line.

pub mod correlate;
pub mod kernel_gradient;
mod outputs;
pub mod pixels;
mod recent;
mod rows;
mod sums;

use super::strip::reading::{Block, Blocks, Reading};

/// Most output channels of a group.
const MOST: usize = 4;

/// Elements of a strip that take half of L1, or a part of L2 where one has many channels.
const STRIP: [usize; 2] = [1 << 12, 1 << 16];

/// Whether groups of `targets` output channels are computed by this path.
pub fn suits(targets: usize) -> bool {
    targets <= MOST
}

/// How far the next block's lines are from those of `block`: `next` elements, if that is an image's only one,
/// else as many lines of `line` elements as it has. None if its lines aren't whole, `cols` wide.
fn further(blocks: &Blocks, block: &Block, cols: usize, [next, line]: [usize; 2]) -> Option<usize> {
    let distance = if blocks.len() == 1 { next } else { block.lines.len() * line };
    (block.cols.len() == cols).then_some(distance)
}

/// The blocks of one image whose strips of `channels` channels fit, of at most `pixels` pixels.
fn blocks(reading: &Reading, channels: usize, pixels: usize) -> Blocks {
    let most = if channels == 1 { STRIP[0] } else { STRIP[1] };
    reading.blocks(1, |lines, cols| {
        lines * cols <= pixels && reading.channel_len(lines, cols).saturating_mul(channels) <= most
    })
}
