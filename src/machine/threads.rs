//! Spreads pieces of work over threads.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// Calls `work` on a thread of the pool.
pub fn enter<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}

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

/// Calls `work` on `threads` threads, or on this one only; each call takes pieces until none is left, so
/// that it can keep its buffers from one to the next.
pub fn share(threads: usize, pieces: usize, work: impl Fn(&Queue) + Sync) {
    let queue = Queue { len: pieces, next: AtomicUsize::new(0) };
    match threads.min(pieces) {
        0 | 1 => work(&queue),
        threads => (0..threads).into_par_iter().with_max_len(1).for_each(|_| work(&queue)),
    }
}

/// Pieces of work in stages: none of a stage is given out before all of the stages before it are done. One
/// call of the thread pool for all of them, since a stage may be shorter than waking a thread takes.
pub struct Stages {
    /// Past the last piece of each stage, counted through all.
    ends: Vec<usize>,
    next: AtomicUsize,
    done: AtomicUsize,
}

/// A piece of a stage, which is done when this is dropped.
pub struct Piece<'a> {
    pub stage: usize,
    pub index: usize,
    done: &'a AtomicUsize,
}

impl Drop for Piece<'_> {
    fn drop(&mut self) {
        self.done.fetch_add(1, Ordering::Release);
    }
}

/// Times that a thread looks whether a stage is done before it lets others have its core.
const LOOKS: usize = 1 << 12;

impl Stages {
    /// The next piece that nobody has taken, once the stages before its own are done. Whoever waits does so
    /// for pieces that other threads are at work on, which never wait for it.
    pub fn take(&self) -> Option<Piece<'_>> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let stage = self.ends.partition_point(|&end| end <= index);
        if stage == self.ends.len() {
            return None;
        }
        let before = if stage == 0 { 0 } else { self.ends[stage - 1] };
        let mut looks = 0;
        while self.done.load(Ordering::Acquire) < before {
            looks += 1;
            if looks < LOOKS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        Some(Piece { stage, index: index - before, done: &self.done })
    }
}

/// Calls `work` on `threads` threads, or on this one only, to take the pieces of stages until none is left.
pub fn share_stages(
    threads: usize,
    stages: impl Iterator<Item = usize>,
    work: impl Fn(&Stages) + Sync,
) {
    let mut sum = 0;
    let ends: Vec<usize> = stages
        .map(|pieces| {
            sum += pieces;
            sum
        })
        .collect();
    let stages = Stages { ends, next: AtomicUsize::new(0), done: AtomicUsize::new(0) };
    match threads.min(sum) {
        0 | 1 => work(&stages),
        threads => (0..threads).into_par_iter().with_max_len(1).for_each(|_| work(&stages)),
    }
}

/// Calls `f` with the index and the elements of each chunk, the last of which may be shorter, on one
/// thread or on all.
pub fn for_each_chunk<T: Send>(
    threads: usize,
    data: &mut [T],
    size: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    if size == 0 {
        return;
    }
    if threads == 1 {
        let chunks = data.chunks_mut(size).enumerate();
        chunks.for_each(|(index, chunk)| f(index, chunk));
    } else {
        let chunks = data.par_chunks_mut(size).enumerate();
        chunks.for_each(|(index, chunk)| f(index, chunk));
    }
}

/// Cuts `0..len` into `parts` ranges, at most `len`, whose sizes differ by one at most.
pub fn cut(len: usize, parts: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let parts = parts.min(len);
    (0..parts).map(move |part| cut_at(len, parts, part))
}

/// One of the ranges of [`cut`], for at most `len` parts.
pub fn cut_at(len: usize, parts: usize, part: usize) -> Range<usize> {
    let bound = |part: usize| part * (len / parts) + part.min(len % parts);
    bound(part)..bound(part + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_each_other_and_differ_by_one_at_most() {
        for len in 0..40 {
            for parts in 1..50 {
                let ranges: Vec<_> = cut(len, parts).collect();
                assert_eq!(ranges.len(), parts.min(len));
                let mut end = 0;
                for (part, range) in ranges.iter().enumerate() {
                    assert_eq!((range.start, range), (end, &cut_at(len, ranges.len(), part)));
                    assert!(range.len() == len / parts || range.len() == len / parts + 1);
                    assert!(!range.is_empty());
                    end = range.end;
                }
                assert_eq!(end, len);
            }
        }
    }

    #[test]
    fn every_piece_is_taken_once_by_any_number_of_threads() {
        for threads in [1, 2, 5] {
            for pieces in [0, 1, 7, 100] {
                let taken: Vec<AtomicUsize> = (0..pieces).map(|_| AtomicUsize::new(0)).collect();
                share(threads, pieces, |queue| {
                    while let Some(piece) = queue.take() {
                        taken[piece].fetch_add(1, Ordering::Relaxed);
                    }
                });
                assert!(taken.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn no_piece_begins_before_the_stages_before_it_are_done() {
        let stages = [3, 0, 7, 1, 40];
        for threads in [1, 2, 5] {
            let done: Vec<AtomicUsize> = stages.iter().map(|_| AtomicUsize::new(0)).collect();
            share_stages(threads, stages.into_iter(), |queue| {
                while let Some(piece) = queue.take() {
                    assert!(piece.index < stages[piece.stage]);
                    for (done, all) in done.iter().zip(stages).take(piece.stage) {
                        assert_eq!(done.load(Ordering::Relaxed), all);
                    }
                    done[piece.stage].fetch_add(1, Ordering::Relaxed);
                }
            });
            let done: Vec<_> = done.iter().map(|done| done.load(Ordering::Relaxed)).collect();
            assert_eq!(done, stages);
        }
    }

    #[test]
    fn chunks_have_their_own_elements() {
        for threads in [1, 3] {
            let mut data = vec![0; 10];
            for_each_chunk(threads, &mut data, 4, |index, chunk| chunk.fill(index));
            assert_eq!(data, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]);
            for_each_chunk(threads, &mut data, 0, |_, _| unreachable!("chunks of nothing"));
        }
    }
}
