//! Spreads pieces of work over threads.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// Pieces of work, numbered, that threads take one after the other. Which thread takes which doesn't
/// matter to results, since each piece owns what it writes.
pub struct Queue {
    len: usize,
    next: AtomicUsize,
}

impl Queue {
    /// The next piece that nobody has taken.
    pub fn take(&self) -> Option<usize> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        (next < self.len).then_some(next)
    }
}

/// Calls `work` on so many threads, or on this one only; each call takes pieces until none is left, so
/// that it can keep its buffers from one to the next.
pub fn share(threads: usize, pieces: usize, work: impl Fn(&Queue) + Sync) {
    let queue = Queue { len: pieces, next: AtomicUsize::new(0) };
    match threads.min(pieces) {
        0 | 1 => work(&queue),
        threads => (0..threads).into_par_iter().with_max_len(1).for_each(|_| work(&queue)),
    }
}
