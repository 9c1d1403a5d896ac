//! A training from its first step to its last.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Args;

use crate::agreement::{Facts, agree};
use crate::checkpoint;
use crate::data::load;
use crate::error::{Error, Result};
use crate::link::Link;
use crate::options::Options;
use crate::sums::Spent;
use crate::train::{Gradient, Trainer};

/// How long a training goes on, and what is kept and said of it.
#[derive(Args, Clone, Debug)]
pub struct Session {
    #[command(flatten)]
    training: Options,

    /// Passes over all images
    #[arg(long, default_value_t = 5)]
    epochs: u32,

    /// Ends after that many steps, if that is sooner
    #[arg(long)]
    steps: Option<usize>,

    /// Prints the loss every that many steps
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    report: u32,

    /// A safetensors file that rank 0 puts parameters and velocities into; `do-conv fold` reads it
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,

    /// Steps from one checkpoint to the next; the last step always gives one
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,

    /// Goes on from the checkpoint, if there is one
    #[arg(long, requires = "checkpoint")]
    resume: bool,

    /// A fire drill: what happens if that rank has NaN as a gradient in that step, panics or hangs in it
    #[arg(long, value_name = "nan|panic|hang:RANK:STEP")]
    drill: Option<Drill>,
}

/// What goes wrong in a fire drill, on which rank and in which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drill {
    pub(crate) fault: Fault,
    pub(crate) rank: usize,
    pub(crate) step: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Nan,
    Panic,
    Hang,
}

impl FromStr for Drill {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parse = || {
            let mut parts = text.split(':');
            let fault = match parts.next()? {
                "nan" => Fault::Nan,
                "panic" => Fault::Panic,
                "hang" => Fault::Hang,
                _ => return None,
            };
            let (rank, step) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            parts.next().is_none().then_some(Self { fault, rank, step })
        };
        parse()
            .ok_or_else(|| "expected nan, panic or hang, a rank and a step, as nan:1:20".to_owned())
    }
}

impl Session {
    /// What ranks must agree on to do the same at the same time, beside what numbers follow from.
    fn facts(&self) -> Facts {
        vec![
            ("command", "train".to_owned()),
            ("epochs", self.epochs.to_string()),
            ("steps", format!("{:?}", self.steps)),
        ]
    }

    /// Steps of the whole training, where an epoch has `per_epoch`.
    fn steps(&self, per_epoch: usize) -> usize {
        let all = per_epoch.saturating_mul(self.epochs as usize);
        self.steps.map_or(all, |steps| steps.min(all))
    }

    /// Trains as all ranks do; rank 0 tells `say` about it, in the same words for any number of ranks. Times go to standard
    /// error.
    ///
    /// # Errors
    /// For options that can't be, ranks that disagree, a file that can't be read or written, one that is there already and
    /// isn't to be resumed, where a gradient or a parameter isn't finite, and where `say` fails.
    pub fn run(&self, link: &Link, say: impl FnMut(&dyn Display) -> io::Result<()>) -> Result<()> {
        agree(link, &self.facts())?;
        let mut say = link.on_rank_0(say);
        let data = load(&self.training.data)?;
        let mut trainer = Trainer::new(link, &self.training, &data)?;
        let steps = self.steps(trainer.per_epoch());
        self.prepare(link, &mut trainer, steps)?;

        let (start, first) = (Instant::now(), trainer.state.step);
        let mut all = Spent::default();
        while trainer.state.step < steps {
            let Gradient { loss, spent, .. } = trainer.step()?;
            all.computing += spent.computing;
            all.waiting += spent.waiting;
            all.sent += spent.sent;
            let step = trainer.state.step;
            let is_last = step == steps;
            if step % self.report as usize == 0 {
                say(&format_args!("step {step}: loss {loss}"))?;
            }
            if step % trainer.per_epoch() == 0 || is_last {
                let (correct, images) = (trainer.correct()?, data.test.len());
                say(&format_args!("step {step}: {correct} of {images} test images"))?;
            }
            if (step % self.every as usize == 0 || is_last) && link.rank() == 0 {
                self.save(&mut trainer)?;
            }
        }
        say(&format_args!("parameters after {steps} steps: {:08x}", trainer.state.checksum()))?;
        if link.rank() == 0 && steps > first {
            let steps = steps - first;
            let mean = |time: Duration| time.as_secs_f64() / steps as f64 * 1e3;
            let line = format!(
                "{} processes, {steps} steps of {:.3} ms: computing {:.3}, waiting for sums {:.3}, {} bytes sent by rank 0\n",
                link.size(),
                mean(start.elapsed()),
                mean(all.computing),
                mean(all.waiting),
                all.sent / steps,
            );
            // Nothing depends on it.
            let _ = io::Write::write_all(&mut io::stderr(), line.as_bytes());
        }
        Ok(())
    }

    /// Takes up the checkpoint if there is one, and writes it before the first step, so that a file that can't be written
    /// shows at once.
    fn prepare(&self, link: &Link, trainer: &mut Trainer<'_>, steps: usize) -> Result<()> {
        if let Some(drill) = self.drill {
            if drill.rank >= link.size() || drill.step >= steps {
                return Err(Error::common(format!(
                    "drill: expected a rank below {} and a step below {steps}, got rank {}, step {}",
                    link.size(),
                    drill.rank,
                    drill.step
                )));
            }
            trainer.drill = Some(drill);
        }
        let Some(path) = &self.checkpoint else { return Ok(()) };
        if link.rank() == 0 {
            let shown = path.display();
            let exists =
                path.try_exists().map_err(|error| Error::local(format!("{shown}: {error}")))?;
            if exists && !self.resume {
                return Err(Error::local(format!(
                    "{shown}: expected --resume, to go on from it, or a name that is free; got a file that exists"
                )));
            }
            if exists {
                checkpoint::load(path, &trainer.facts, &mut trainer.state)?;
                let step = trainer.state.step;
                if step > steps {
                    return Err(Error::local(format!(
                        "{shown}: expected at most {steps} steps, got {step}"
                    )));
                }
            }
            self.save(trainer)?;
        }
        trainer.state.broadcast(link)
    }

    fn save(&self, trainer: &mut Trainer<'_>) -> Result<()> {
        let Trainer { facts, state, .. } = trainer;
        let save = |path: &Path| checkpoint::save(path, facts, state);
        self.checkpoint.as_deref().map_or(Ok(()), save)
    }
}
