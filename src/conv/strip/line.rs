//! Reads positions of an image row, a step apart and borders included, a vector at a time.

use crate::config::padding::PaddingMode;
use crate::machine::element::Element;
use crate::machine::simd::{MOST_LANES, Simd};

/// How a vector reads: values of [`Line::kinds`] and of the constant parameter of [`Reader::read`].
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

/// Positions of an image row: `first`, `first + step`, …
pub struct Line<M, E> {
    first: isize,
    step: usize,
    pub len: usize,
    /// Pixels of the image row.
    input: usize,
    /// By vector, how it reads.
    pub kinds: Vec<u8>,
    /// By vector, the lanes that read inside the image.
    masks: Vec<M>,
    /// The same for step 2.
    even_masks: Vec<E>,
    /// By vector, for those that gather, the lanes that don't read zeros and what they read.
    gathered: Vec<Vec<(usize, usize)>>,
}

impl<M: Copy, E: Copy> Line<M, E> {
    /// `len` positions of rows of `input` pixels.
    pub fn new<T, S>(
        simd: S,
        [first, step]: [isize; 2],
        len: usize,
        input: usize,
        mode: PaddingMode,
    ) -> Self
    where
        T: Element,
        S: Simd<T, Mask = M, EvenMask = E>,
    {
        let mut line = Self {
            first,
            step: step as usize,
            len,
            input,
            kinds: Vec::new(),
            masks: Vec::new(),
            even_masks: Vec::new(),
            gathered: Vec::new(),
        };
        for start in (0..len).step_by(S::LANES) {
            let lanes = S::LANES.min(len - start);
            let position = |lane: usize| first + (start + lane) as isize * step;
            let inside = |lane: &usize| (0..input as isize).contains(&position(*lane));
            // Those inside are neighbours.
            let from = (0..lanes).find(inside).unwrap_or(lanes);
            let to = (from..lanes).rfind(inside).map_or(from, |last| last + 1);
            let zeros_outside = to - from == lanes || mode == PaddingMode::Zeros;
            line.kinds.push(match step {
                1 if to - from == S::LANES => kind::FULL,
                1 if zeros_outside => kind::MASKED,
                2 if zeros_outside => kind::EVEN,
                _ => kind::GATHER,
            });
            line.masks.push(simd.mask(from..to));
            line.even_masks.push(simd.even_mask(from..to));
            let gathered =
                (0..lanes).filter_map(|lane| Some((lane, mode.source(position(lane), input)?)));
            let gathers = line.kinds.last() == Some(&kind::GATHER);
            line.gathered.push(if gathers { gathered.collect() } else { Vec::new() });
        }
        line
    }

    /// Pixels of an image row.
    pub fn input_len(&self) -> usize {
        self.input
    }

    /// What reads vector `index` of image rows.
    #[inline(always)]
    pub fn reader(&self, index: usize) -> Reader<'_, M, E> {
        Reader { line: self, index, mask: self.masks[index], even_mask: self.even_masks[index] }
    }

    /// Reads a vector one lane at a time.
    ///
    /// # Safety
    /// `line` must point to an image row of the input length.
    #[inline(never)]
    unsafe fn gather<T, S>(&self, simd: S, line: *const T, index: usize) -> S::Vector
    where
        T: Element,
        S: Simd<T, Mask = M, EvenMask = E>,
    {
        let mut lanes = [T::zero(); MOST_LANES];
        for &(lane, column) in &self.gathered[index] {
            // SAFETY: these are columns of the row.
            lanes[lane] = unsafe { *line.add(column) };
        }
        // SAFETY: `lanes` has at least LANES elements.
        unsafe { simd.load(lanes.as_ptr()) }
    }
}

/// Reads one vector of image rows.
pub struct Reader<'a, M, E> {
    line: &'a Line<M, E>,
    index: usize,
    mask: M,
    even_mask: E,
}

impl<M: Copy, E: Copy> Reader<'_, M, E> {
    /// Reads the vector of `row`, where it is of the kind `KIND`.
    ///
    /// # Safety
    /// `row` must point to an image row of the input length, and `KIND` be that of [`Line::kinds`].
    #[inline(always)]
    pub unsafe fn read<T, S, const KIND: u8>(&self, simd: S, row: *const T) -> S::Vector
    where
        T: Element,
        S: Simd<T, Mask = M, EvenMask = E>,
    {
        let &Self { line, index, mask, even_mask } = self;
        // SAFETY: a full vector reads LANES pixels inside the row; else the mask has just the lanes
        // that do.
        unsafe {
            if KIND == kind::GATHER {
                return line.gather(simd, row, index);
            }
            let first = index * (S::LANES * line.step);
            let source = row.wrapping_offset(line.first).wrapping_add(first);
            match KIND {
                kind::FULL => simd.load(source),
                kind::MASKED => simd.load_masked(source, mask),
                _ => simd.load_even(source, even_mask),
            }
        }
    }
}
