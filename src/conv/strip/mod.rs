//! The source pixels that a block of output pixels reads, copied close together.
//!
//! A strip has each image row that the block reads once, its padding included, so that the pixels which
//! a line of outputs reads through any tap lie side by side: this is the im2col, without its
//! repetitions. Where a step of two or more would leave gaps between these pixels, a row is copied as
//! one segment for each remainder of the position by the step.

pub mod axis;
pub mod line;
pub mod reading;
pub mod vectors;

use std::ops::Range;

use line::{Line, kind};
use reading::{Block, Reading, RowLayout, apart, strip_elements};

use crate::machine::element::Element;
use crate::machine::memory::reserve;
use crate::machine::simd::{MOST_LANES, Simd};

/// How the strip of one block is copied and read, the same for every channel and for like blocks. What is
/// said of the first channel is of the first in the block's image.
pub struct Strip<M, E> {
    /// From one channel to the next.
    pub channel_len: usize,
    /// Rows and columns of the kernel.
    kernel: [usize; 2],
    /// Where in the source's first channel each row starts; none for zeros.
    row_starts: Vec<Option<usize>>,
    row_len: usize,
    segments: Vec<Segment<M, E>>,
    /// By kernel column, where in a row the pixel is that the block's first column reads.
    tap_starts: Vec<usize>,
    /// By line and kernel row, the row that is read; none for zeros. If lines are read together, they
    /// are one line, and a row has what that reads through one kernel row.
    line_rows: Vec<Option<usize>>,
    /// By tap and pixel, where in the source's first channel the pixel is, if lines are read together.
    gathered: Vec<Option<usize>>,
    /// Past the last pixel that is read of the source's first channel.
    reach: usize,
}

/// Positions of an image row, a step apart.
struct Segment<M, E> {
    start: usize,
    line: Line<M, E>,
}

impl<M: Copy, E: Copy> Strip<M, E> {
    pub fn new<T, S>(simd: S, reading: &Reading, block: &Block) -> Self
    where
        T: Element,
        S: Simd<T, Mask = M, EvenMask = E>,
    {
        let image_len = reading.channels * reading.rows.input * reading.cols.input;
        let mut strip = Self {
            channel_len: 0,
            kernel: [reading.rows.offsets.len(), reading.cols.offsets.len()],
            row_starts: Vec::new(),
            row_len: 0,
            segments: Vec::new(),
            tap_starts: Vec::new(),
            line_rows: Vec::new(),
            gathered: Vec::new(),
            reach: 0,
        };
        let len = if reading.joined_lines {
            strip.gather(reading, block, image_len);
            strip.gathered.len()
        } else {
            strip.add_rows(reading, block, image_len);
            strip.add_segments(simd, reading, block);
            strip.row_len * strip.row_starts.len()
        };
        strip.channel_len = apart(len);
        strip
    }

    fn gather(&mut self, reading: &Reading, block: &Block, image_len: usize) {
        let Reading { rows, cols, .. } = *reading;
        self.gathered.reserve_exact(reading.taps() * block.pixels());
        for row_tap in 0..rows.offsets.len() {
            for col_tap in 0..cols.offsets.len() {
                for line in block.lines.clone() {
                    let row = rows.source(line % rows.output, row_tap);
                    let start = row.map(|row| line / rows.output * image_len + row * cols.input);
                    let pixel = |col| Some(start? + cols.source(col, col_tap)?);
                    self.gathered.extend(block.cols.clone().map(pixel));
                }
            }
        }
        self.reach = self.gathered.iter().flatten().max().map_or(0, |last| last + 1);
        let [kernel_rows, kernel_cols] = self.kernel;
        self.line_rows.extend((0..kernel_rows).map(Some));
        self.tap_starts.extend((0..kernel_cols).map(|tap| tap * block.pixels()));
        self.row_len = kernel_cols * block.pixels();
    }

    /// Each image row that is read, once.
    fn add_rows(&mut self, reading: &Reading, block: &Block, image_len: usize) {
        let (rows, row_len) = (reading.rows, reading.cols.input);
        let taps = rows.offsets.len();
        // By line and tap, the image and the row; none for zeros that aren't copied.
        let rows_read = || {
            block.lines.clone().flat_map(|line| {
                let (image, line) = (line / rows.output, line % rows.output);
                (0..taps).map(move |tap| {
                    let is_read = reading.zero_rows || rows.source(line, tap).is_some();
                    is_read.then(|| (image, rows.position(line, tap)))
                })
            })
        };
        let mut known = Vec::with_capacity(block.lines.len() * taps);
        known.extend(rows_read().flatten());
        known.sort_unstable();
        known.dedup();
        self.row_starts.extend(known.iter().map(|&(image, row)| {
            let row = rows.mode.source(row, rows.input)?;
            Some(image * image_len + row * row_len)
        }));
        let index = |row| known.binary_search(&row).ok();
        self.line_rows.reserve_exact(block.lines.len() * taps);
        self.line_rows.extend(rows_read().map(|row| row.and_then(index)));
        self.reach = self.row_starts.iter().flatten().max().map_or(0, |start| start + row_len);
    }

    fn add_segments<T, S>(&mut self, simd: S, reading: &Reading, block: &Block)
    where
        T: Element,
        S: Simd<T, Mask = M, EvenMask = E>,
    {
        let Reading { cols, whole_rows, .. } = *reading;
        let layout = RowLayout::new(cols, block.cols.start, block.cols.len(), whole_rows);
        let segments = layout.segments.into_iter().map(|(first, Range { start, end })| {
            let line =
                Line::new(simd, [first, cols.step as isize], end - start, cols.input, cols.mode);
            Segment { start, line }
        });
        self.segments = segments.collect();
        self.tap_starts = layout.tap_starts;
        self.row_len = layout.len;
    }

    /// Where in a channel the pixels start that a line of the block reads through a tap, column by
    /// column; none for zeros. If lines are read together, there is one line, of all pixels.
    pub fn start(&self, line: usize, [row_tap, col_tap]: [usize; 2]) -> Option<usize> {
        Some(self.row(line, row_tap)? * self.row_len + self.tap_starts[col_tap])
    }

    /// As [`Strip::start`] of a padded strip, for the block's first column and no column of the kernel.
    pub fn row_start(&self, line: usize, row_tap: usize) -> usize {
        self.line_rows[line * self.kernel[0] + row_tap].unwrap_or(0) * self.row_len
    }

    /// Rows of a channel.
    pub fn rows(&self) -> usize {
        self.row_starts.len()
    }

    /// The row that a line of the block reads through a kernel row; none for zeros.
    pub fn row(&self, line: usize, row_tap: usize) -> Option<usize> {
        self.line_rows[line * self.kernel[0] + row_tap]
    }

    /// From one row to the next.
    pub fn row_len(&self) -> usize {
        self.row_len
    }

    /// By kernel column, where in a row the pixel is that the block's first column reads.
    pub fn tap_starts(&self) -> &[usize] {
        &self.tap_starts
    }

    /// Makes room for `channels` channels, and for a vector past them.
    pub fn reserve<T: Element>(&self, channels: usize, target: &mut Vec<T>) {
        reserve(target, strip_elements(channels, self.channel_len));
    }

    /// Copies channels of `x`, whose channels are `plane` apart, into the start of `target`.
    #[inline(always)]
    pub fn fill<T, S>(
        &self,
        simd: S,
        x: &[T],
        plane: usize,
        channels: Range<usize>,
        target: &mut Vec<T>,
    ) where
        T: Element,
        S: Simd<T, Mask = M, EvenMask = E>,
    {
        self.reserve(channels.len(), target);
        assert!(channels.end == 0 || (channels.end - 1) * plane + self.reach <= x.len());
        for (channel, start) in channels.zip((0..).step_by(self.channel_len)) {
            let source = &x[channel * plane..];
            let target = &mut target[start..];
            for (value, pixel) in target.iter_mut().zip(&self.gathered) {
                *value = pixel.map_or(T::zero(), |pixel| source[pixel]);
            }
            if self.row_starts.is_empty() {
                continue; // Nothing but padding, which nobody reads: there is room for no row.
            }
            if self.row_len <= NARROW * S::LANES {
                self.fill_columns(simd, source, target);
            } else {
                self.fill_rows(simd, source, target);
            }
        }
    }

    /// What reads channels of `x`, whose channels are `plane` apart, into registers, of a strip with one
    /// segment: at most a register's lanes of channels.
    pub fn squares<'a, T: Element>(
        &'a self,
        x: &'a [T],
        plane: usize,
        channels: Range<usize>,
    ) -> Squares<'a, T, M, E> {
        let [Segment { start: 0, line }] = &self.segments[..] else {
            unreachable!("a row in one piece")
        };
        assert!(!channels.is_empty() && (channels.end - 1) * plane + self.reach <= x.len());
        let source = &x[channels.start * plane..];
        Squares { strip: self, line, source, plane, channels: channels.len() }
    }

    /// Copies a channel row by row. Vectors are written in order: what one writes past its segment is
    /// overwritten by the next.
    #[inline(always)]
    fn fill_rows<T, S>(&self, simd: S, source: &[T], target: &mut [T])
    where
        T: Element,
        S: Simd<T, Mask = M, EvenMask = E>,
    {
        for (row, &from) in self.row_starts.iter().enumerate() {
            let target = &mut target[row * self.row_len..];
            let Some(from) = from else {
                target[..self.row_len].fill(T::zero());
                continue;
            };
            assert!(target.len() >= self.row_len + S::LANES);
            let row = source[from..].as_ptr();
            for Segment { start, line } in &self.segments {
                for (index, &kind) in line.kinds.iter().enumerate() {
                    // SAFETY: `reach` is past every row, and the vectors are of the kinds that are
                    // given; there is room for a vector past the last, as just asserted.
                    unsafe {
                        let target = target.as_mut_ptr().add(start + index * S::LANES);
                        let reader = line.reader(index);
                        match kind {
                            kind::FULL => {
                                simd.store(target, reader.read::<T, S, { kind::FULL }>(simd, row));
                            }
                            kind::MASKED => {
                                simd.store(
                                    target,
                                    reader.read::<T, S, { kind::MASKED }>(simd, row),
                                );
                            }
                            kind::EVEN => {
                                simd.store(target, reader.read::<T, S, { kind::EVEN }>(simd, row));
                            }
                            _ => {
                                simd.store(
                                    target,
                                    reader.read::<T, S, { kind::GATHER }>(simd, row),
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    /// Copies a channel vector by vector of its rows, which are short: so each vector's masks are looked
    /// up once. Columns are copied from the last to the first: what one writes past the end of a row is
    /// overwritten by the first of the next row.
    #[inline(always)]
    fn fill_columns<T, S>(&self, simd: S, source: &[T], target: &mut [T])
    where
        T: Element,
        S: Simd<T, Mask = M, EvenMask = E>,
    {
        for Segment { start, line } in self.segments.iter().rev() {
            for (index, &kind) in line.kinds.iter().enumerate().rev() {
                let target = &mut target[start + index * S::LANES..];
                let column = Column { strip: self, line, index, source, target };
                match kind {
                    kind::FULL => column.copy::<S, { kind::FULL }>(simd),
                    kind::MASKED => column.copy::<S, { kind::MASKED }>(simd),
                    kind::EVEN => column.copy::<S, { kind::EVEN }>(simd),
                    _ => column.copy::<S, { kind::GATHER }>(simd),
                }
            }
        }
    }
}

/// Reads channels of a strip's source.
pub struct Squares<'a, T, M, E> {
    strip: &'a Strip<M, E>,
    line: &'a Line<M, E>,
    /// From the first channel on.
    source: &'a [T],
    plane: usize,
    channels: usize,
}

/// How many rows before its turn one is brought near.
const ROWS_AHEAD: usize = 3;

impl<T: Element, M: Copy, E: Copy> Squares<'_, T, M, E> {
    /// A register's lanes of positions of a row, channel by channel: zeros in a row of them. Registers past the
    /// last channel are copies of that.
    #[inline(always)]
    pub fn read<S: Simd<T, Mask = M, EvenMask = E>>(
        &self,
        simd: S,
        row: usize,
        index: usize,
    ) -> [S::Vector; MOST_LANES] {
        let Some(from) = self.strip.row_starts[row] else { return [simd.zero(); MOST_LANES] };
        match self.line.kinds[index] {
            kind::FULL => self.read_kind::<S, { kind::FULL }>(simd, from, index),
            kind::MASKED => self.read_kind::<S, { kind::MASKED }>(simd, from, index),
            kind::EVEN => self.read_kind::<S, { kind::EVEN }>(simd, from, index),
            _ => self.read_kind::<S, { kind::GATHER }>(simd, from, index),
        }
    }

    #[inline(always)]
    fn read_kind<S: Simd<T, Mask = M, EvenMask = E>, const KIND: u8>(
        &self,
        simd: S,
        from: usize,
        index: usize,
    ) -> [S::Vector; MOST_LANES] {
        let reader = self.line.reader(index);
        let soon = ROWS_AHEAD * self.line.input_len() + index * S::LANES;
        let mut square = [simd.zero(); MOST_LANES];
        for (channel, vector) in square[..S::LANES].iter_mut().enumerate() {
            let channel = channel.min(self.channels - 1) * self.plane;
            let row = self.source.as_ptr().wrapping_add(channel + from);
            simd.prefetch(row.wrapping_add(soon));
            // SAFETY: the strip's reach is past every row of each channel, and the vector is of that kind.
            *vector = unsafe { reader.read::<T, S, KIND>(simd, row) };
        }
        square
    }
}

/// Vectors of a row that is short.
const NARROW: usize = 2;

/// One vector of every row of a channel.
struct Column<'a, T, M, E> {
    strip: &'a Strip<M, E>,
    line: &'a Line<M, E>,
    index: usize,
    /// From the channel's first pixel on.
    source: &'a [T],
    target: &'a mut [T],
}

impl<T: Element, M: Copy, E: Copy> Column<'_, T, M, E> {
    /// Copies vectors of that kind. Where rows have several segments, nothing is written past one.
    #[inline(always)]
    fn copy<S: Simd<T, Mask = M, EvenMask = E>, const KIND: u8>(self, simd: S) {
        let Self { strip, line, index, source, target } = self;
        let whole = strip.segments.len() == 1 || line.len - index * S::LANES >= S::LANES;
        let lanes = if whole { S::LANES } else { line.len - index * S::LANES };
        let mask = simd.mask(0..lanes);
        let last = (strip.row_starts.len().max(1) - 1) * strip.row_len;
        assert!(target.len() >= last + S::LANES);
        let reader = line.reader(index);
        let mut target = target.as_mut_ptr();
        for &row in &strip.row_starts {
            // SAFETY: `reach` is past every row, and the vector is of that kind; `target` has LANES
            // elements at every row, as just asserted.
            unsafe {
                let vector = match row {
                    Some(row) => reader.read::<T, S, KIND>(simd, source.as_ptr().add(row)),
                    None => simd.zero(),
                };
                if whole {
                    simd.store(target, vector);
                } else {
                    simd.store_masked(target, mask, vector);
                }
            }
            target = target.wrapping_add(strip.row_len);
        }
    }
}
