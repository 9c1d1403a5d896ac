//! Spreads pieces of work over threads.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// Pieces of work that threads take one after the other. Which thread takes which doesn't matter to
/// results, since each piece owns what it writes.
pub struct Queue<'a, W> {
    tasks: &'a [W],
    next: AtomicUsize,
}

impl<W> Queue<'_, W> {
    /// The next piece that nobody has taken.
    pub fn take(&self) -> Option<&W> {
        self.tasks.get(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// Calls `work` on so many threads, or on this one only; each call takes tasks until none is left, so
/// that it can keep its buffers from one to the next.
pub fn share<W: Sync>(threads: usize, tasks: &[W], work: impl Fn(&Queue<W>) + Sync) {
    let queue = Queue { tasks, next: AtomicUsize::new(0) };
    match threads.min(tasks.len()) {
        0 | 1 => work(&queue),
        threads => (0..threads).into_par_iter().with_max_len(1).for_each(|_| work(&queue)),
    }
}
