//! The number types of the crate, and how work on them comes to run with an instruction set.

use std::fmt::{Debug, Display};

use num_traits::{Float, NumAssign};

use super::isa::Isa;
#[cfg(target_arch = "aarch64")]
use super::simd::neon;
#[cfg(target_arch = "x86_64")]
use super::simd::x86;
use super::simd::{WithSimd, portable};

/// A number type that has instruction sets; the seal of [`Scalar`](crate::scalar::Scalar).
pub trait Element: Float + NumAssign + Debug + Display + Default + Send + Sync + 'static {
    /// Runs `work` with the instruction set `isa`, which this machine must have.
    #[doc(hidden)]
    fn dispatch_to<K: WithSimd<Self>>(isa: Isa, work: K) -> K::Output;

    /// Runs `work` with the best instruction set of this machine.
    #[doc(hidden)]
    fn dispatch<K: WithSimd<Self>>(work: K) -> K::Output {
        Self::dispatch_to(Isa::active(), work)
    }
}

/// Writes [`Element`] for a type: a function with the instructions enabled for each set.
macro_rules! dispatch {
    ($t:ty) => {
        impl Element for $t {
            fn dispatch_to<K: WithSimd<Self>>(isa: Isa, work: K) -> K::Output {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => {
                        assert!(isa.available());
                        // SAFETY: the instructions were just found on this machine.
                        unsafe { x86::with_avx512(work) }
                    }
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => {
                        assert!(isa.available());
                        // SAFETY: the instructions were just found on this machine.
                        unsafe { x86::with_avx2(work) }
                    }
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon => work.run(neon::Neon::new()),
                    #[cfg(test)]
                    Isa::Wide => work.run(portable::Wide),
                    _ => work.run(portable::Portable),
                }
            }
        }
    };
}
dispatch!(f32);
dispatch!(f64);
