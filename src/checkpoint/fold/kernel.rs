//! Folds one kernel: composed in `f64`, rounded once, checked and written, a part at a time.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::batch_norm::Folded;
use super::check::Probe;
use super::finite::expect_finite;
use super::sink::Sink;
use super::worst::Worst;
use crate::checkpoint::axes::{permute_into, stored_shape};
use crate::checkpoint::float::Float;
use crate::checkpoint::format::safetensors::Entry;
use crate::checkpoint::layers::layer_info::LayerInfo;
use crate::checkpoint::room::{resize, room, zeros};
use crate::checkpoint::state::Checkpoint;
use crate::checkpoint::tensor::Contents;
use crate::checkpoint::text::shown;
use crate::checkpoint::unreadable::unreadable;
use crate::compose::{BEYOND, Composer};
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::machine::Machine;
use crate::machine::memory::Memory;

/// Elements of a kernel that are folded together: 256 KiB of `f64`, which with as much of `W` and the rounded
/// kernel are a part of L2.
const PART: usize = 1 << 15;

/// A kernel to be folded.
pub struct KernelFold<'a> {
    /// What errors name.
    pub operation: Operation,
    pub layer: &'a LayerInfo,
    /// The batch normalisation after it.
    pub norm: Option<Folded>,
}

/// Where a kernel goes, and what its parts are folded in.
pub struct Target<'a> {
    pub entry: &'a Entry<'a>,
    pub sink: &'a Sink<'a>,
    pub spare: &'a Spare,
}

/// Scratch that no thread works in at the moment: fresh memory costs more than what is done in it.
#[derive(Default)]
pub struct Spare(Mutex<Vec<Scratch>>);

impl Spare {
    /// Calls `work` with scratch that nobody else has.
    fn lend<R>(&self, work: impl FnOnce(&mut Scratch) -> R) -> R {
        let spare = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = spare().pop().unwrap_or_default();
        let result = work(&mut scratch);
        spare().push(scratch);
        result
    }
}

/// What a part of a kernel is folded in.
#[derive(Default)]
struct Scratch {
    handle: Option<File>,
    w: Vec<f64>,
    weight: Vec<f64>,
    read: Vec<u8>,
    rounded: Vec<u8>,
    memory: Memory<f64>,
}

/// What a layer is folded from.
pub struct Ready<'a> {
    /// `[O, n, S]`.
    w: Stored<'a>,
    /// As the file has it; none for a 1×1 layer.
    d_offset: Option<Stored<'a>>,
    /// The identity, if it isn't one exactly.
    identity: Option<Stored<'a>>,
    /// All groups of the layer, if they are made ready together.
    whole: Option<Groups>,
}

/// A layer's tensor: its bytes and what they are.
struct Stored<'a> {
    key: &'a str,
    float: Float,
    contents: Contents<'a>,
}

/// Some groups of a layer, ready for parts of their kernel to be composed.
struct Groups {
    /// The groups' output channels.
    outputs: Range<usize>,
    composer: Composer,
    /// None for a 1×1 layer.
    transposed: Option<Vec<f64>>,
    probe: Probe,
}

impl KernelFold<'_> {
    /// `[O, n, M, N]`.
    pub fn weight_shape(&self) -> [usize; 4] {
        let [outputs, inputs, taps] = self.layer.weight_shape();
        let [rows, cols] = self.layer.kernel_size().unwrap_or([taps, 1]);
        [outputs, inputs, rows, cols]
    }

    /// Writes the kernel, in parallel, and checks it.
    pub fn fold(&self, ready: &Ready, target: &Target) -> Result<Worst> {
        let all = self.layer.groups();
        let worst = match &ready.whole {
            Some(groups) => self.fold_groups(&ready.w, groups, target)?,
            None => {
                let together = self.groups_together();
                (0..all.div_ceil(together))
                    .into_par_iter()
                    .map(|part| {
                        let first = part * together;
                        let groups = self.groups(ready, first..all.min(first + together))?;
                        self.fold_groups(&ready.w, &groups, target)
                    })
                    .try_reduce(|| Worst::NONE, |a, b| Ok(a.max(b)))?
            }
        };
        if worst.is_within_bound() {
            return Ok(worst);
        }
        let expected = format!("outputs within {:e} of those by D and W", worst.bound);
        let got = format!("a difference of {:e}", worst.difference);
        let name = shown(self.layer.name());
        Err(self.operation.error(ErrorKind::Value, name, expected, got))
    }

    /// The number of groups that are made ready together: of layers of many groups most is `D`, a part of
    /// which is held at a time, if the groups' parts of it lie one after the other.
    fn groups_together(&self) -> usize {
        let layer = self.layer;
        match layer.d_shape() {
            Some([channels, taps, d_mul])
                if !layer.needs_pairing() && layer.framework().d_axes() == [0, 1, 2] =>
            {
                let part = channels / layer.groups() * taps * d_mul;
                (4 * PART / part).clamp(1, layer.groups())
            }
            _ => layer.groups(),
        }
    }

    /// Makes ready what all parts need.
    pub fn ready<'a>(&'a self, checkpoint: &'a Checkpoint) -> Result<Ready<'a>> {
        let layer = self.layer;
        let stored = |key: &'a str| -> Result<Stored> {
            let tensor = &checkpoint.tensors[key];
            // Tensors of layers have no other elements.
            let float = Float::of(tensor.dtype()).unwrap_or(Float::F64);
            let contents = tensor.contents().map_err(self.failed(key))?;
            Ok(Stored { key, float, contents })
        };
        let mut w = stored(&layer.keys().w)?;
        self.order(&mut w)?;
        let d_offset = layer.keys().d.as_deref().map(stored).transpose()?;
        let identity = layer.inexact_identity().map(stored).transpose()?;
        let mut ready = Ready { w, d_offset, identity, whole: None };
        if self.groups_together() == layer.groups() {
            ready.whole = Some(self.groups(&ready, 0..layer.groups())?);
        }
        Ok(ready)
    }

    /// Puts `W` into the order `[O, n, S]`.
    fn order(&self, w: &mut Stored) -> Result<()> {
        let axes = self.layer.framework().w_axes();
        if axes == [0, 1, 2] {
            return Ok(());
        }
        // From [S, n, O], a plane at a time.
        let [d_mul, inputs, outputs] = stored_shape(self.layer.w_shape(), axes);
        let size = w.float.size();
        let plane = inputs * outputs * size;
        let mut ordered = zeros(w.contents.len()).map_err(self.failed(w.key))?;
        let mut buffer = Vec::new();
        for s in 0..d_mul {
            let bytes = w.contents.part(s * plane..(s + 1) * plane, &mut buffer);
            let bytes = bytes.map_err(self.failed(w.key))?;
            for (at, element) in bytes.chunks_exact(size).enumerate() {
                let (input, output) = (at / outputs, at % outputs);
                let target = ((output * inputs + input) * d_mul + s) * size;
                ordered[target..target + size].copy_from_slice(element);
            }
        }
        w.contents = Contents::Whole(ordered.into());
        Ok(())
    }

    /// Makes some groups ready.
    fn groups(&self, ready: &Ready, groups: Range<usize>) -> Result<Groups> {
        let layer = self.layer;
        let composer = Composer { groups: groups.len(), ..layer.composer() };
        let d_offset = match (&ready.d_offset, layer.d_shape()) {
            (Some(stored), Some(shape)) => {
                let part = shape.iter().product::<usize>() / layer.groups();
                let range = groups.start * part..groups.end * part;
                Some(self.d_offset(stored, ready.identity.as_ref(), shape, range)?)
            }
            _ => None,
        };
        let probe = Probe::new(composer, !layer.needs_pairing(), d_offset.as_deref())
            .map_err(self.failed(layer.name()))?;
        let transposed = d_offset.map(|d_offset| composer.transposed(d_offset));
        let outputs = groups.start * composer.group_outputs..groups.end * composer.group_outputs;
        Ok(Groups { outputs, composer, transposed, probe })
    }

    /// Those elements of the offset of `D` from the exact identity, `[channels, MN, S]`. They have room after them for what
    /// [`Composer::transposed`] puts there, which would have to move them else.
    fn d_offset(
        &self,
        stored: &Stored,
        identity: Option<&Stored>,
        shape: [usize; 3],
        range: Range<usize>,
    ) -> Result<Vec<f64>> {
        let &Stored { key, float, ref contents } = stored;
        let mut values = room(range.len() + BEYOND).map_err(self.failed(key))?;
        values.resize(range.len(), 0.0);
        contents.widen(float, range.start, &mut values).map_err(self.failed(key))?;
        expect_finite(self.operation, key, &values, range.start)?;
        if let Some(&Stored { key, float, ref contents }) = identity {
            let mut own = self.operation.room("buffers", values.len())?;
            own.resize(values.len(), 0.0);
            contents.widen(float, range.start, &mut own).map_err(self.failed(key))?;
            self.layer.composer().at_identity(&mut own).for_each(|value| *value -= 1.0);
            values.iter_mut().zip(own).for_each(|(value, own)| *value += own);
        }
        let axes = self.layer.framework().d_axes();
        if axes == [0, 1, 2] {
            return Ok(values);
        }
        let mut ordered = room(values.len() + BEYOND).map_err(self.failed(key))?;
        permute_into(&values, &stored_shape(shape, axes), &axes, &mut ordered);
        Ok(ordered)
    }

    /// Folds the output channels of some groups, in parallel.
    fn fold_groups(&self, w: &Stored, groups: &Groups, target: &Target) -> Result<Worst> {
        let [_, inputs, d_mul] = self.layer.w_shape();
        // A multiple of the output channels that are composed side by side, unless these are long.
        let row = inputs * d_mul;
        let rows = if row > PART { 1 } else { (PART / row / 4 * 4).max(4) };
        let Range { start, end } = groups.outputs;
        (0..(end - start).div_ceil(rows))
            .into_par_iter()
            .map(|part| {
                let first = start + part * rows;
                let outputs = first..end.min(first + rows);
                target.spare.lend(|scratch| self.fold_outputs(w, groups, scratch, outputs, target))
            })
            .try_reduce(|| Worst::NONE, |a, b| Ok(a.max(b)))
    }

    /// Folds some output channels.
    fn fold_outputs(
        &self,
        stored: &Stored,
        groups: &Groups,
        scratch: &mut Scratch,
        outputs: Range<usize>,
        target: &Target,
    ) -> Result<Worst> {
        let &Groups { composer, ref transposed, ref probe, .. } = groups;
        let Scratch { handle, w, weight, read, rounded, memory } = scratch;
        let float = self.layer.float();
        let start = groups.outputs.start;
        let first = outputs.start;
        let row = composer.group_inputs * composer.d_mul;
        let range = first * row * float.size()..outputs.end * row * float.size();
        let bytes = stored.contents.part(range, read);
        resize(w, outputs.len() * row).map_err(self.failed(stored.key))?;
        float.widen(bytes.map_err(self.failed(stored.key))?, w);

        let weight_row = composer.group_inputs * composer.taps;
        resize(weight, outputs.len() * weight_row).map_err(self.failed(stored.key))?;
        match transposed {
            Some(transposed) => {
                // Parts of kernels are shared already.
                let machine = Machine { parallel_above: usize::MAX, ..Machine::new(memory) };
                composer.compose_outputs(&machine, transposed, first - start, w, weight);
            }
            None => weight.copy_from_slice(w),
        }
        if let Some(norm) = &self.norm {
            for (weight, scale) in weight.chunks_exact_mut(weight_row).zip(&norm.scale[first..]) {
                weight.iter_mut().for_each(|weight| *weight *= scale);
            }
        }
        resize(rounded, weight.len() * float.size()).map_err(self.failed(stored.key))?;
        float.round(weight, rounded);
        let after = self.norm.as_ref().map(|norm| &norm.unfused[start..]);
        let worst = probe.compare(float, first - start, w, after, weight);
        let Target { entry, sink, .. } = target;
        if !worst.is_within_bound() {
            // Only numbers that aren't finite can be why.
            expect_finite(self.operation, stored.key, w, first * row)?;
            expect_finite(self.operation, entry.name, weight, first * weight_row)?;
        }
        if handle.is_none() {
            *handle = sink.handle()?;
        }
        let at = entry.info.data_offsets.0 + first * weight_row * float.size();
        sink.write(handle.as_ref(), rounded, at as u64)?;
        Ok(worst)
    }

    /// The error for a tensor that can't be read.
    fn failed(&self, key: &str) -> impl Fn(io::Error) -> Error {
        move |error| unreadable(self.operation, key, &error)
    }
}
