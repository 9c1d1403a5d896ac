//! Reads vectors of consecutive output columns straight from image rows, borders included.

use std::ops::Range;

use super::axis::TapAxis;
use super::simd::Simd;
use crate::{PaddingMode, Scalar};

/// How a vector of output columns reads image rows, the same for all taps: values of [`Lines::kinds`]
/// and of the constant parameter of [`Lines::read`].
pub mod kind {
    /// Step 1, all lanes inside the image.
    pub const FULL: u8 = 0;
    /// Step 1, some lanes read zeros.
    pub const MASKED: u8 = 1;
    /// Step 2, some lanes may read zeros.
    pub const EVEN: u8 = 2;
    /// Any step, any padding: one lane at a time.
    pub const GATHER: u8 = 3;
}

/// How output columns, a vector at a time, read image rows.
pub struct Lines<M, E> {
    step: usize,
    /// Column that output 0 reads, by tap.
    offsets: Vec<isize>,
    /// By vector, how it reads.
    pub kinds: Vec<u8>,
    /// By vector, the output columns it stands for and their lanes.
    pub columns: Vec<(Range<usize>, M)>,
    /// By tap, then by vector, the lanes that read inside the image; one more row has none.
    masks: Vec<M>,
    /// The same for step 2.
    even_masks: Vec<E>,
    /// By tap, then by vector, the columns that lanes read, for vectors that gather.
    gathered: Vec<Vec<(usize, usize)>>,
}

impl<M: Copy, E: Copy> Lines<M, E> {
    pub fn new<T: Scalar, S: Simd<T, Mask = M, EvenMask = E>>(simd: S, cols: &TapAxis) -> Self {
        let taps = cols.offsets.len();
        let starts = (0..cols.output).step_by(S::LANES);
        let outputs = starts.map(|first| first..cols.output.min(first + S::LANES));
        let kind = |outputs: &Range<usize>| {
            let inside = |tap| cols.interior(outputs.clone(), tap) == *outputs;
            let all_inside = (0..taps).all(inside);
            match cols.step {
                1 if all_inside && outputs.len() == S::LANES => kind::FULL,
                1 if all_inside || cols.mode == PaddingMode::Zeros => kind::MASKED,
                2 if all_inside || cols.mode == PaddingMode::Zeros => kind::EVEN,
                _ => kind::GATHER,
            }
        };
        let kinds: Vec<_> = outputs.clone().map(|outputs| kind(&outputs)).collect();
        let mut masks = Vec::with_capacity((taps + 1) * kinds.len());
        let mut even_masks = Vec::with_capacity(if cols.step == 2 { masks.capacity() } else { 0 });
        let mut gathered = Vec::new();
        for tap in 0..taps {
            for (outputs, &kind) in outputs.clone().zip(&kinds) {
                let first = outputs.start;
                let inside = cols.interior(outputs.clone(), tap);
                let lanes = inside.start - first..inside.end - first;
                masks.push(simd.mask(lanes.clone()));
                if cols.step == 2 {
                    even_masks.push(simd.even_mask(lanes));
                }
                if kind == kind::GATHER {
                    let lane = |output| Some((output - first, cols.source(output, tap)?));
                    gathered.resize_with(masks.len() - 1, Vec::new);
                    gathered.push(outputs.filter_map(lane).collect());
                }
            }
        }
        masks.extend(std::iter::repeat_n(simd.mask(0..0), kinds.len()));
        if cols.step == 2 {
            even_masks.extend(std::iter::repeat_n(simd.even_mask(0..0), kinds.len()));
        }
        Self {
            step: cols.step,
            offsets: cols.offsets.clone(),
            kinds,
            columns: outputs
                .map(|outputs| (outputs.clone(), simd.mask(0..outputs.len())))
                .collect(),
            masks,
            even_masks,
            gathered,
        }
    }

    /// How many vectors from `first` on, at most `most`, can be read alike, and as what kind: full
    /// ones among masked ones as masked.
    pub fn alike(&self, first: usize, most: usize) -> (usize, u8) {
        let masked = |kind: u8| if kind == kind::FULL { kind::MASKED } else { kind };
        let kind = masked(self.kinds[first]);
        let run = self.kinds[first..].iter().take(most).take_while(|&&other| masked(other) == kind);
        let (count, full) = run.fold((0, 0), |(count, full), &other| {
            (count + 1, full + usize::from(other == kind::FULL))
        });
        (count, if full == count { kind::FULL } else { kind })
    }

    /// Reads vector `index` of the image row `line` through `tap`, where the vector is of the kind
    /// `KIND`. A `tap` one past the last reads zeros.
    ///
    /// # Safety
    /// `line` must point to an image row of the columns' input length, `index` and `tap` be in range,
    /// and `KIND` that of [`Lines::kinds`], or [`kind::MASKED`] instead of [`kind::FULL`].
    #[inline(always)]
    pub unsafe fn read<T: Scalar, S: Simd<T, Mask = M, EvenMask = E>, const KIND: u8>(
        &self,
        simd: S,
        line: *const T,
        index: usize,
        tap: usize,
    ) -> S::Vector {
        // SAFETY: a full vector reads LANES pixels inside the row; else the mask has just the lanes
        // that do.
        unsafe {
            let table = tap * self.kinds.len() + index;
            if KIND == kind::GATHER {
                return self.gather(simd, line, table);
            }
            let offset =
                if tap < self.offsets.len() { *self.offsets.get_unchecked(tap) } else { 0 };
            let source = line.wrapping_offset(offset).wrapping_add(index * S::LANES * self.step);
            match KIND {
                kind::FULL => simd.load(source),
                kind::MASKED => simd.load_masked(source, *self.masks.get_unchecked(table)),
                _ => simd.load_even(source, *self.even_masks.get_unchecked(table)),
            }
        }
    }

    /// Reads a vector one lane at a time.
    ///
    /// # Safety
    /// `line` must point to an image row of the columns' input length.
    #[inline(never)]
    unsafe fn gather<T: Scalar, S: Simd<T, Mask = M, EvenMask = E>>(
        &self,
        simd: S,
        line: *const T,
        table: usize,
    ) -> S::Vector {
        // The widest register has 16 lanes.
        let mut lanes = [T::zero(); 16];
        for &(lane, column) in self.gathered.get(table).into_iter().flatten() {
            // SAFETY: these are columns of the row.
            lanes[lane] = unsafe { *line.add(column) };
        }
        // SAFETY: `lanes` has at least LANES elements.
        unsafe { simd.load(lanes.as_ptr()) }
    }
}
