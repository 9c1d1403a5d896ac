//! How far a run is, for whoever started it, and how long its epochs took.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use burn::train::Interrupter;
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::MetricDefinition;
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};
use serde::{Deserialize, Serialize};

/// In a run's folder: for each epoch a line with its number and its seconds.
const TIMES: &str = "seconds.txt";
/// burn's name of the training.
const TRAIN: &str = "train";

/// What a run says while it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The share of the run that is done, from 0 to 1.
    Done(f64),
}

/// Writes events and the seconds of epochs.
pub struct Reporter {
    epochs: usize,
    /// The one that runs.
    epoch: usize,
    items: usize,
    is_training: bool,
    start: Instant,
    seconds: f64,
    times: File,
    events: Box<dyn Write + Send>,
    interrupter: Interrupter,
}

impl Reporter {
    pub fn new(
        folder: &Path,
        epochs: usize,
        events: Box<dyn Write + Send>,
        interrupter: Interrupter,
    ) -> io::Result<Self> {
        let times = OpenOptions::new().create(true).append(true).open(folder.join(TIMES))?;
        let (start, seconds) = (Instant::now(), 0.0);
        let (epoch, items, is_training) = (1, 1, false);
        Ok(Self { epochs, epoch, items, is_training, start, seconds, times, events, interrupter })
    }

    fn say(&mut self, done: f64) {
        let line = serde_json::to_string(&Event::Done(done)).unwrap_or_default();
        let said = writeln!(self.events, "{line}").and_then(|()| self.events.flush());
        if said.is_err() {
            self.interrupter.stop(Some("who started the run is gone"));
        }
    }
}

/// The seconds of each epoch, of the last time that it ran.
pub fn seconds(folder: &Path) -> io::Result<BTreeMap<usize, f64>> {
    let text = fs::read_to_string(folder.join(TIMES))?;
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    Ok(lines.filter_map(|(epoch, s)| Some((epoch.parse().ok()?, s.parse().ok()?))).collect())
}

impl TrainingProgressLogger for Reporter {
    fn start(&mut self, _: usize, starting: usize, _: Option<usize>, _: Option<&str>) {
        self.epoch = starting.max(1);
    }

    fn start_split(&mut self, split: &str, items: usize) {
        self.is_training = split.eq_ignore_ascii_case(TRAIN);
        self.items = items.max(1);
        self.start = Instant::now();
    }

    fn update_split(&mut self, items: usize) {
        if self.is_training {
            let of_epoch = items as f64 / self.items as f64;
            self.say((self.epoch as f64 - 1.0 + of_epoch) / self.epochs as f64);
        }
    }

    fn end_split(&mut self) {
        if self.is_training {
            self.seconds = self.start.elapsed().as_secs_f64();
        }
    }

    fn update_epoch(&mut self, epoch: usize) {
        self.epoch = epoch + 1;
        // An epoch without its time is shown as such.
        let _ = writeln!(self.times, "{epoch} {}", self.seconds);
    }

    fn end(&mut self) {}
    fn log_event_training(&mut self, _: String) {}
}

/// burn's renderer has a line for every step; this one has none.
pub struct Silent;

impl MetricsRendererTraining for Silent {
    fn update_train(&mut self, _: MetricState) {}
    fn update_valid(&mut self, _: MetricState) {}
}

impl TrainingProgressLogger for Silent {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}
    fn update_epoch(&mut self, _: usize) {}
    fn start_split(&mut self, _: &str, _: usize) {}
    fn update_split(&mut self, _: usize) {}
    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _: String) {}
}

impl MetricsRenderer for Silent {
    fn manual_close(&mut self) {}
    fn register_metric(&mut self, _: MetricDefinition) {}
}

impl MetricsRendererEvaluation for Silent {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}
}

impl EvaluationProgressLogger for Silent {
    fn start_global_progress(&mut self, _: usize) {}
    fn start_test(&mut self, _: &str, _: usize) {}
    fn update_test_progress(&mut self, _: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _: String) {}
}
