//! The ranks of a training, joined.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::exchange::{Peers, all_reduce};
use crate::mpi_peers::{MpiPeers, complain};

/// A rank's way to the others, on the thread that computes. What it asks for is done in that order on another thread.
/// Every call must be made by all ranks, in the same order.
#[derive(Debug)]
pub struct Link {
    rank: usize,
    size: usize,
    jobs: Sender<Job>,
}

/// A sum that is on its way.
#[derive(Debug)]
pub struct Pending(Receiver<Reduced>);

/// A sum over all ranks, and what it took.
#[derive(Debug)]
pub struct Reduced {
    /// In the same bits on every rank.
    pub values: Vec<f32>,
    /// What this rank sent.
    pub bytes: usize,
    /// From when this rank began, the wait for others' values in it.
    pub time: Duration,
}

enum Job {
    Reduce(Vec<f32>, Sender<Reduced>),
    Gather(Vec<u8>, Sender<Vec<Vec<u8>>>),
    Broadcast(Vec<u8>, Sender<Vec<u8>>),
}

impl Link {
    /// This rank, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The number of ranks.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Starts to sum `values` over all ranks, in the order of [`all_reduce`]'s tree. A rank with another number of values
    /// ends the job.
    pub fn reduce(&self, values: Vec<f32>) -> Pending {
        Pending(self.ask(|answer| Job::Reduce(values, answer)))
    }

    /// What every rank put in, by rank.
    pub fn gather(&self, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        self.ask(|answer| Job::Gather(bytes, answer)).recv().expect(SERVED)
    }

    /// What rank 0 put in; what the others did doesn't matter.
    pub fn broadcast(&self, bytes: Vec<u8>) -> Vec<u8> {
        self.ask(|answer| Job::Broadcast(bytes, answer)).recv().expect(SERVED)
    }

    /// `say`, on rank 0 alone.
    pub(crate) fn on_rank_0(
        &self,
        mut say: impl FnMut(&dyn Display) -> io::Result<()>,
    ) -> impl FnMut(&dyn Display) -> Result<()> {
        let rank = self.rank;
        move |line| match rank {
            0 => say(line).map_err(|error| Error::local(format!("standard output: {error}"))),
            _ => Ok(()),
        }
    }

    fn ask<A>(&self, job: impl FnOnce(Sender<A>) -> Job) -> Receiver<A> {
        let (answer, answered) = channel();
        self.jobs.send(job(answer)).expect(SERVED);
        answered
    }
}

impl Pending {
    /// The sum, waited for.
    pub fn wait(self) -> Reduced {
        self.0.recv().expect(SERVED)
    }
}

const SERVED: &str = "the thread that serves a link ends after it";

/// Runs `body` on every rank of the job that `mpirun` started, or on this process alone. MPI is called by the thread
/// that calls this one, `body` is on another, so that any MPI will do that allows threads (`MPI_THREAD_FUNNELED`).
///
/// Messages of errors go to standard error. An error of one rank, a panic in it, and a rank that doesn't answer for
/// `timeout` end the others too.
pub fn run(timeout: Duration, body: impl FnOnce(&Link) -> Result<()> + Send) -> ExitCode {
    let Some(mut peers) = MpiPeers::start(timeout) else {
        complain("MPI doesn't start, or was started before");
        return ExitCode::FAILURE;
    };
    let code = match join(&mut peers, body) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_common() => {
            if peers.rank() == 0 {
                complain(&error.to_string());
            }
            ExitCode::FAILURE
        }
        Err(error) => peers.abort(&error.to_string()),
    };
    // Ranks end within a timeout of each other.
    peers.gather(&[]);
    peers.end();
    code
}

/// Runs `body` on a thread of its own, and here what it asks its link for.
///
/// # Errors
/// Of `body`, where a panic is one; for a number of ranks that isn't a power of two.
pub fn join<R: Send>(
    peers: &mut impl Peers,
    body: impl FnOnce(&Link) -> Result<R> + Send,
) -> Result<R> {
    let (rank, size) = (peers.rank(), peers.size());
    if !size.is_power_of_two() {
        return Err(Error::common(format!(
            "expected 1, 2, 4 or another power of two of processes, got {size}: gradients are summed in pairs"
        )));
    }
    let (jobs, queue) = channel();
    let link = Link { rank, size, jobs };
    thread::scope(|scope| {
        let computing = scope.spawn(move || body(&link));
        for job in queue {
            serve(peers, job);
        }
        computing.join().unwrap_or_else(|_| Err(Error::local("panicked")))
    })
}

fn serve(peers: &mut impl Peers, job: Job) {
    // Who asked may have failed meanwhile, and not wait for the answer.
    match job {
        Job::Reduce(mut values, answer) => {
            let start = Instant::now();
            let bytes = all_reduce(peers, &mut values);
            let _ = answer.send(Reduced { values, bytes, time: start.elapsed() });
        }
        Job::Gather(bytes, answer) => {
            let _ = answer.send(peers.gather(&bytes));
        }
        Job::Broadcast(bytes, answer) => {
            let _ = answer.send(peers.broadcast(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::tests::on_each;

    #[test]
    fn sums_are_by_order_of_their_start() {
        let all = on_each(2, |mut peers| {
            join(&mut peers, |link| {
                let rank = link.rank() as f32;
                let sums = [link.reduce(vec![rank; 3]), link.reduce(vec![10.0 + rank])];
                Ok(sums.map(|sum| sum.wait().values))
            })
        });
        assert_eq!(all, [(); 2].map(|()| Ok([vec![1.0; 3], vec![21.0]])));
    }

    #[test]
    fn all_have_what_rank_0_has() {
        let all = on_each(4, |mut peers| {
            join(
                &mut peers,
                |link| Ok(link.broadcast(vec![link.rank() as u8 + 7; link.rank() + 1])),
            )
        });
        assert_eq!(all, [(); 4].map(|()| Ok(vec![7])));
    }

    #[test]
    fn a_panic_is_an_error_of_its_rank() {
        let all = on_each(1, |mut peers| join::<()>(&mut peers, |_| panic!("as it should")));
        assert_eq!(all, [Err(Error::local("panicked"))]);
    }

    #[test]
    fn three_ranks_are_refused_by_all() {
        for outcome in on_each(3, |mut peers| join(&mut peers, |_| Ok(()))) {
            let error = outcome.expect_err("refused");
            assert!(error.is_common() && error.to_string().contains("got 3"), "{error}");
        }
    }
}
