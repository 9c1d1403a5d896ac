//! Sums over all ranks, in the order of their tree.

use crate::tree::add;

/// What a rank can do with the others. Every call is made by all ranks, in the same order.
pub trait Peers {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// The number of ranks, a power of two.
    fn size(&self) -> usize;

    /// Sends values to another rank, and gets from it as many as `receive` has room for.
    fn exchange(&mut self, with: usize, send: &[f32], receive: &mut [f32]);

    /// What every rank put in, by rank.
    fn gather(&mut self, bytes: &[u8]) -> Vec<Vec<u8>>;

    /// What rank 0 put in; what the others did doesn't matter.
    fn broadcast(&mut self, bytes: Vec<u8>) -> Vec<u8>;
}

/// Sums `values` over all ranks: first with the neighbour, then with the neighbouring pair, and so on, each rank in the
/// end for its own part of the values; then the parts go back the same way. Gives how many bytes this rank sent.
///
/// For `n` ranks these are `2·log₂ n` messages and `2(n − 1)/n` of the values, the fewest there can be of
/// (R. Thakur, R. Rabenseifner, W. Gropp: Optimization of collective communication operations in MPICH, 2005). Their
/// halving starts with the far half of ranks; here it starts with neighbours, since the tree of sums does.
pub fn all_reduce(peers: &mut impl Peers, values: &mut [f32]) -> usize {
    let (rank, size) = (peers.rank(), peers.size());
    let mut sent = 0;
    let mut mine = 0..values.len();
    // What each halving started from.
    let mut whole = Vec::new();
    let distances = || (0..size.ilog2()).map(|level| 1 << level);
    for distance in distances() {
        let middle = mine.start + mine.len() / 2;
        let halves = [mine.start..middle, middle..mine.end];
        let [kept, given] = if rank & distance == 0 {
            halves
        } else {
            let [low, high] = halves;
            [high, low]
        };
        let mut received = vec![0.0; kept.len()];
        peers.exchange(rank ^ distance, &values[given.clone()], &mut received);
        // The order of two summands doesn't change a bit.
        add(&mut values[kept.clone()], &received);
        sent += given.len();
        whole.push(mine);
        mine = kept;
    }
    for (distance, whole) in distances().zip(whole).rev() {
        let other =
            if mine.start == whole.start { mine.end..whole.end } else { whole.start..mine.start };
        let mut received = vec![0.0; other.len()];
        peers.exchange(rank ^ distance, &values[mine.clone()], &mut received);
        values[other].copy_from_slice(&received);
        sent += mine.len();
        mine = whole;
    }
    size_of::<f32>() * sent
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use proptest::prelude::*;

    use super::*;
    use crate::tree::TreeSum;

    /// Ranks that are threads: a channel from each to each.
    pub(crate) struct Threads {
        rank: usize,
        to: Vec<Sender<Vec<u8>>>,
        from: Vec<Receiver<Vec<u8>>>,
    }

    impl Threads {
        pub(crate) fn new(size: usize) -> Vec<Self> {
            let mut peers: Vec<_> =
                (0..size).map(|rank| Self { rank, to: Vec::new(), from: Vec::new() }).collect();
            for from in 0..size {
                for to in 0..size {
                    let (sender, receiver) = channel();
                    peers[from].to.push(sender);
                    peers[to].from.push(receiver);
                }
            }
            peers
        }

        fn receive(&self, from: usize) -> Vec<u8> {
            self.from[from].recv().expect("the other rank is there")
        }
    }

    impl Peers for Threads {
        fn rank(&self) -> usize {
            self.rank
        }

        fn size(&self) -> usize {
            self.to.len()
        }

        fn exchange(&mut self, with: usize, send: &[f32], receive: &mut [f32]) {
            let bytes = send.iter().flat_map(|value| value.to_le_bytes()).collect();
            self.to[with].send(bytes).expect("the other rank is there");
            let bytes = self.receive(with);
            assert_eq!(bytes.len(), size_of_val(receive));
            for (value, &bytes) in receive.iter_mut().zip(bytes.as_chunks().0) {
                *value = f32::from_le_bytes(bytes);
            }
        }

        fn gather(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
            self.to.iter().for_each(|to| to.send(bytes.to_vec()).expect("the other rank is there"));
            (0..self.size()).map(|from| self.receive(from)).collect()
        }

        fn broadcast(&mut self, bytes: Vec<u8>) -> Vec<u8> {
            self.gather(&bytes).swap_remove(0)
        }
    }

    /// What `rank` gives, on each rank of `size`.
    pub(crate) fn on_each<R: Send>(size: usize, rank: impl Fn(Threads) -> R + Sync) -> Vec<R> {
        thread::scope(|scope| {
            let threads: Vec<_> =
                Threads::new(size).into_iter().map(|peers| scope.spawn(|| rank(peers))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        })
    }

    proptest! {
        #[test]
        fn every_rank_has_the_bits_of_the_tree(
            values in (0_u32..5, 0_usize..20).prop_flat_map(|(levels, length)| {
                let values = prop::collection::vec(-1e10_f32..1e10, length);
                prop::collection::vec(values, 1 << levels)
            }),
        ) {
            let mut tree = TreeSum::default();
            values.iter().for_each(|values| tree.push(values.clone()));
            let expected = tree.take();
            let size = values.len();
            let all = on_each(size, |mut peers| {
                let mut sum = values[peers.rank()].clone();
                let bytes = all_reduce(&mut peers, &mut sum);
                (sum, bytes)
            });
            let mut sent = 0;
            for (sum, bytes) in all {
                prop_assert_eq!(Some(sum), expected.clone());
                sent += bytes;
            }
            // As many as there can be at least: each value has to reach and leave all but one rank.
            prop_assert_eq!(sent, 2 * (size - 1) * size_of_val(&values[0][..]));
        }
    }
}
