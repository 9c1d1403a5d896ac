//! The register tile: the innermost product, in which nearly all time is spent.

use crate::conv::simd::Simd;

/// Two packed operands of a register tile, whose sum runs over `outer` stretches of `inner` steps.
///
/// In step `p` of stretch `q`, `b` gives the `NR` elements at `b[(q · inner + p) · NR]`, and `a` one
/// element for each row `r`: from a panel of rows side by side, `a[q · a_outer + p · MR + r]`, or, if
/// `A_BY_ROWS`, from a panel of rows one after the other, `a[q · a_outer + r · NR + p]`.
#[derive(Clone, Copy)]
pub struct Operands<T> {
    pub a: *const T,
    pub b: *const T,
    pub inner: usize,
    pub outer: usize,
    pub a_outer: usize,
}

/// `out[r][j] = Σ a(r, p) · b(p, j)` for `ROWS` rows of `NR = NV · LANES` columns, summed in the
/// order of `p` from zero.
///
/// # Safety
/// `a` and `b` must be readable at every index that the formulas of [`Operands`] give, and `out`
/// writable for `ROWS · NR` elements.
#[inline(always)]
pub unsafe fn tile<
    T: Copy,
    S: Simd<T>,
    const ROWS: usize,
    const NV: usize,
    const A_BY_ROWS: bool,
>(
    simd: S,
    operands: Operands<T>,
    out: *mut T,
) {
    let Operands { mut a, mut b, inner, outer, a_outer } = operands;
    let (a_step, a_row) = if A_BY_ROWS { (1, S::NR) } else { (S::MR, 1) };
    let mut acc = [[simd.zero(); NV]; ROWS];
    for _ in 0..outer {
        let mut at = a;
        for _ in 0..inner {
            // SAFETY: the caller promises `a` and `b` readable at each step.
            unsafe {
                let mut columns = [simd.zero(); NV];
                for (v, column) in columns.iter_mut().enumerate() {
                    *column = simd.load(b.add(v * S::LANES));
                }
                for (r, row) in acc.iter_mut().enumerate() {
                    let broadcast = simd.splat(*at.add(r * a_row));
                    for (sum, &column) in row.iter_mut().zip(&columns) {
                        *sum = simd.fma(broadcast, column, *sum);
                    }
                }
                b = b.add(S::NR);
            }
            at = at.wrapping_add(a_step);
        }
        a = a.wrapping_add(a_outer);
    }
    for (r, row) in acc.iter().enumerate() {
        for (v, &sum) in row.iter().enumerate() {
            // SAFETY: the caller promises `ROWS · NR` writable elements.
            unsafe { simd.store(out.add(r * S::NR + v * S::LANES), sum) }
        }
    }
}
