//! The instruction sets that this crate has code for, and which of them is in use.

use std::sync::OnceLock;

/// The instruction sets there are code paths for, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// 512-bit vectors on x86-64.
    Avx512,
    /// 256-bit vectors with fused multiply-add on x86-64.
    Avx2,
    /// 128-bit vectors on AArch64.
    Neon,
    /// Plain Rust.
    Portable,
    /// Plain Rust with registers of the size of AVX-512.
    #[cfg(test)]
    Wide,
}

impl Isa {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Avx512, "avx512"),
        (Self::Avx2, "avx2"),
        (Self::Neon, "neon"),
        (Self::Portable, "portable"),
    ];

    /// Whether this machine has the instructions.
    pub fn available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => true,
            Self::Portable => true,
            #[cfg(test)]
            Self::Wide => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// What `DO_CONV_ISA` calls it.
    pub fn name(self) -> &'static str {
        let known = Self::ALL.into_iter().find(|(isa, _)| *isa == self);
        known.map_or("portable", |(_, name)| name)
    }

    /// The best available one, or that named by the environment variable `DO_CONV_ISA`
    /// (`avx512`, `avx2`, `neon`, `portable`) if this machine has it. Read once.
    pub fn active() -> Self {
        static ACTIVE: OnceLock<Isa> = OnceLock::new();
        *ACTIVE.get_or_init(|| {
            let asked = std::env::var("DO_CONV_ISA").unwrap_or_default();
            let available = || Self::ALL.into_iter().filter(|(isa, _)| isa.available());
            available()
                .find(|(_, name)| asked.eq_ignore_ascii_case(name))
                .or_else(|| available().next())
                .map_or(Self::Portable, |(isa, _)| isa)
        })
    }

    /// Every available one.
    #[cfg(test)]
    pub fn all_available() -> impl Iterator<Item = Self> {
        let isas = Self::ALL.into_iter().map(|(isa, _)| isa).chain([Self::Wide]);
        isas.filter(|isa| isa.available())
    }
}
