//! The register tile: the innermost product, in which nearly all time is spent.

use super::Simd;

/// Two operands of a register tile, whose sum runs over stretches of steps. In step `p` of a stretch
/// `[a₀, b₀]`, row `r` of the tile is multiplied by `a[a₀ + p · a_step + r]`, and its vector `v` is
/// `b[b₀ + p · b_step + v · b_panel]` and the lanes after it.
pub struct Operands<'a, T> {
    pub a: *const T,
    pub b: *const T,
    pub stretches: &'a [[usize; 2]],
    pub steps: usize,
    pub a_step: usize,
    pub b_step: usize,
    pub b_panel: usize,
    /// What will be read soon of the strip's source, brought near meanwhile.
    pub ahead: Ahead<T>,
}

/// Addresses to bring near, whatever they are: in the first `stretches`, a step's is `step` after that
/// of the one before, and a stretch's first `stretch_step` after that of the one before.
#[derive(Clone, Copy)]
pub struct Ahead<T> {
    pub first: *const T,
    pub step: usize,
    pub stretches: usize,
    pub stretch_step: usize,
}

impl<T> Ahead<T> {
    pub const NOTHING: Self =
        Self { first: std::ptr::null(), step: 0, stretches: 0, stretch_step: 0 };
    /// Elements of a cache line.
    pub const LINE: usize = 64 / size_of::<T>();
}

/// Where the sums of a tile go: rows `row_step` apart.
#[derive(Clone, Copy)]
pub struct Sums<T> {
    pub data: *mut T,
    pub row_step: usize,
    /// Whether to add to what is there, or to replace it.
    pub add: bool,
}

/// `out[r][j] = Σ a(r, p) · b(p, j)` for `R` rows of `V` vectors, summed from zero in the order of
/// stretches and steps.
///
/// # Safety
/// `a` and `b` must be readable at every index that the formulas of [`Operands`] give, and `out` be
/// readable and writable for `V` vectors at each of `R` rows.
#[inline(always)]
pub unsafe fn tile<T: Copy, S: Simd<T>, const R: usize, const V: usize>(
    simd: S,
    operands: &Operands<T>,
    out: Sums<T>,
) {
    let &Operands { a, b, stretches, steps, a_step, b_step, b_panel, ahead } = operands;
    let mut acc = [[simd.zero(); V]; R];
    for (index, &[a_start, b_start]) in stretches.iter().enumerate() {
        let (mut soon, soon_step) = match index < ahead.stretches {
            true => (ahead.first.wrapping_add(index * ahead.stretch_step), ahead.step),
            false => (a, 0),
        };
        let mut a = a.wrapping_add(a_start);
        let mut b = b.wrapping_add(b_start);
        for _ in 0..steps {
            simd.prefetch(soon);
            soon = soon.wrapping_add(soon_step);
            // SAFETY: the caller promises `a` and `b` readable at each step.
            unsafe {
                let mut columns = [simd.zero(); V];
                for (v, column) in columns.iter_mut().enumerate() {
                    *column = simd.load(b.add(v * b_panel));
                }
                for (r, row) in acc.iter_mut().enumerate() {
                    let broadcast = simd.splat(*a.add(r));
                    for (sum, &column) in row.iter_mut().zip(&columns) {
                        *sum = simd.fma(broadcast, column, *sum);
                    }
                }
            }
            a = a.wrapping_add(a_step);
            b = b.wrapping_add(b_step);
        }
    }
    // SAFETY: the caller promises `R` rows of `V` vectors.
    unsafe { put(simd, &acc, out) };
}

/// The operands of a register tile that reads rows in the order of its steps: in step `p` of a stretch, row
/// `r` is multiplied by `a[a₀ + p + r · a_row]`, and the rest is as in [`Operands`], whose `a_step` is
/// nothing.
pub struct Across<'a, T> {
    pub operands: Operands<'a, T>,
    pub a_row: usize,
}

/// As [`tile`], for rows that aren't side by side.
///
/// # Safety
/// As for [`tile`], by the formulas of [`Across`].
#[inline(always)]
pub unsafe fn tile_across<T: Copy, S: Simd<T>, const R: usize, const V: usize>(
    simd: S,
    across: &Across<T>,
    out: Sums<T>,
) {
    /// Steps for which the rows' addresses, more than there are registers for, are fetched at once.
    const TOGETHER: usize = 4;
    let &Operands { a, b, stretches, steps, b_step, ahead, .. } = &across.operands;
    let mut acc = [[simd.zero(); V]; R];
    for (index, &[a_start, b_start]) in stretches.iter().enumerate() {
        let (mut soon, soon_step) = match index < ahead.stretches {
            true => (ahead.first.wrapping_add(index * ahead.stretch_step), ahead.step),
            false => (a, 0),
        };
        let mut a = a.wrapping_add(a_start);
        let mut b = b.wrapping_add(b_start);
        let mut left = steps;
        while left > 0 {
            let together = if left >= TOGETHER { TOGETHER } else { 1 };
            for step in 0..together {
                simd.prefetch(soon.wrapping_add(step * soon_step));
            }
            // SAFETY: the caller promises `a` and `b` readable at each step.
            unsafe {
                match together {
                    TOGETHER => add_steps::<T, S, R, V, TOGETHER>(simd, across, a, b, &mut acc),
                    _ => add_steps::<T, S, R, V, 1>(simd, across, a, b, &mut acc),
                }
            }
            soon = soon.wrapping_add(together * soon_step);
            a = a.wrapping_add(together);
            b = b.wrapping_add(together * b_step);
            left -= together;
        }
    }
    // SAFETY: the caller promises `R` rows of `V` vectors.
    unsafe { put(simd, &acc, out) };
}

/// Adds the products of `N` steps, whose first are at `a` and `b`.
///
/// # Safety
/// As for [`tile_across`].
#[inline(always)]
unsafe fn add_steps<T: Copy, S: Simd<T>, const R: usize, const V: usize, const N: usize>(
    simd: S,
    Across { operands: Operands { b_step, b_panel, .. }, a_row }: &Across<T>,
    a: *const T,
    b: *const T,
    acc: &mut [[S::Vector; V]; R],
) {
    for step in 0..N {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            let mut columns = [simd.zero(); V];
            for (v, column) in columns.iter_mut().enumerate() {
                *column = simd.load(b.add(step * b_step + v * b_panel));
            }
            for (r, row) in acc.iter_mut().enumerate() {
                let broadcast = simd.splat(*a.add(r * a_row + step));
                for (sum, &column) in row.iter_mut().zip(&columns) {
                    *sum = simd.fma(broadcast, column, *sum);
                }
            }
        }
    }
}

/// Writes a tile's sums, or adds them.
///
/// # Safety
/// `out` must be readable and writable for `V` vectors at each of `R` rows.
#[inline(always)]
unsafe fn put<T: Copy, S: Simd<T>, const R: usize, const V: usize>(
    simd: S,
    acc: &[[S::Vector; V]; R],
    out: Sums<T>,
) {
    for (r, row) in acc.iter().enumerate() {
        for (v, &sum) in row.iter().enumerate() {
            let target = out.data.wrapping_add(r * out.row_step + v * S::LANES);
            // SAFETY: as the caller promises.
            unsafe {
                let sum = if out.add { simd.add(simd.load(target), sum) } else { sum };
                simd.store(target, sum);
            }
        }
    }
}
