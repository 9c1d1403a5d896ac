//! Training and testing, the candle way: the data are tensors, batches are rows of them.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, VarMap, loss};
use indicatif::ProgressBar;

use crate::data;

pub const BATCH: usize = 32;
pub const LEARNING_RATE: f64 = 0.002;

/// Test images are looked at in larger batches.
const TEST_BATCH: usize = 250;

/// Images, `[N, 1, 28, 28]`, and their labels.
pub struct Set {
    images: Tensor,
    labels: Tensor,
}

impl Set {
    pub fn new(set: &data::Set) -> Result<Self> {
        let (images, labels) = set.batch(0..set.len());
        let shape = images.shape().to_vec();
        let labels = labels.into_iter().map(u32::from).collect::<Vec<_>>();
        Ok(Self {
            images: Tensor::from_vec(images.into_raw_vec_and_offset().0, shape, &Device::Cpu)?,
            labels: Tensor::new(labels, &Device::Cpu)?,
        })
    }

    pub fn len(&self) -> usize {
        self.labels.elem_count()
    }
}

/// A net in training.
pub struct Trainer<N> {
    pub net: N,
    optimizer: AdamW,
    /// Of the training steps alone.
    pub time: Duration,
}

impl<N: Module> Trainer<N> {
    pub fn new(net: N, variables: &VarMap) -> Result<Self> {
        let parameters = ParamsAdamW { lr: LEARNING_RATE, weight_decay: 0.0, ..Default::default() };
        let optimizer = AdamW::new(variables.all_vars(), parameters)?;
        Ok(Self { net, optimizer, time: Duration::ZERO })
    }

    /// Trains on whole batches in that order; the mean of their losses.
    pub fn epoch(&mut self, set: &Set, order: &Tensor, progress: &ProgressBar) -> Result<f32> {
        let start = Instant::now();
        let batches = set.len() / BATCH;
        let mut sum = 0.0;
        for batch in 0..batches {
            let rows = order.narrow(0, batch * BATCH, BATCH)?;
            let logits = self.net.forward(&set.images.index_select(&rows, 0)?)?;
            let loss = loss::cross_entropy(&logits, &set.labels.index_select(&rows, 0)?)?;
            self.optimizer.backward_step(&loss)?;
            sum += loss.to_scalar::<f32>()?;
            progress.inc(1);
        }
        self.time += start.elapsed();
        Ok(sum / batches as f32)
    }
}

/// All logits of a set, `[N, 10]`.
pub fn logits(net: &impl Module, set: &Set) -> Result<Tensor> {
    let starts = (0..set.len()).step_by(TEST_BATCH);
    let batches = starts.map(|start| {
        net.forward(&set.images.narrow(0, start, TEST_BATCH.min(set.len() - start))?)
    });
    Tensor::cat(&batches.collect::<Result<Vec<_>>>()?, 0)
}

/// The share of a set that logits classify correctly.
pub fn accuracy(logits: &Tensor, set: &Set) -> Result<f32> {
    let right = logits.argmax(1)?.eq(&set.labels)?.to_dtype(DType::F32)?;
    right.mean_all()?.to_scalar()
}
