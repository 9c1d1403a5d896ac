//! Folds a batch normalisation into a plain convolution: scaled in `f64`, rounded once, checked and
//! written, a part at a time.

use std::fs::File;

use super::batch_norm::Folded;
use super::finite::expect_finite;
use super::report::FoldedPlain;
use super::sink::Sink;
use super::unfused::{Output, Unfused};
use super::worst::Worst;
use crate::checkpoint::float::Float;
use crate::checkpoint::format::safetensors::Entry;
use crate::checkpoint::layers::plain::PlainConv;
use crate::checkpoint::text::shown;
use crate::error::{ErrorKind, Operation, Result};
use crate::layer::sampler::Sampler;

/// A plain kernel to be scaled.
pub struct PlainFold<'a> {
    /// What errors name.
    pub operation: Operation,
    pub conv: &'a PlainConv<'a>,
    pub norm: Folded,
}

impl PlainFold<'_> {
    /// Writes the kernel, and checks it.
    pub fn fold(&self, entry: &Entry, sink: &Sink, handle: Option<&File>) -> Result<Worst> {
        let &PlainConv { key, kernel, float, extents: [_, outputs, inner], .. } = self.conv;
        let start = entry.info.data_offsets.0 as u64;
        let mut check = Check::new(self.conv);
        let (mut values, mut rounded) = (Vec::new(), Vec::new());
        kernel.for_each_part(self.operation, key, |bytes, at| {
            let first = at as usize / float.size();
            values.resize(bytes.len() / float.size(), 0.0);
            float.widen(bytes, &mut values);
            expect_finite(self.operation, key, &values, first)?;
            let before = values.clone();
            for (index, value) in values.iter_mut().enumerate() {
                *value *= self.norm.scale[(first + index) / inner % outputs];
            }
            rounded.resize(bytes.len(), 0);
            float.round(&mut values, &mut rounded);
            expect_finite(self.operation, key, &values, first)?;
            check.add(&before, &values);
            sink.write(handle, &rounded, start + at)
        })?;
        let worst = check.worst(float, &self.norm.unfused);
        if worst.is_within_bound() {
            return Ok(worst);
        }
        let expected = format!("outputs within {:e} of those before", worst.bound);
        let got = format!("a difference of {:e}", worst.difference);
        Err(self.operation.error(ErrorKind::Value, shown(self.conv.name), expected, got))
    }

    /// What a report says of it.
    pub fn report(&self, batch_norm: &str, worst: Worst) -> FoldedPlain {
        let PlainConv { name, key, kernel, .. } = self.conv;
        FoldedPlain {
            name: (*name).to_owned(),
            key: (*key).to_owned(),
            shape: kernel.shape().to_vec(),
            dtype: kernel.dtype(),
            batch_norm: batch_norm.to_owned(),
            difference: worst.difference,
            bound: worst.bound,
        }
    }
}

/// The outputs of a kernel and of the folded one on a random input, summed as elements come.
struct Check {
    extents: [usize; 3],
    /// The place of the next element.
    at: [usize; 3],
    /// A pixel for each element of an output channel.
    x: Vec<f64>,
    outputs: Vec<Output>,
}

impl Check {
    fn new(conv: &PlainConv) -> Self {
        let extents @ [outer, outputs, inner] = conv.extents;
        let mut x = vec![0.0; outer * inner];
        Sampler::new(0).uniform(1.0, &mut x);
        Self { extents, at: [0; 3], x, outputs: vec![Output::default(); outputs] }
    }

    /// Adds the next elements, as they were and folded.
    fn add(&mut self, before: &[f64], folded: &[f64]) {
        for (before, folded) in before.iter().zip(folded) {
            let [outer, output, inner] = self.at;
            let x = self.x[outer * self.extents[2] + inner];
            let sums = &mut self.outputs[output];
            sums.exact += before * x;
            sums.absolute += (before * x).abs();
            sums.folded += folded * x;
            sums.size += (folded * x).abs();
            self.advance();
        }
    }

    fn advance(&mut self) {
        for axis in [2, 1, 0] {
            self.at[axis] += 1;
            if self.at[axis] < self.extents[axis] {
                return;
            }
            self.at[axis] = 0;
        }
    }

    /// The output nearest to its bound.
    fn worst(&self, float: Float, unfused: &[Unfused]) -> Worst {
        let terms = 2 * self.x.len() + 8;
        let pixels = self.x.iter().map(|x| x.abs()).sum();
        let outputs = self.outputs.iter().zip(unfused);
        outputs
            .map(|(output, unfused)| unfused.compare(float, *output, terms, pixels))
            .fold(Worst::NONE, Worst::max)
    }
}
