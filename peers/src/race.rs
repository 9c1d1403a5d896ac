//! Timing contenders in turn.

#[path = "../../benches/cases/turns.rs"]
mod turns;

use std::hint::black_box;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::data::{Checksum, Element, Exact};
use turns::{in_turn, median};

/// How contenders are timed.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many turns each contender has.
    pub rounds: usize,
    /// How long a turn is, about; it has at least one call.
    pub turn: Duration,
    /// The pause before a turn, in which the threads of the contender before it fall asleep.
    pub pause: Duration,
}

/// A function to be timed.
pub trait Contender {
    /// Calls it once and gives checksums of its results.
    fn check(&mut self) -> Result<Vec<Checksum>>;

    /// Calls it once and gives the [largest error](Exact::largest_error) of its first result.
    fn error(&mut self, exact: &Exact) -> Result<f64>;

    /// The median time in seconds of some calls, after one call that isn't timed: the contenders
    /// before this one have filled the caches.
    fn turn(&mut self, calls: usize) -> Result<f64>;
}

/// Where a call shows what it computed.
pub enum Results<'a> {
    /// Nobody looks.
    Unseen,
    Checksums(Vec<Checksum>),
    /// The error of the first result, once there is one.
    Error(&'a Exact, Option<f64>),
}

impl Results<'_> {
    pub fn show<T: Element>(&mut self, values: &[T]) {
        match self {
            Self::Unseen => {
                black_box(values);
            }
            Self::Checksums(checksums) => checksums.push(Checksum::new(values)),
            Self::Error(exact, error) => {
                error.get_or_insert_with(|| exact.largest_error(values));
            }
        }
    }

    /// Whether somebody looks, so that it's worth it to make an array contiguous.
    pub fn wanted(&self) -> bool {
        !matches!(self, Self::Unseen)
    }
}

type Call = dyn FnMut(&mut Results) -> Result<()> + Send;

/// A contender of this process. It shows all its results, and has freed what it allocated when it
/// returns: that is part of its time.
pub struct Local(Box<Call>);

impl Local {
    pub fn new(call: impl FnMut(&mut Results) -> Result<()> + Send + 'static) -> Self {
        Self(Box::new(call))
    }

    /// Runs in a pool of its own with so many threads.
    pub fn on_threads(self, threads: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        let mut call = self.0;
        Ok(Self::new(move |results| pool.install(|| call(results))))
    }
}

impl Contender for Local {
    fn check(&mut self) -> Result<Vec<Checksum>> {
        let mut results = Results::Checksums(Vec::new());
        (self.0)(&mut results)?;
        match results {
            Results::Checksums(checksums) => Ok(checksums),
            _ => bail!("a contender took its results away"),
        }
    }

    fn error(&mut self, exact: &Exact) -> Result<f64> {
        let mut results = Results::Error(exact, None);
        (self.0)(&mut results)?;
        match results {
            Results::Error(_, Some(error)) => Ok(error),
            _ => bail!("a contender showed no result"),
        }
    }

    fn turn(&mut self, calls: usize) -> Result<f64> {
        let mut results = Results::Unseen;
        (self.0)(&mut results)?;
        let mut times = Vec::with_capacity(calls);
        for _ in 0..calls {
            let start = Instant::now();
            (self.0)(&mut results)?;
            times.push(start.elapsed().as_secs_f64());
        }
        Ok(median(times))
    }
}

/// The median over rounds of each contender's turns; in a round, each has one turn.
pub fn race(contenders: &mut [Box<dyn Contender>], plan: &Plan) -> Result<Vec<f64>> {
    const MOST_CALLS: f64 = 1000.0;
    let mut entrants = Vec::new();
    for contender in contenders {
        let once = contender.turn(1)?;
        let calls = (plan.turn.as_secs_f64() / once).clamp(1.0, MOST_CALLS) as usize;
        entrants.push((contender, calls));
    }
    in_turn(plan.rounds, &mut entrants, |(contender, calls)| {
        sleep(plan.pause);
        contender.turn(*calls)
    })
}

/// The time in seconds of a lone contender.
pub fn time(contender: Box<dyn Contender>, plan: &Plan) -> Result<f64> {
    race(&mut [contender], plan)?.pop().context("no time was measured")
}
