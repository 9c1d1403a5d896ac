//! What numbers are computed on: vector instructions, threads and memory. Knows no image and no kernel.

pub mod element;
pub mod isa;
pub mod memory;
pub mod shared;
pub mod simd;
pub mod threads;

use element::Element;
use isa::Isa;
use memory::Memory;
use simd::{Simd, WithSimd};

/// An instruction set, threads and the buffers to work in.
#[derive(Debug, Clone, Copy)]
pub struct Machine<'m, T> {
    pub isa: Isa,
    /// Multiply-accumulates below which work stays on the calling thread.
    pub parallel_above: usize,
    pub memory: &'m Memory<T>,
}

/// [`Machine::parallel_above`] unless a test asks for another: some tens of microseconds' work.
const PARALLEL_ABOVE: usize = 1 << 21;

/// How many times less a stage of a call has to be for that, since the call has woken the others.
const AWAKE: usize = 8;

impl<'m, T: Element> Machine<'m, T> {
    /// The best instructions there are.
    pub fn new(memory: &'m Memory<T>) -> Self {
        Self { isa: Isa::active(), parallel_above: PARALLEL_ABOVE, memory }
    }

    /// Runs `work` with the instruction set.
    pub fn run<W: WithSimd<T>>(&self, work: W) -> W::Output {
        T::dispatch_to(self.isa, work)
    }

    /// Threads to spread `maccs` multiply-accumulates over.
    pub fn threads(&self, maccs: usize) -> usize {
        if maccs < self.parallel_above { 1 } else { rayon::current_num_threads() }
    }

    /// Calls `work`, of so many multiply-accumulates, on a thread of the pool if they are worth sharing. Its
    /// stages then share theirs with threads that are awake, so that less is worth it.
    pub fn enter<R: Send>(&self, maccs: usize, work: impl FnOnce(Self) -> R + Send) -> R {
        if self.threads(maccs) == 1 {
            return work(*self);
        }
        let machine = Self { parallel_above: self.parallel_above / AWAKE, ..*self };
        threads::enter(|| work(machine))
    }

    /// Elements of a register.
    pub fn lanes(&self) -> usize {
        self.tile_size().lanes
    }

    /// Most rows of a register tile.
    pub fn most_rows(&self) -> usize {
        self.tile_size().most_rows
    }

    fn tile_size(&self) -> TileSize {
        struct Ask;
        impl<T: Copy> WithSimd<T> for Ask {
            type Output = TileSize;
            #[inline(always)]
            fn run<S: Simd<T>>(self, _: S) -> TileSize {
                TileSize { most_rows: S::MR, lanes: S::LANES }
            }
        }
        self.run(Ask)
    }
}

/// The sizes of an instruction set's register tile.
struct TileSize {
    most_rows: usize,
    lanes: usize,
}
