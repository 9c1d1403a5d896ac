//! The sums of a block, a few lines and registers of pixels at a time.

use super::outputs::Outputs;
use super::rows::{InPlace, InStrip, Pixels, Rows};
use crate::machine::element::Element;
use crate::machine::simd::Simd;

/// The kernel of a group of `R` output channels.
pub struct Kernel<'a, T, const R: usize> {
    /// `[sources, kernel rows, kernel columns, R]`.
    pub weights: &'a [T],
    pub sources: usize,
    /// Rows and columns.
    pub size: [usize; 2],
    pub bias: [T; R],
    /// Whether each line reads the rows after those of the line before.
    pub is_consecutive: bool,
}

/// By line, by channel, `C` registers of pixels.
pub type Registers<V, const Q: usize, const R: usize, const C: usize> = [[[V; C]; R]; Q];

/// Where the pixels are that a block's lines read.
pub trait Source<T: Element, S: Simd<T>, const R: usize>: Pixels<T, S> {
    /// Sums `C` registers of pixels from `col` on of `Q` lines from `line` on.
    fn sums<const Q: usize, const C: usize>(
        &self,
        simd: S,
        kernel: &Kernel<T, R>,
        place: [usize; 2],
    ) -> Registers<S::Vector, Q, R, C>;
}

/// Lines that are summed together: as many as there are registers for two vectors of pixels of each and
/// their sums.
const fn lines_together<T: Copy, S: Simd<T>>(channels: usize) -> usize {
    match (S::REGISTERS - channels) / (2 * (channels + 1)) {
        0 | 1 => 1,
        2 | 3 => 2,
        _ => 4,
    }
}

impl<T: Element, const R: usize> Kernel<'_, T, R> {
    /// Sums and writes a block.
    #[inline(always)]
    pub fn write<S: Simd<T>>(&self, simd: S, source: &impl Source<T, S, R>, outputs: &Outputs<T>) {
        let [rows, cols] = self.size;
        assert!(self.weights.len() == self.sources * rows * cols * R);
        let lines = outputs.lines.len();
        let mut line = 0;
        while line < lines {
            let left = lines - line;
            line += if const { lines_together::<T, S>(R) == 4 } && left >= 4 {
                self.write_lines::<S, 4>(simd, source, outputs, line)
            } else if const { lines_together::<T, S>(R) >= 2 } && left >= 2 {
                self.write_lines::<S, 2>(simd, source, outputs, line)
            } else {
                self.write_lines::<S, 1>(simd, source, outputs, line)
            };
        }
    }

    /// Sums and writes `Q` lines from `line` on; gives `Q`.
    #[inline(always)]
    fn write_lines<S: Simd<T>, const Q: usize>(
        &self,
        simd: S,
        pixels: &impl Source<T, S, R>,
        outputs: &Outputs<T>,
        line: usize,
    ) -> usize {
        let cols = outputs.cols.len();
        (0..self.sources).for_each(|source| pixels.bring(simd, source, line..line + Q));
        outputs.bring(simd, line..line + Q);
        let mut col = 0;
        while col < cols {
            let place = [line, col];
            if const { Q <= lines_together::<T, S>(R) } && col + S::LANES < cols {
                let sums = pixels.sums::<Q, 2>(simd, self, place);
                outputs.store(simd, place, &sums);
                col += 2 * S::LANES;
            } else {
                let sums = pixels.sums::<Q, 1>(simd, self, place);
                outputs.store(simd, place, &sums);
                col += S::LANES;
            }
        }
        Q
    }

    /// Sums one output channel of lines that read consecutive rows, as many as the kernel has: what is read
    /// of a row serves all lines that read it.
    #[inline(always)]
    fn share<S: Simd<T>, const Q: usize, const C: usize, const ROWS: usize>(
        &self,
        simd: S,
        pixels: &impl Pixels<T, S>,
        place: [usize; 2],
    ) -> Registers<S::Vector, Q, R, C> {
        assert!(R == 1 && self.size[0] == ROWS);
        let cols = self.size[1];
        let mut sums = [[[simd.splat(self.bias[0]); C]; R]; Q];
        for source in 0..self.sources {
            let weights = &self.weights[source * ROWS * cols..][..ROWS * cols];
            for tap in 0..cols {
                let mut column = [simd.zero(); ROWS];
                for (weight, row) in column.iter_mut().zip(weights.chunks_exact(cols)) {
                    *weight = simd.splat(row[tap]);
                }
                let rows = pixels.rows::<C>(simd, source, place, tap, C * S::LANES);
                for row in 0..Q + ROWS - 1 {
                    // SAFETY: these are the rows that the lines read.
                    let pixels = unsafe { rows.load(simd, row) };
                    for (q, sums) in sums.iter_mut().enumerate() {
                        if q <= row && row - q < ROWS {
                            for (sum, &pixels) in sums[0].iter_mut().zip(&pixels) {
                                *sum = simd.fma(column[row - q], pixels, *sum);
                            }
                        }
                    }
                }
            }
        }
        sums
    }
}

impl<T: Element, S: Simd<T>, const R: usize> Source<T, S, R> for InPlace<'_, T> {
    #[inline(always)]
    fn sums<const Q: usize, const C: usize>(
        &self,
        simd: S,
        kernel: &Kernel<T, R>,
        place: [usize; 2],
    ) -> Registers<S::Vector, Q, R, C> {
        match kernel.size[0] {
            3 => kernel.share::<S, Q, C, 3>(simd, self, place),
            _ => kernel.share::<S, Q, C, 5>(simd, self, place),
        }
    }
}

impl<T: Element, S: Simd<T>, const R: usize> Source<T, S, R>
    for InStrip<'_, T, S::Mask, S::EvenMask>
{
    #[inline(always)]
    fn sums<const Q: usize, const C: usize>(
        &self,
        simd: S,
        kernel: &Kernel<T, R>,
        place: [usize; 2],
    ) -> Registers<S::Vector, Q, R, C> {
        assert!(self.strip.tap_starts().len() == kernel.size[1]);
        match kernel.size[0] {
            3 if R == 1 && Q > 1 && kernel.is_consecutive => {
                kernel.share::<S, Q, C, 3>(simd, self, place)
            }
            5 if R == 1 && Q > 1 && kernel.is_consecutive => {
                kernel.share::<S, Q, C, 5>(simd, self, place)
            }
            _ => self.each(simd, kernel, place),
        }
    }
}

impl<T: Element, M: Copy, E: Copy> InStrip<'_, T, M, E> {
    /// Sums lines that have nothing to share.
    #[inline(always)]
    fn each<S: Simd<T, Mask = M, EvenMask = E>, const Q: usize, const R: usize, const C: usize>(
        &self,
        simd: S,
        kernel: &Kernel<T, R>,
        [line, col]: [usize; 2],
    ) -> Registers<S::Vector, Q, R, C> {
        let strip = self.strip;
        let [kernel_rows, kernel_cols] = kernel.size;
        let mut sums = [[[simd.zero(); C]; R]; Q];
        for sums in &mut sums {
            for (sums, &bias) in sums.iter_mut().zip(&kernel.bias) {
                *sums = [simd.splat(bias); C];
            }
        }
        for row_tap in 0..kernel_rows {
            let mut rows = [0; Q];
            for (q, row) in rows.iter_mut().enumerate() {
                *row = strip.row_start(line + q, row_tap) + col;
            }
            for source in 0..kernel.sources {
                let data = self.data[source * strip.channel_len..].as_ptr();
                let weights = (source * kernel_rows + row_tap) * kernel_cols * R;
                let mut weights = kernel.weights[weights..].as_ptr();
                for &start in strip.tap_starts() {
                    let data = data.wrapping_add(start);
                    // SAFETY: a row of the strip has a pixel for each column through each tap, and
                    // there are lanes past the last. The weights have been counted.
                    unsafe {
                        let mut pixels = [[simd.zero(); C]; Q];
                        for (pixels, &row) in pixels.iter_mut().zip(&rows) {
                            for (c, pixels) in pixels.iter_mut().enumerate() {
                                *pixels = simd.load(data.add(row + c * S::LANES));
                            }
                        }
                        for r in 0..R {
                            let weight = simd.splat(*weights.add(r));
                            for (sums, pixels) in sums.iter_mut().zip(&pixels) {
                                for (sum, &pixels) in sums[r].iter_mut().zip(pixels) {
                                    *sum = simd.fma(weight, pixels, *sum);
                                }
                            }
                        }
                        weights = weights.add(R);
                    }
                }
            }
        }
        sums
    }
}
