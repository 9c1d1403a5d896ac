//! Sums over a rank's leaves, then over all ranks.

use std::mem::take;
use std::time::{Duration, Instant};

use crate::link::{Link, Pending};
use crate::tree::TreeSum;

/// What a step took.
#[derive(Debug, Clone, Default)]
pub struct Spent {
    /// This rank's leaves.
    pub computing: Duration,
    /// After that, until all sums were there.
    pub waiting: Duration,
    /// Each bucket's bytes, when it was ready before this rank's leaves were done, and what summing it took.
    pub buckets: Vec<Bucket>,
    /// What this rank sent.
    pub sent: usize,
}

/// Gradients that are summed at once.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    /// Of all of it.
    pub bytes: usize,
    /// From when it was ready until this rank's leaves were done.
    pub before_end: Duration,
    /// From the beginning to the end of its exchanges.
    pub time: Duration,
}

/// Sums of this rank's leaves, and those over all ranks that are on their way.
pub(crate) struct Sums<'a> {
    link: &'a Link,
    least_bytes: usize,
    trees: Vec<TreeSum>,
    lengths: Vec<usize>,
    bucket: Vec<f32>,
    pending: Vec<(Pending, usize, Instant)>,
    /// The first unit that isn't finite on this rank.
    pub spoiled: Option<usize>,
}

impl<'a> Sums<'a> {
    pub fn new(link: &'a Link, least_bytes: usize) -> Self {
        let (trees, lengths, bucket, pending) = Default::default();
        Self { link, least_bytes, trees, lengths, bucket, pending, spoiled: None }
    }

    /// Adds a leaf's gradient of a unit. After the last leaf's the sum goes out, with others that fill a bucket.
    pub fn add(&mut self, unit: usize, gradient: Vec<f32>, is_last: bool) {
        if unit == self.trees.len() {
            self.trees.push(TreeSum::default());
        }
        self.trees[unit].push(gradient);
        if !is_last {
            return;
        }
        let sum = self.trees[unit].take().expect("a rank has a power of two of leaves");
        if self.spoiled.is_none() && !sum.iter().all(|value| value.is_finite()) {
            self.spoiled = Some(unit);
        }
        self.lengths.push(sum.len());
        self.bucket.extend(sum);
        if size_of::<f32>() * self.bucket.len() >= self.least_bytes {
            self.send();
        }
    }

    fn send(&mut self) {
        let bucket = take(&mut self.bucket);
        let bytes = size_of::<f32>() * bucket.len();
        self.pending.push((self.link.reduce(bucket), bytes, Instant::now()));
    }

    /// The sums over all ranks, unit by unit. Leaves were computed from `start`, for the time `computing`.
    pub fn finish(&mut self, start: Instant, computing: Duration) -> (Vec<Vec<f32>>, Spent) {
        if !self.bucket.is_empty() {
            self.send();
        }
        let mut spent = Spent { computing, ..Spent::default() };
        let mut all = Vec::new();
        for (pending, bytes, ready) in self.pending.drain(..) {
            let reduced = pending.wait();
            all.extend(reduced.values);
            spent.sent += reduced.bytes;
            let before_end = computing.saturating_sub(ready - start);
            spent.buckets.push(Bucket { bytes, before_end, time: reduced.time });
        }
        spent.waiting = start.elapsed().saturating_sub(computing);
        let mut rest = &all[..];
        let units = self.lengths.iter().map(|&length| {
            let (unit, others) = rest.split_at(length);
            rest = others;
            unit.to_vec()
        });
        (units.collect(), spent)
    }
}
