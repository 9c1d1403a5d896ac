//! The peak of a core in fused multiply-adds, and which share of it we reach.

use std::hint::black_box;

use anyhow::{Context, Result};

use crate::contenders::forward;
use crate::data::Element;
use crate::layers::Layer;
use crate::race::{Contender, Local, Plan, race};
use crate::table::{self, Column};

/// Sums that don't wait for one another: enough for two multiply-adds a cycle that take four cycles
/// each, or four on Arm, and few enough for the registers.
const X86_SUMS: usize = 12;
#[cfg(target_arch = "aarch64")]
const NEON_SUMS: usize = 24;

/// A loop that does nothing but multiply-adds, in the widest vectors of this processor.
#[derive(Clone, Copy)]
pub struct Peak {
    pub instructions: &'static str,
    flops_per_iteration: usize,
    run: fn(usize),
}

macro_rules! multiply_adds {
    ($name:ident, $feature:literal, $sums:expr, $splat:path, $one:literal, $multiply_add:expr) => {
        #[target_feature(enable = $feature)]
        fn $name(iterations: usize) {
            // The sums tend to the limit 1: neither overflow nor denormal numbers slow them down.
            let half = $splat(black_box($one / 2.0));
            let mut sums = [$splat(black_box($one)); $sums];
            for _ in 0..iterations {
                for sum in &mut sums {
                    *sum = $multiply_add(*sum, half, half);
                }
            }
            black_box(sums);
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod loops {
    use super::{Peak, X86_SUMS, black_box};
    use std::arch::x86_64::*;

    multiply_adds!(avx512_f32, "avx512f", X86_SUMS, _mm512_set1_ps, 1f32, _mm512_fmadd_ps);
    multiply_adds!(avx512_f64, "avx512f", X86_SUMS, _mm512_set1_pd, 1f64, _mm512_fmadd_pd);
    multiply_adds!(avx2_f32, "avx2,fma", X86_SUMS, _mm256_set1_ps, 1f32, _mm256_fmadd_ps);
    multiply_adds!(avx2_f64, "avx2,fma", X86_SUMS, _mm256_set1_pd, 1f64, _mm256_fmadd_pd);

    pub fn widest(element_bytes: usize) -> Option<Peak> {
        let peak = |instructions, vector_bytes, run| {
            let flops_per_iteration = 2 * X86_SUMS * vector_bytes / element_bytes;
            Some(Peak { instructions, flops_per_iteration, run })
        };
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512F.
            let runs: [fn(usize); 2] = [|n| unsafe { avx512_f32(n) }, |n| unsafe { avx512_f64(n) }];
            peak("AVX-512", 64, runs[element_bytes / 8])
        } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has AVX2 and FMA.
            let runs: [fn(usize); 2] = [|n| unsafe { avx2_f32(n) }, |n| unsafe { avx2_f64(n) }];
            peak("AVX2", 32, runs[element_bytes / 8])
        } else {
            None
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod loops {
    use super::{NEON_SUMS, Peak, black_box};
    use std::arch::aarch64::*;

    multiply_adds!(neon_f32, "neon", NEON_SUMS, vdupq_n_f32, 1f32, vfmaq_f32);
    multiply_adds!(neon_f64, "neon", NEON_SUMS, vdupq_n_f64, 1f64, vfmaq_f64);

    pub fn widest(element_bytes: usize) -> Option<Peak> {
        // SAFETY: every processor of this architecture that has an operating system has NEON.
        let runs: [fn(usize); 2] = [|n| unsafe { neon_f32(n) }, |n| unsafe { neon_f64(n) }];
        let flops_per_iteration = 2 * NEON_SUMS * 16 / element_bytes;
        Some(Peak { instructions: "NEON", flops_per_iteration, run: runs[element_bytes / 8] })
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod loops {
    pub fn widest(_: usize) -> Option<super::Peak> {
        None
    }
}

/// The loop for this processor, if there is one.
pub fn widest<T: Element>() -> Option<Peak> {
    loops::widest(size_of::<T>())
}

/// Prints the peak of one core and the share that the forward pass of each layer has of it on one
/// thread. Loop and layer are timed in turn, so that a change of clock meets both.
pub fn shares<T: Element>(layers: &[Layer], plan: &Plan) -> Result<()> {
    let peak = widest::<T>().context("no loop of multiply-adds for this processor")?;
    let mut names = Vec::new();
    let (mut shares, mut ours, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    for layer in layers {
        eprintln!("{}: share of the peak", layer.name);
        let mut contenders: [Box<dyn Contender>; 2] =
            [Box::new(peak.contender()), Box::new(forward::<T>(layer)?.on_threads(1)?)];
        let times = race(&mut contenders, plan)?;
        let peak_rate = peak.flops() / times[0] / 1e9;
        let rate = 2.0 * layer.maccs() / times[1] / 1e9;
        names.push(layer.name.to_owned());
        shares.push(Some(rate / peak_rate));
        ours.push(Some(rate));
        peaks.push(Some(peak_rate));
    }
    let columns = [
        Column::new("ours / peak", 3, shares),
        Column::new("ours", 0, ours),
        Column::new(format!("{} peak", peak.instructions), 0, peaks),
    ];
    table::print("forward, 1 thread, GFLOP/s", &names, &columns, false);
    Ok(())
}

impl Peak {
    /// Few enough for a millisecond or so, many enough that starting the loop costs nothing.
    const ITERATIONS: usize = 200_000;

    fn flops(&self) -> f64 {
        (self.flops_per_iteration * Self::ITERATIONS) as f64
    }

    fn contender(self) -> Local {
        Local::new(move |_| {
            (self.run)(Self::ITERATIONS);
            Ok(())
        })
    }
}
