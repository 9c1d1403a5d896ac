//! Convolution with few output channels a group, depthwise above all: there, lanes of channels would
//! stay empty, so a register holds pixels of a line.

pub mod correlate;
pub mod kernel_gradient;
mod outputs;
pub mod pixels;
mod recent;
mod rows;
mod sums;

use super::strip::reading::{Blocks, Reading};

/// Most output channels of a group.
const MOST: usize = 4;

/// Elements of a strip that take half of L1, or a part of L2 where one has many channels.
const STRIP: [usize; 2] = [1 << 12, 1 << 16];

/// Whether groups of `targets` output channels are computed by this path.
pub fn suits(targets: usize) -> bool {
    targets <= MOST
}

/// The blocks of one image whose strips of `channels` channels fit, of at most `pixels` pixels.
fn blocks(reading: &Reading, channels: usize, pixels: usize) -> Blocks {
    let most = if channels == 1 { STRIP[0] } else { STRIP[1] };
    reading.blocks(1, |lines, cols| {
        lines * cols <= pixels && reading.channel_len(lines, cols).saturating_mul(channels) <= most
    })
}
