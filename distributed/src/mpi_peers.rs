//! Ranks of an MPI job.

use std::io::{Write, stderr};
use std::process;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use mpi::Threading;
use mpi::environment::Universe;
use mpi::point_to_point::Status;
use mpi::request::{Request, Scope, scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;

use crate::exchange::Peers;

/// How long a rank that waits gives its processor to other threads and looks again at once, before it sleeps in between:
/// what is near comes within microseconds, and less than a sleep.
const ATTENTION: Duration = Duration::from_millis(1);
const PAUSE: Duration = Duration::from_micros(20);

/// The ranks of this process's job.
pub(crate) struct MpiPeers {
    world: SimpleCommunicator,
    timeout: Duration,
    universe: Universe,
}

/// Ends this process, and by that the job, if `call` takes longer than `timeout`.
fn within<R>(timeout: Duration, call: &str, action: impl FnOnce() -> R) -> R {
    thread::scope(|scope| {
        let (done, is_done) = channel::<()>();
        scope.spawn(move || {
            if is_done.recv_timeout(timeout) == Err(RecvTimeoutError::Timeout) {
                complain(&format!("{call} takes longer than {} s", timeout.as_secs()));
                process::abort();
            }
        });
        let result = action();
        drop(done);
        result
    })
}

/// In one piece, so that ranks don't write into each other's lines.
pub(crate) fn complain(message: &str) {
    let _ = stderr().write_all(format!("error: {message}; this ends all ranks\n").as_bytes());
}

impl MpiPeers {
    /// Joins the job; `None` if MPI doesn't start, or has been started.
    pub fn start(timeout: Duration) -> Option<Self> {
        let initialize = || mpi::initialize_with_threading(Threading::Funneled);
        let (universe, threading) = within(timeout, "MPI_Init", initialize)?;
        let world = universe.world();
        (threading >= Threading::Funneled).then_some(Self { world, timeout, universe })
    }

    /// Leaves the job, when all do.
    pub fn end(self) {
        within(self.timeout, "MPI_Finalize", || drop(self.universe));
    }

    /// Ends the whole job.
    pub fn abort(&self, message: &str) -> ! {
        complain(&format!("rank {}: {message}", self.rank()));
        self.world.abort(1)
    }

    fn finish<'a, D: ?Sized, S: Scope<'a>>(
        &self,
        whose: &str,
        mut request: Request<'a, D, S>,
    ) -> Status {
        let start = Instant::now();
        loop {
            match request.test() {
                Ok(status) => return status,
                Err(unfinished) => request = unfinished,
            }
            let waited = start.elapsed();
            if waited > self.timeout {
                // Not by unwinding, for which requests have to be finished.
                self.abort(&format!(
                    "no answer from {whose} for {} s: it stands still, or what it waits for does",
                    self.timeout.as_secs()
                ));
            }
            match waited < ATTENTION {
                true => thread::yield_now(),
                false => thread::sleep(PAUSE),
            }
        }
    }

    fn gather_lengths(&self, length: u64) -> Vec<u64> {
        let mut lengths = vec![0; self.size()];
        scope(|scope| {
            let gathering = self.world.immediate_all_gather_into(scope, &length, &mut lengths[..]);
            self.finish("other ranks", gathering);
        });
        lengths
    }
}

impl Peers for MpiPeers {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn exchange(&mut self, with: usize, send: &[f32], receive: &mut [f32]) {
        let process = self.world.process_at_rank(with as i32);
        let whose = format!("rank {with}");
        let expected = receive.len();
        let got = scope(|scope| {
            let receiving = process.immediate_receive_into(scope, receive);
            let sending = process.immediate_send(scope, send);
            let received = self.finish(&whose, receiving);
            self.finish(&whose, sending);
            received.count(f32::equivalent_datatype()) as usize
        });
        if got != expected {
            self.abort(&format!("expected {expected} values of {whose}, got {got}"));
        }
    }

    fn gather(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let lengths = self.gather_lengths(bytes.len() as u64);
        let longest = lengths.iter().copied().max().unwrap_or_default() as usize;
        if longest == 0 {
            return vec![Vec::new(); self.size()];
        }
        let mut padded = bytes.to_vec();
        padded.resize(longest, 0);
        let mut all = vec![0; longest * self.size()];
        scope(|scope| {
            let gathering = self.world.immediate_all_gather_into(scope, &padded[..], &mut all[..]);
            self.finish("other ranks", gathering);
        });
        let of_rank = all.chunks_exact(longest).zip(lengths);
        of_rank.map(|(bytes, length)| bytes[..length as usize].to_vec()).collect()
    }

    fn broadcast(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let length = self.gather_lengths(bytes.len() as u64)[0];
        bytes.resize(length as usize, 0);
        let root = self.world.process_at_rank(0);
        scope(|scope| {
            let sending = root.immediate_broadcast_into(scope, &mut bytes[..]);
            self.finish("rank 0", sending);
        });
        bytes
    }
}
