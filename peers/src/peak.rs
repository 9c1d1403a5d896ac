//! The peak of a core in fused multiply-adds, and which share of it we reach.

use std::hint::black_box;

use anyhow::{Context, Result};
use do_conv::Algorithm;
use pulp::{Arch, Simd, WithSimd};

use crate::contenders::forward;
use crate::data::Element;
use crate::layers::Layer;
use crate::race::{Contender, Local, Plan, race};
use crate::table::{self, Column};

/// Sums that don't wait for one another: enough for two multiply-adds a cycle that take four cycles
/// each, or four on Arm, and few enough for the registers.
const SUMS: usize = if cfg!(target_arch = "aarch64") { 24 } else { 12 };

/// A loop that does nothing but multiply-adds, in the widest vectors of this processor.
#[derive(Clone, Copy)]
pub struct Peak {
    vector_bytes: usize,
    element_bytes: usize,
}

/// The size of the vectors of doubles, which is that of all.
struct VectorBytes;

impl WithSimd for VectorBytes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F64_LANES * size_of::<f64>()
    }
}

macro_rules! multiply_adds {
    ($name:ident, $splat:ident, $multiply_add:ident) => {
        struct $name(usize);

        impl WithSimd for $name {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                // The sums tend to the limit 1: neither overflow nor denormal numbers slow them down.
                let half = simd.$splat(black_box(0.5));
                let mut sums = [simd.$splat(black_box(1.0)); SUMS];
                for _ in 0..self.0 {
                    for sum in &mut sums {
                        *sum = simd.$multiply_add(*sum, half, half);
                    }
                }
                black_box(sums);
            }
        }
    };
}
multiply_adds!(Singles, splat_f32s, mul_add_f32s);
multiply_adds!(Doubles, splat_f64s, mul_add_f64s);

/// The loop for this processor, if it has vectors.
pub fn widest<T: Element>() -> Option<Peak> {
    let vector_bytes = Arch::new().dispatch(VectorBytes);
    let peak = Peak { vector_bytes, element_bytes: size_of::<T>() };
    (vector_bytes > size_of::<f64>()).then_some(peak)
}

/// Prints the peak of one core and the share that the forward pass of each layer has of it on one
/// thread. Loop and layer are timed in turn, so that a change of clock meets both.
pub fn shares<T: Element>(layers: &[Layer], plan: &Plan) -> Result<()> {
    let peak = widest::<T>().context("no loop of multiply-adds for this processor")?;
    let mut names = Vec::new();
    let (mut shares, mut ours, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    for layer in layers {
        eprintln!("{}: share of the peak", layer.name);
        let mut contenders: [Box<dyn Contender>; 2] = [
            Box::new(peak.contender()),
            Box::new(forward::<T>(layer, Algorithm::Direct)?.on_threads(1)?),
        ];
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
        Column::new(format!("{} bit peak", 8 * peak.vector_bytes), 0, peaks),
    ];
    table::print("forward, 1 thread, GFLOP/s", &names, &columns, false);
    Ok(())
}

impl Peak {
    /// Few enough for a millisecond or so, many enough that starting the loop costs nothing.
    const ITERATIONS: usize = 200_000;

    fn flops(&self) -> f64 {
        (2 * SUMS * self.vector_bytes / self.element_bytes * Self::ITERATIONS) as f64
    }

    fn contender(self) -> Local {
        Local::new(move |_| {
            match self.element_bytes {
                4 => Arch::new().dispatch(Singles(Self::ITERATIONS)),
                _ => Arch::new().dispatch(Doubles(Self::ITERATIONS)),
            }
            Ok(())
        })
    }
}
