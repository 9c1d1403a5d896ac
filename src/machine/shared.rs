//! One output array, written by many threads at disjoint places.

use std::marker::PhantomData;

/// A mutable slice that threads write disjoint parts of.
pub struct Shared<'a, T> {
    data: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: `Shared` only gives pointers, and whoever writes through one promises that no other thread has
// that place; elements may move between threads since `T: Send`.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub fn new(data: &'a mut [T]) -> Self {
        Self { len: data.len(), data: data.as_mut_ptr(), borrow: PhantomData }
    }

    /// Where element `start` is, which `len - 1` more follow.
    #[inline(always)]
    pub fn at(&self, start: usize, len: usize) -> *mut T {
        assert!(start <= self.len && len <= self.len - start);
        self.data.wrapping_add(start)
    }
}
