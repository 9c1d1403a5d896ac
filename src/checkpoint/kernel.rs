//! Folds one kernel: composed in `f64`, rounded once, checked and written, a part at a time.

use std::fs::File;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::float::Float;
use super::fold::FOLD;
use super::layer::stored_shape;
use super::output::Output;
use super::safetensors::{Entry, Plan};
use super::tensor::{Contents, permuted, unreadable};
use super::verify::{Probe, Worst};
use super::{Checkpoint, LayerInfo, shown};
use crate::compose::Composer;
use crate::error::{Error, ErrorKind, Result};
use crate::machine::Machine;
use crate::machine::memory::Memory;

/// Elements of a kernel that are folded together: in `f64` and with what becomes of them, a part of L2.
const PART: usize = 1 << 15;

/// Where tensors go, or nowhere.
pub struct Sink<'a> {
    pub output: Option<&'a Output>,
    pub plan: &'a Plan<'a>,
    pub done: AtomicU64,
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
    /// What no thread works in at the moment: fresh memory costs more than what is done in it.
    pub spare: Mutex<Vec<Scratch>>,
}

impl Sink<'_> {
    pub fn handle(&self) -> Result<Option<File>> {
        self.output.map(Output::handle).transpose()
    }

    pub fn write(&self, handle: Option<&File>, bytes: &[u8], at: u64) -> Result<()> {
        if let (Some(output), Some(file)) = (self.output, handle) {
            output.write_at(file, bytes, at)?;
        }
        let len = bytes.len() as u64;
        let done = self.done.fetch_add(len, Ordering::Relaxed) + len;
        (self.progress)(done, self.plan.data_len);
        Ok(())
    }
}

/// A kernel to be folded.
pub struct Kernel<'a> {
    pub layer: &'a LayerInfo,
    /// What output channels are multiplied by.
    pub scale: Option<Vec<f64>>,
}

/// What a part of a kernel is folded in.
#[derive(Default)]
pub struct Scratch {
    handle: Option<File>,
    w: Vec<f64>,
    weight: Vec<f64>,
    read: Vec<u8>,
    rounded: Vec<u8>,
    memory: Memory<f64>,
}

/// What a layer is folded from.
pub struct Ready<'a> {
    checkpoint: &'a Checkpoint,
    w: Contents<'a>,
    d_offset: Option<Contents<'a>>,
    /// All groups, if they share one [`Source`].
    whole: Option<Source>,
}

/// Some groups of a layer, ready for parts of their kernel to be composed.
struct Source {
    /// The first of their output channels, and one after the last.
    outputs: [usize; 2],
    composer: Composer,
    /// None for a 1×1 layer.
    transposed: Option<Vec<f64>>,
    probe: Probe,
}

impl Kernel<'_> {
    /// `[O, n, M, N]`.
    pub fn weight_shape(&self) -> [usize; 4] {
        let [outputs, inputs, taps] = self.layer.weight_shape;
        let [rows, cols] = self.layer.kernel_size.unwrap_or([taps, 1]);
        [outputs, inputs, rows, cols]
    }

    /// Writes the kernel, in parallel, and checks it.
    pub fn fold(&self, ready: &Ready, entry: &Entry, sink: &Sink) -> Result<Worst> {
        let groups = self.layer.groups;
        let worst = match &ready.whole {
            Some(source) => self.fold_groups(ready, source, entry, sink)?,
            None => {
                let together = self.groups_together();
                (0..groups.div_ceil(together))
                    .into_par_iter()
                    .map(|part| {
                        let first = part * together;
                        let source = self.source(ready, first..groups.min(first + together))?;
                        self.fold_groups(ready, &source, entry, sink)
                    })
                    .try_reduce(|| Worst::NONE, |a, b| Ok(a.max(b)))?
            }
        };
        if worst.is_within_bound() {
            return Ok(worst);
        }
        let expected = format!("outputs within {:e} of those by D and W", worst.bound);
        let got = format!("a difference of {:e}", worst.difference);
        Err(Error::new(ErrorKind::Value, FOLD, shown(&self.layer.name), expected, got))
    }

    /// How many groups have a [`Source`] together: of layers of many groups most is `D`, a part of which
    /// is held at a time, if the groups' parts of it lie one after the other.
    fn groups_together(&self) -> usize {
        let layer = self.layer;
        match layer.d_shape {
            Some([channels, taps, d_mul])
                if !layer.needs_pairing() && layer.framework.d_axes() == [0, 1, 2] =>
            {
                let part = channels / layer.groups * taps * d_mul;
                (4 * PART / part).clamp(1, layer.groups)
            }
            _ => layer.groups,
        }
    }

    /// Makes ready what all parts need.
    pub fn ready<'a>(&self, checkpoint: &'a Checkpoint) -> Result<Ready<'a>> {
        let layer = self.layer;
        let contents = |key: &str| {
            let contents = checkpoint.tensors[key].contents();
            contents.map_err(|error| unreadable(FOLD, key, &error))
        };
        let mut w = contents(&layer.keys.w)?;
        let axes = layer.framework.w_axes();
        if axes != [0, 1, 2] {
            // From [S, n, O], a plane at a time.
            let [d_mul, inputs, outputs] = stored_shape(layer.w_shape, axes);
            let size = layer.float().size();
            let plane = inputs * outputs * size;
            let (mut ordered, mut buffer) = (vec![0; w.len()], Vec::new());
            for s in 0..d_mul {
                let bytes = w.part(s * plane..(s + 1) * plane, &mut buffer);
                let bytes = bytes.map_err(|error| unreadable(FOLD, &layer.keys.w, &error))?;
                for (at, element) in bytes.chunks_exact(size).enumerate() {
                    let (input, output) = (at / outputs, at % outputs);
                    let target = ((output * inputs + input) * d_mul + s) * size;
                    ordered[target..target + size].copy_from_slice(element);
                }
            }
            w = Contents::Whole(ordered.into());
        }
        let d_offset = layer.keys.d.as_deref().map(contents).transpose()?;
        let mut ready = Ready { checkpoint, w, d_offset, whole: None };
        if self.groups_together() == layer.groups {
            ready.whole = Some(self.source(&ready, 0..layer.groups)?);
        }
        Ok(ready)
    }

    fn source(&self, ready: &Ready, groups: Range<usize>) -> Result<Source> {
        let layer = self.layer;
        let composer = Composer { groups: groups.len(), ..layer.composer() };
        let d_offset = match (&layer.keys.d, &ready.d_offset, layer.d_shape) {
            (Some(key), Some(contents), Some(shape)) => {
                let part = shape.iter().product::<usize>() / layer.groups;
                let range = groups.start * part..groups.end * part;
                let start = range.start;
                let mut values = ready.checkpoint.values_in(FOLD, key, contents, Some(range))?;
                expect_finite(key, &values, start)?;
                let axes = layer.framework.d_axes();
                if axes != [0, 1, 2] {
                    values = permuted(&values, &stored_shape(shape, axes), &axes);
                }
                Some(values)
            }
            _ => None,
        };
        let probe = Probe::new(composer, !layer.needs_pairing(), d_offset.as_deref());
        let transposed = d_offset.map(|d_offset| composer.transposed(d_offset));
        let outputs = [groups.start, groups.end].map(|group| group * composer.group_outputs);
        Ok(Source { outputs, composer, transposed, probe })
    }

    /// Folds the output channels of some groups, in parallel.
    fn fold_groups(
        &self,
        ready: &Ready,
        source: &Source,
        entry: &Entry,
        sink: &Sink,
    ) -> Result<Worst> {
        let [_, inputs, d_mul] = self.layer.w_shape;
        // A multiple of how many output channels are composed side by side, unless these are long.
        let row = inputs * d_mul;
        let rows = if row > PART { 1 } else { (PART / row / 4 * 4).max(4) };
        let [start, end] = source.outputs;
        (0..(end - start).div_ceil(rows))
            .into_par_iter()
            .map(|part| {
                let spare = || sink.spare.lock().unwrap_or_else(PoisonError::into_inner);
                let mut scratch = spare().pop().unwrap_or_default();
                let first = start + part * rows;
                let outputs = [first, end.min(first + rows)];
                let worst = self.fold_outputs(&ready.w, source, &mut scratch, outputs, entry, sink);
                spare().push(scratch);
                worst
            })
            .try_reduce(|| Worst::NONE, |a, b| Ok(a.max(b)))
    }

    /// Folds some output channels.
    fn fold_outputs(
        &self,
        contents: &Contents,
        source: &Source,
        scratch: &mut Scratch,
        [first, last]: [usize; 2],
        entry: &Entry,
        sink: &Sink,
    ) -> Result<Worst> {
        let &Source { outputs: [start, _], composer, ref transposed, ref probe } = source;
        let float = self.layer.float();
        let key = &self.layer.keys.w;
        let Scratch { handle, w, weight, read, rounded, memory } = scratch;
        let row = composer.group_inputs * composer.d_mul;
        let range = first * row * float.size()..last * row * float.size();
        let bytes = contents.part(range, read);
        w.resize((last - first) * row, 0.0);
        float.widen(bytes.map_err(|error| unreadable(FOLD, key, &error))?, w);

        let weight_row = composer.group_inputs * composer.taps;
        weight.resize((last - first) * weight_row, 0.0);
        match transposed {
            Some(transposed) => {
                let machine = Machine::new(memory);
                composer.compose_outputs(&machine, transposed, first - start, w, weight);
            }
            None => weight.copy_from_slice(w),
        }
        if let Some(scale) = &self.scale {
            for (weight, scale) in weight.chunks_exact_mut(weight_row).zip(&scale[first..]) {
                weight.iter_mut().for_each(|weight| *weight *= scale);
            }
        }
        rounded.resize(weight.len() * float.size(), 0);
        float.round(weight, rounded);
        let scale = self.scale.as_ref().map(|scale| &scale[start..]);
        let worst = probe.compare(float, first - start, w, scale, weight);
        if !worst.is_within_bound() {
            // Only numbers that aren't finite can be why.
            expect_finite(key, w, first * row)?;
            expect_finite(entry.name, weight, first * weight_row)?;
        }
        if handle.is_none() {
            *handle = sink.handle()?;
        }
        let at = entry.info.data_offsets.0 + first * weight_row * float.size();
        sink.write(handle.as_ref(), rounded, at as u64)?;
        Ok(worst)
    }
}

impl LayerInfo {
    pub(super) fn float(&self) -> Float {
        Float::of(self.dtype).unwrap_or(Float::F64)
    }
}

/// Refuses numbers that aren't finite; the first of them is element `start` of the tensor.
pub fn expect_finite(key: &str, values: &[f64], start: usize) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let got = format!("{} as element {}", values[at], start + at);
            Err(Error::new(ErrorKind::Value, FOLD, shown(key), "finite numbers", got))
        }
    }
}
