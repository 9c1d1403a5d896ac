//! A metric that is known once all batches are.

use std::sync::Arc;

use burn::tensor::TensorReadError;
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};

const UNIT: &str = "%";

/// What a metric keeps of batches.
pub trait Accumulate: Clone + Default + Send + Sync {
    /// What it takes of a batch.
    type Input;
    /// The metric's.
    const NAME: &'static str;

    /// Takes a batch.
    ///
    /// # Errors
    /// For a tensor that can't be read.
    fn add(&mut self, input: &Self::Input) -> Result<(), TensorReadError>;

    /// The metric of all batches.
    fn percent(&self) -> f64;
}

/// burn's metric of that.
#[derive(Clone, Default)]
pub struct Percent<A> {
    seen: A,
    /// Once it is known.
    percent: Option<f64>,
}

impl<A: Accumulate> Metric for Percent<A> {
    type Input = A::Input;

    fn name(&self) -> MetricName {
        Arc::new(A::NAME.to_owned())
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes { unit: Some(UNIT.to_owned()), higher_is_better: true }.into()
    }

    fn update(
        &mut self,
        input: &A::Input,
        _: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.seen.add(input)?;
        Ok(SerializedEntry::not_available(Some(UNIT)))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        let percent = self.seen.percent();
        self.percent = Some(percent);
        let serialized = NumericEntry::Value(percent).serialize();
        Ok(SerializedEntry::new(format!("epoch {percent:.2} {UNIT}"), serialized))
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl<A: Accumulate> Numeric for Percent<A> {
    fn value(&self) -> Option<NumericEntry> {
        self.percent.map(NumericEntry::Value)
    }

    fn running_value(&self) -> Option<NumericEntry> {
        self.value()
    }

    fn final_value(&self) -> NumericEntry {
        NumericEntry::Final(self.percent.unwrap_or(f64::NAN))
    }
}
