//! Random numbers that depend on the seed, the promise and the number of the case alone, so that any
//! case can be made again without those before it.

use std::ops::RangeInclusive;

/// A stream of random numbers: SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub struct Draw(u64);

impl Draw {
    /// The stream of case `index` of a promise.
    pub fn new(seed: u64, promise: &str, index: u64) -> Self {
        let mut draw = Self(seed);
        for byte in promise.bytes() {
            draw.0 ^= draw.next() ^ u64::from(byte);
        }
        draw.0 ^= draw.next().wrapping_add(index);
        draw.next();
        draw
    }

    /// 64 random bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`, which is positive.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A number of the range.
    pub fn within(&mut self, range: RangeInclusive<usize>) -> usize {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of the choices.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A whole number in `-most..=most`.
    pub fn integer(&mut self, most: i64) -> i64 {
        self.below(2 * most as usize + 1) as i64 - most
    }

    /// A multiple of 2⁻²⁰ in `[-1, 1)`, which is exact in `f32`.
    pub fn real(&mut self) -> f64 {
        (self.next() >> 43) as f64 / (1u64 << 20) as f64 - 1.0
    }
}
