//! A training, as every rank does it.

use std::fmt;
use std::time::{Duration, Instant};

use crate::agreement::{Facts, agree};
use crate::data::{Data, shuffled};
use crate::error::{Error, Result};
use crate::link::Link;
use crate::net::Unit;
use crate::options::Options;
use crate::session::{Drill, Fault};
use crate::shard::Shard;
use crate::state::State;
use crate::sums::{Spent, Sums};

/// Test images that are looked at at once.
const TEST_BATCH: usize = 250;

/// A step's gradient.
#[derive(Debug)]
pub struct Gradient {
    /// The mean of the cross-entropies, before the step.
    pub loss: f32,
    /// Unit by unit.
    pub units: Vec<Vec<f32>>,
    /// What it took.
    pub spent: Spent,
}

/// One rank of a training.
pub struct Trainer<'a> {
    options: &'a Options,
    link: &'a Link,
    shard: Shard,
    data: &'a Data,
    /// What the numbers follow from.
    pub(crate) facts: Facts,
    pub(crate) state: State,
    pub(crate) drill: Option<Drill>,
    order: Vec<usize>,
    epoch: Option<u32>,
}

impl fmt::Debug for Trainer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trainer")
            .field("shard", &self.shard)
            .field("step", &self.state.step)
            .finish()
    }
}

impl<'a> Trainer<'a> {
    /// A rank before its first step, with rank 0's parameters.
    ///
    /// # Errors
    /// For options that can't be, and for ranks that disagree.
    pub fn new(link: &'a Link, options: &'a Options, data: &'a Data) -> Result<Self> {
        let facts = options.facts(data);
        agree(link, &facts)?;
        agree(link, &vec![("bucket", options.bucket.to_string()), ("program", program())])?;
        let shard = Shard::new(options.batch, options.leaf, link.rank(), link.size())?;
        if data.train.len() < options.batch {
            let (folder, found) = (options.data.display(), data.train.len());
            return Err(Error::common(format!(
                "{folder}: expected at least {} training images, one batch, found {found}",
                options.batch
            )));
        }
        let mut state = State::new(options)?;
        state.broadcast(link)?;
        Ok(Self {
            options,
            link,
            shard,
            data,
            facts,
            state,
            drill: None,
            order: Vec::new(),
            epoch: None,
        })
    }

    /// Bytes of a gradient of composed kernels, scales and biases, and of one of `D`, `W`, scales and biases.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let mut net = self.state.net.clone();
        let (mut parameters, mut kernels) = (0, 0);
        net.parameters(|_, _, values| parameters += size_of_val(values));
        for (_, unit) in net.fold().units_mut() {
            kernels += match unit {
                Unit::Conv(conv) => conv.parameters().map(|(_, values)| size_of_val(values)).sum(),
                Unit::Scale(scale) => size_of_val(scale),
            };
        }
        (kernels, parameters)
    }

    /// Steps of an epoch: whole batches only.
    pub fn per_epoch(&self) -> usize {
        self.data.train.len() / self.options.batch
    }

    /// One step, with the gradient that it took.
    ///
    /// # Errors
    /// For a gradient or a parameter that isn't finite, on all ranks. The parameters are of no use then.
    pub fn step(&mut self) -> Result<Gradient> {
        let gradient = self.gradient()?;
        let Self { options, state, .. } = self;
        state.net.descend(options.descent(), &gradient.units, &mut state.velocities)?;
        // Before it becomes a checkpoint. All ranks have the same bits, and so find the same.
        state.expect_finite().map_err(Error::common)?;
        state.step += 1;
        Ok(gradient)
    }

    /// The gradient of the next step's batch.
    fn gradient(&mut self) -> Result<Gradient> {
        let (epoch, step) =
            (self.state.step / self.per_epoch(), self.state.step % self.per_epoch());
        if self.epoch != Some(epoch as u32) {
            self.order = shuffled(self.data.train.len(), self.options.seed, epoch as u32 + 1);
            self.epoch = Some(epoch as u32);
        }
        let start = Instant::now();
        // On a thread of the pool, so that small layers find its other threads awake. Other ranks are waited for elsewhere:
        // the pool may have work of theirs.
        let mut sums = rayon::scope(|_| self.leaves(step))?;
        let computing = start.elapsed();
        let (mut units, spent) = sums.finish(start, computing);
        self.expect_finite(&units, sums.spoiled)?;
        let loss = units.pop().expect("the loss is the last")[0];
        Ok(Gradient { loss, units, spent })
    }

    /// Differentiates this rank's leaves of a step of the epoch; sums over ranks are on their way then.
    fn leaves(&self, step: usize) -> Result<Sums<'a>> {
        let net = self.state.net.fold();
        let mut sums = Sums::new(self.link, self.options.bucket);
        let leaves = self.shard.leaves();
        for (index, images) in self.shard.of_step(&self.order, step).enumerate() {
            let (x, labels) = self.data.train.batch(images.iter().copied());
            let is_last = index + 1 == leaves;
            let mut unit = 0;
            let loss = net.backward(&x, &labels, self.shard.batch(), |mut gradient| {
                if unit == 0 && index == 0 {
                    self.drill(&mut gradient);
                }
                sums.add(unit, gradient, is_last);
                unit += 1;
            })?;
            // With the last unit's bucket, so that it costs no message of its own.
            sums.add(unit, vec![loss], is_last);
        }
        Ok(sums)
    }

    fn drill(&self, gradient: &mut [f32]) {
        match self.drill {
            Some(Drill { fault, rank, step })
                if rank == self.link.rank() && step == self.state.step =>
            {
                match fault {
                    Fault::Nan => gradient[0] = f32::NAN,
                    Fault::Panic => panic!("a fire drill"),
                    Fault::Hang => std::thread::sleep(Duration::MAX),
                }
            }
            _ => {}
        }
    }

    /// All ranks have the same sum, and so find the same.
    fn expect_finite(&self, units: &[Vec<f32>], spoiled: Option<usize>) -> Result<()> {
        if units.iter().flatten().all(|value| value.is_finite()) {
            return Ok(());
        }
        let names: Vec<_> = self.state.net.clone().units_mut().map(|(name, _)| name).collect();
        let mine = spoiled.map_or("", |unit| names.get(unit).map_or("the loss", |name| name));
        let all = self.link.gather(mine.as_bytes().to_vec());
        let of_ranks = all.iter().enumerate().filter(|(_, unit)| !unit.is_empty());
        let of_ranks: Vec<_> = of_ranks
            .map(|(rank, unit)| format!("rank {rank} ({})", String::from_utf8_lossy(unit)))
            .collect();
        let step = self.state.step;
        let whose =
            if of_ranks.is_empty() { "the sum over ranks".to_owned() } else { of_ranks.join(", ") };
        Err(Error::common(format!(
            "step {step}: expected finite gradients, got NaN or infinity: {whose}"
        )))
    }

    /// How many test images are classified correctly.
    ///
    /// # Errors
    /// As [`Net::correct`](crate::net::Net::correct).
    pub fn correct(&self) -> Result<usize> {
        let net = self.state.net.fold();
        let mut correct = 0_u64;
        let part = self.shard.part(self.data.test.len());
        for start in part.clone().step_by(TEST_BATCH) {
            let (x, labels) = self.data.test.batch(start..part.end.min(start + TEST_BATCH));
            correct += net.correct(&x, &labels)? as u64;
        }
        let all = self.link.gather(correct.to_le_bytes().to_vec());
        let counts = all.concat();
        Ok(counts.as_chunks().0.iter().map(|&count| u64::from_le_bytes(count) as usize).sum())
    }
}

/// A checksum of this program: ranks of other builds may compute other numbers.
fn program() -> String {
    let bytes = std::env::current_exe().and_then(std::fs::read);
    bytes.map_or("unknown".to_owned(), |bytes| format!("{:08x}", crc32fast::hash(&bytes)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::exchange::tests::on_each;
    use crate::link::join;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        options: Options,
    }

    /// A step of two ranks, after `prepare` of each.
    fn step_of_two(
        words: &str,
        prepare: impl Fn(&mut Trainer<'_>) + Sync,
    ) -> Vec<Result<Gradient>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/mnist/data");
        let data = Data::load(&folder).expect("the example's data");
        let options = Words::parse_from(words.split_whitespace()).options;
        on_each(2, |mut peers| {
            join(&mut peers, |link| {
                let mut trainer = Trainer::new(link, &options, &data)?;
                prepare(&mut trainer);
                trainer.step()
            })
        })
    }

    /// The head's gradients go out before the stem's are there.
    #[test]
    fn sums_begin_during_the_backward_pass() -> Result<()> {
        for gradient in step_of_two("_ --net residual --bucket 1000 --blocks 2", |_| {}) {
            let gradient = gradient?;
            let buckets = gradient.spent.buckets;
            assert!(buckets.len() > 5);
            assert!(buckets.is_sorted_by(|a, b| a.before_end >= b.before_end));
            assert!(buckets[0].before_end > Duration::ZERO);
            let bytes: usize = gradient.units.iter().map(|unit| size_of_val(&unit[..])).sum();
            // The last has the loss, too.
            assert_eq!(buckets.iter().map(|bucket| bucket.bytes).sum::<usize>(), bytes + 4);
        }
        // A net smaller than a bucket goes at once, when all of it is there.
        for gradient in step_of_two("_ --net tutorial", |_| {}) {
            assert_eq!(gradient?.spent.buckets.len(), 1);
        }
        Ok(())
    }

    #[test]
    fn parameters_that_are_lost_end_a_training() {
        let spoil = |trainer: &mut Trainer<'_>| trainer.state.velocities.0[0][0] = f32::INFINITY;
        for spoiled in step_of_two("_", spoil) {
            let error = spoiled.expect_err("not a number");
            let expected = "step 0: expected finite parameters, got NaN or infinity: stem.2 w";
            assert_eq!(error, Error::common(expected));
        }
    }
}
