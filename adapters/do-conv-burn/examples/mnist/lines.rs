//! The progress as a line of text for every epoch; burn's own, without the dashboard, has one for every
//! batch.

use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::{MetricDefinition, NumericEntry};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};

#[derive(Default)]
pub struct Lines {
    /// Of the epoch: loss and accuracy in training, then in the test.
    means: Vec<f64>,
}

impl Lines {
    /// Keeps the mean over an epoch, which comes after the values of its batches.
    fn keep(&mut self, state: MetricState) {
        if let MetricState::Numeric(_, Some(NumericEntry::Final(mean))) = state {
            self.means.push(mean);
        }
    }
}

impl MetricsRendererTraining for Lines {
    fn update_train(&mut self, state: MetricState) {
        self.keep(state);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.keep(state);
    }
}

impl TrainingProgressLogger for Lines {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, label: Option<&str>) {
        println!("\n{:<8}         training              test", label.unwrap_or_default());
        println!("epoch       loss  accuracy     loss  accuracy");
    }

    fn update_epoch(&mut self, epoch: usize) {
        if let [loss, accuracy, test_loss, test_accuracy] = self.means[..] {
            println!(
                "{epoch:>5}    {loss:>7.4}  {accuracy:>6.2} %  {test_loss:>7.4}  {test_accuracy:>6.2} %"
            );
        }
        self.means.clear();
    }

    fn start_split(&mut self, _: &str, _: usize) {}
    fn update_split(&mut self, _: usize) {}
    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _: String) {}
}

impl MetricsRenderer for Lines {
    fn manual_close(&mut self) {}
    fn register_metric(&mut self, _: MetricDefinition) {}
}

// burn asks for these of a renderer too, but this program trains only.

impl MetricsRendererEvaluation for Lines {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}
}

impl EvaluationProgressLogger for Lines {
    fn start_global_progress(&mut self, _: usize) {}
    fn start_test(&mut self, _: &str, _: usize) {}
    fn update_test_progress(&mut self, _: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _: String) {}
}
