//! Buffers that a layer keeps from one call to the next, and what a call takes of them.
//!
//! A call takes every buffer that it needs before it writes to its results: so where there is no room
//! it is refused, and nothing is written.

use std::alloc::Layout;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use super::element::Element;

/// There is no room for this number of elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom(pub usize);

impl NoRoom {
    /// Ends the process, as where any collection finds no room.
    pub fn abort<T>(self) -> ! {
        let layout = Layout::array::<T>(self.0).unwrap_or(Layout::new::<T>());
        std::alloc::handle_alloc_error(layout)
    }
}

/// Bytes that a thread's short lists take at most, about. They are made as they are wanted.
const LISTS: usize = 16 << 10;

/// What needs room.
pub type Room<T> = Result<T, NoRoom>;

/// An empty vector with room for `count` elements, which leaves some for short lists.
pub fn room<T>(count: usize) -> Room<Vec<T>> {
    let mut elements = Vec::new();
    elements.try_reserve_exact(count).map_err(|_| NoRoom(count))?;
    Vec::<u8>::new().try_reserve_exact(LISTS).map_err(|_| NoRoom(count))?;
    Ok(elements)
}

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

impl<T: Element> Memory<T> {
    /// A buffer of `len` elements of any value.
    pub fn buffer(&self, len: usize) -> Room<Buffer<'_, T>> {
        Ok(Buffer { memory: self, elements: self.take(len)?, len })
    }

    /// At least `len` elements of any value: the smallest buffer that is long enough, or a new one in
    /// place of the longest.
    fn take(&self, len: usize) -> Room<Vec<T>> {
        if len == 0 {
            return Ok(Vec::new());
        }
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spare.longest = spare.longest.max(len);
        let buffers = spare.buffers.iter().enumerate();
        let fitting = buffers.filter(|(_, buffer)| buffer.len() >= len);
        let smallest = fitting.min_by_key(|(_, buffer)| buffer.len()).map(|(index, _)| index);
        if let Some(index) = smallest {
            return Ok(spare.remove(index));
        }
        let replaced = spare.longest().map(|index| spare.remove(index));
        drop(spare);
        drop(replaced);
        let mut elements = room(len).or_else(|_| {
            self.free();
            room(len)
        })?;
        elements.resize(len, T::zero());
        Ok(elements)
    }

    /// Frees what nobody uses.
    fn free(&self) {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let buffers = std::mem::take(&mut spare.buffers);
        spare.len = 0;
        drop(spare);
        drop(buffers);
    }

    /// Whether there are none.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).buffers.is_empty()
    }

    /// Keeps a buffer for later, if there is room.
    pub fn give(&self, buffer: Vec<T>) {
        if buffer.is_empty() {
            return;
        }
        let scratch = rayon::current_num_threads() * (KEPT_PER_THREAD / size_of::<T>());
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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

/// A buffer for the time of a call.
pub struct Buffer<'m, T: Element> {
    memory: &'m Memory<T>,
    elements: Vec<T>,
    len: usize,
}

impl<T: Element> Buffer<'_, T> {
    /// The elements, and maybe more, to keep.
    pub fn into_elements(mut self) -> Vec<T> {
        std::mem::take(&mut self.elements)
    }
}

impl<T: Element> Deref for Buffer<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.elements[..self.len]
    }
}

impl<T: Element> DerefMut for Buffer<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.elements[..self.len]
    }
}

impl<T: Element> Drop for Buffer<'_, T> {
    fn drop(&mut self) {
        self.memory.give(std::mem::take(&mut self.elements));
    }
}

impl<T: Element> fmt::Debug for Buffer<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len).finish_non_exhaustive()
    }
}

/// What one thread works in; what each of them holds, a stage of a call says.
pub type Buffers<T> = [Vec<T>; 5];

/// How many threads share a stage of a call, and what each needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Need {
    pub threads: usize,
    /// Elements of each buffer.
    pub lens: [usize; 5],
    /// Bytes of tables and lists, which are made as they are wanted.
    pub tables: usize,
}

impl Need {
    /// Enough for either of two stages, of which one follows the other.
    pub fn or(self, other: Self) -> Self {
        Self {
            threads: self.threads.max(other.threads),
            lens: std::array::from_fn(|index| self.lens[index].max(other.lens[index])),
            tables: self.tables.max(other.tables),
        }
    }
}

/// The buffers of all threads that share a call's work.
pub struct Scratch<'m, T: Element> {
    memory: &'m Memory<T>,
    idle: Mutex<Vec<Buffers<T>>>,
}

impl<'m, T: Element> Scratch<'m, T> {
    /// Takes what is needed, and asks whether there is room for tables; where there isn't, what has been
    /// taken is freed.
    pub fn take(memory: &'m Memory<T>, Need { threads, lens, tables }: Need) -> Room<Self> {
        let mut idle = Vec::with_capacity(threads);
        for _ in 0..threads {
            let mut buffers = Buffers::default();
            for (buffer, len) in buffers.iter_mut().zip(lens).filter(|&(_, len)| len > 0) {
                *buffer = memory.take(len)?;
            }
            idle.push(buffers);
        }
        room::<u8>(tables.saturating_add(LISTS).saturating_mul(threads))?;
        Ok(Self { memory, idle: Mutex::new(idle) })
    }

    /// Calls `work` with the buffers of one thread. There are some for each thread: none begins another
    /// piece of work in the middle of one.
    pub fn lend<R>(&self, work: impl FnOnce(&mut Buffers<T>) -> R) -> R {
        let taken = self.idle().pop();
        debug_assert!(taken.is_some(), "more threads than were said");
        let mut buffers = taken.unwrap_or_default();
        let result = work(&mut buffers);
        self.idle().push(buffers);
        result
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Buffers<T>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Element> Drop for Scratch<'_, T> {
    fn drop(&mut self) {
        let buffers = std::mem::take(&mut *self.idle());
        buffers.into_iter().flatten().for_each(|buffer| self.memory.give(buffer));
    }
}

/// Sees to it that a buffer has `len` elements, which are written before they are read. What a call needs
/// was taken before: a longer one is made only where that was reckoned too short.
pub fn reserve<T: Element>(buffer: &mut Vec<T>, len: usize) {
    debug_assert!(buffer.len() >= len, "{} elements of {len}", buffer.len());
    if buffer.len() < len {
        *buffer = Vec::new();
        *buffer = vec![T::zero(); len];
    }
}

impl<T> fmt::Debug for Memory<T> {
    /// Without what is in the buffers, which may be megabytes of no meaning.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self(Mutex::new(Spare { buffers: Vec::new(), len: 0, longest: 0 }))
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
        assert_eq!(memory.take(4).unwrap().len(), 4);
        assert_eq!(memory.take(6).unwrap().len(), 6);
        assert_eq!(kept(&memory), [3]);
    }

    #[test]
    fn what_many_threads_needed_is_not_kept() {
        let memory: Memory<f32> = Memory::default();
        let mebibyte = 1 << 18;
        let kernel = 9 * mebibyte;
        let taken: Vec<_> =
            (0..64).flat_map(|_| [kernel, mebibyte].map(|len| memory.take(len).unwrap())).collect();
        taken.into_iter().for_each(|buffer| memory.give(buffer));
        let most = 2 * rayon::current_num_threads() * mebibyte + 2 * kernel;
        let sum: usize = kept(&memory).iter().sum();
        assert!(sum <= most && sum >= kernel, "{sum} of {most}");
    }
}
