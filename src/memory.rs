//! Buffers that a layer keeps from one call to the next.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::Scalar;
use crate::kernels::Packed;

/// Buffers that nobody uses at the moment. A layer has its own, so a step of training allocates
/// nothing but what it returns once the first has made room; fresh pages of memory take longer than the
/// work that is done on them.
pub struct Memory<T>(Mutex<Vec<Vec<T>>>);

impl<T: Scalar> Memory<T> {
    /// A buffer of at least `len` elements of any value: the smallest that is long enough, or a new
    /// one in place of the longest.
    pub fn take(&self, len: usize) -> Vec<T> {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = spare.iter().enumerate().filter(|(_, buffer)| buffer.len() >= len);
        let smallest = fitting.min_by_key(|(_, buffer)| buffer.len()).map(|(index, _)| index);
        if let Some(index) = smallest {
            return spare.swap_remove(index);
        }
        let longest = spare.iter().enumerate().max_by_key(|(_, buffer)| buffer.len());
        if let Some(index) = longest.map(|(index, _)| index) {
            spare.swap_remove(index);
        }
        drop(spare);
        vec![T::zero(); len]
    }

    /// Keeps a buffer for later.
    pub fn give(&self, buffer: Vec<T>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
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
        Self(Mutex::default())
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
