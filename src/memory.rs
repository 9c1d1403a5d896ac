//! Buffers that a layer keeps from one call to the next.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::Scalar;
use crate::kernels::Packed;

/// Buffers that nobody uses at the moment. A layer has its own, so a step of training allocates
/// nothing but what it returns once the first has made room; fresh pages of memory take longer than the
/// work that is done on them.
///
/// What is kept is bounded, whatever a layer did before: by [`KEPT_PER_THREAD`] bytes a thread of the
/// current pool and twice the longest buffer that was ever asked for, which is the kernel's if that is
/// larger. Many threads may call one layer at once; what they need beyond that goes as it came.
pub struct Memory<T>(Mutex<Spare<T>>);

/// Bytes that a thread's scratch takes at most (`tests/memory.rs`).
const KEPT_PER_THREAD: usize = 2 << 20;

struct Spare<T> {
    buffers: Vec<Vec<T>>,
    /// Elements of all of them.
    len: usize,
    /// Elements of the longest that was asked for.
    longest: usize,
}

impl<T> Spare<T> {
    fn remove(&mut self, index: usize) -> Vec<T> {
        let buffer = self.buffers.swap_remove(index);
        self.len -= buffer.len();
        buffer
    }

    /// The longest buffer's place.
    fn longest(&self) -> Option<usize> {
        let buffers = self.buffers.iter().enumerate();
        buffers.max_by_key(|(_, buffer)| buffer.len()).map(|(index, _)| index)
    }
}

impl<T: Scalar> Memory<T> {
    /// A buffer of at least `len` elements of any value: the smallest that is long enough, or a new
    /// one in place of the longest.
    pub fn take(&self, len: usize) -> Vec<T> {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spare.longest = spare.longest.max(len);
        let buffers = spare.buffers.iter().enumerate();
        let fitting = buffers.filter(|(_, buffer)| buffer.len() >= len);
        let smallest = fitting.min_by_key(|(_, buffer)| buffer.len()).map(|(index, _)| index);
        if let Some(index) = smallest {
            return spare.remove(index);
        }
        let replaced = spare.longest().map(|index| spare.remove(index));
        drop(spare);
        drop(replaced);
        vec![T::zero(); len]
    }

    /// Whether there are none.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).buffers.is_empty()
    }

    /// Keeps a buffer for later, if there is room.
    pub fn give(&self, buffer: Vec<T>) {
        let scratch = rayon::current_num_threads() * (KEPT_PER_THREAD / size_of::<T>());
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A buffer that grew was asked for as well.
        spare.longest = spare.longest.max(buffer.len());
        let most = scratch + 2 * spare.longest;
        spare.len += buffer.len();
        spare.buffers.push(buffer);
        let mut dropped = Vec::new();
        while spare.len > most {
            let index = spare.longest().unwrap_or(0);
            dropped.push(spare.remove(index));
        }
        drop(spare);
    }
}

impl<T> fmt::Debug for Memory<T> {
    /// Without what is in the buffers, which may be megabytes of no meaning.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Workspace<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace").finish_non_exhaustive()
    }
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self(Mutex::new(Spare { buffers: Vec::new(), len: 0, longest: 0 }))
    }
}

/// What a plain layer keeps: its kernel as the product reads it, and buffers.
pub struct Workspace<T> {
    pub memory: Memory<T>,
    /// Until parameters change.
    pub packed: Packed<T>,
}

impl<T: Scalar> Workspace<T> {
    /// Forgets the packed kernel.
    pub fn forget(&mut self) {
        if let Some(kernel) = self.packed.take() {
            self.memory.give(kernel.into_buffer());
        }
    }
}

impl<T> Default for Workspace<T> {
    fn default() -> Self {
        Self { memory: Memory::default(), packed: Packed::new() }
    }
}

impl<T> Clone for Workspace<T> {
    /// A clone packs and makes room for itself.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<T> PartialEq for Workspace<T> {
    /// It follows from what a layer is, and isn't part of it.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Clone for Memory<T> {
    /// A clone has buffers of its own, none yet.
    fn clone(&self) -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(memory: &Memory<f32>) -> Vec<usize> {
        let spare = memory.0.lock().unwrap();
        let lens: Vec<_> = spare.buffers.iter().map(Vec::len).collect();
        assert_eq!(spare.len, lens.iter().sum::<usize>());
        lens
    }

    #[test]
    fn the_longest_makes_way_for_a_longer_one() {
        let memory = Memory::default();
        [3, 5, 4].into_iter().for_each(|len| memory.give(vec![0.0; len]));
        assert_eq!(memory.take(4).len(), 4);
        assert_eq!(memory.take(6).len(), 6);
        assert_eq!(kept(&memory), [3]);
    }

    #[test]
    fn what_many_threads_needed_is_not_kept() {
        let memory: Memory<f32> = Memory::default();
        let mebibyte = 1 << 18;
        let kernel = 9 * mebibyte;
        let taken: Vec<_> =
            (0..64).flat_map(|_| [memory.take(kernel), memory.take(mebibyte)]).collect();
        taken.into_iter().for_each(|buffer| memory.give(buffer));
        let most = 2 * rayon::current_num_threads() * mebibyte + 2 * kernel;
        let sum: usize = kept(&memory).iter().sum();
        assert!(sum <= most && sum >= kernel, "{sum} of {most}");
    }
}
