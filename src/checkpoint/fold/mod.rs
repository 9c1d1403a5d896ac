//! Folds every layer of a checkpoint: composed in `f64`, rounded once, checked, and written a part at a
//! time, so that memory holds little more than a layer's `D`.

mod batch_norm;
mod check;
mod dot;
mod expect;
pub mod finite;
mod kernel;
pub mod layout;
mod norm_doubts;
mod norm_names;
mod norm_pairs;
pub mod options;
mod pieces;
mod plain;
pub mod report;
mod second_pass;
mod sink;
mod unfused;
mod worst;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use super::atomic_file::AtomicFile;
use super::format::safetensors::{Entry, Plan};
use super::layers::plain::plain_convs;
use super::state::Checkpoint;
use crate::error::{ErrorKind, Operation, Result};
use expect::{eps_of, expect_sense};
use kernel::{KernelFold, Spare, Target};
use norm_pairs::NormPairs;
use options::FoldOptions;
use pieces::{Parts, Piece, folded_metadata};
use report::{FoldReport, FoldedLayer};
use second_pass::SecondPass;
use sink::{Progress, Sink};
use worst::Worst;

impl Checkpoint {
    /// Writes a file in which every layer is a plain one: its kernel `[O, n, M, N]`, composed in `f64`,
    /// rounded once to the element type of `W` and checked against `D` and `W` on random input. Batch
    /// normalisations that are folded in are left out, those into plain convolutions too. All other
    /// tensors are copied, and in safetensors the metadata. The same checkpoint gives the same bytes,
    /// whatever file it was read from and for any number of threads.
    ///
    /// A format other than safetensors, and a layout other than PyTorch's, take room for a temporary file
    /// of the kernels beside the new one, and memory for one kernel.
    ///
    /// # Errors
    /// As [`Checkpoint::check_fold`] and [`Checkpoint::save`]. Nothing is written then.
    pub fn fold(&self, path: impl AsRef<Path>, options: &FoldOptions) -> Result<FoldReport> {
        self.fold_with(path, options, &|_, _| ControlFlow::Continue(()))
    }

    /// As [`Checkpoint::fold`], and calls `progress` with the bytes done and all that there are to do,
    /// from any thread; [`ControlFlow::Break`] stops the fold.
    ///
    /// # Errors
    /// As [`Checkpoint::fold`], and [`ErrorKind::Cancelled`] if `progress` stopped it.
    pub fn fold_with(
        &self,
        path: impl AsRef<Path>,
        options: &FoldOptions,
        progress: Progress,
    ) -> Result<FoldReport> {
        let (report, file) = self.fold_unnamed(path, options, progress)?;
        file.persist()?;
        Ok(report)
    }

    /// As [`Checkpoint::fold_with`], but the file, which is whole and on the disk, waits for its name:
    /// [`AtomicFile::persist_all`] gives it that together with others'.
    ///
    /// # Errors
    /// As [`Checkpoint::fold_with`].
    pub fn fold_unnamed(
        &self,
        path: impl AsRef<Path>,
        options: &FoldOptions,
        progress: Progress,
    ) -> Result<(FoldReport, AtomicFile)> {
        let operation = Operation("Checkpoint::fold");
        let (report, file) = self.fold_to(Some(path.as_ref()), operation, options, progress)?;
        let file =
            file.ok_or_else(|| operation.error(ErrorKind::File, "path", "a file", "none"))?;
        file.sync()?;
        Ok((report, file))
    }

    /// A fold that isn't written: does the same work, and refuses all that [`Checkpoint::fold`] refuses
    /// but a path. The report is the one that it would give.
    ///
    /// # Errors
    /// As [`Checkpoint::layers`]; [`ErrorKind::Ambiguous`] for a layer of unknown kernel size or pairing,
    /// and for a batch normalisation that names don't tell; [`ErrorKind::Config`] if there is no layer
    /// and no batch normalisation to fold, and for a batch normalisation or a key to rename that
    /// isn't there; [`ErrorKind::Format`] if two tensors came to have one name, and for a batch
    /// normalisation of another number of channels; [`ErrorKind::Value`] for a number that isn't finite,
    /// before or after, for a variance that can't be divided by, and if a check should fail;
    /// [`ErrorKind::File`] and [`ErrorKind::Format`] for a tensor that can't be read.
    pub fn check_fold(&self, options: &FoldOptions) -> Result<FoldReport> {
        self.check_fold_with(options, &|_, _| ControlFlow::Continue(()))
    }

    /// As [`Checkpoint::check_fold`], and calls `progress` with the bytes done and all that there are to
    /// do, from any thread; [`ControlFlow::Break`] stops the fold.
    ///
    /// # Errors
    /// As [`Checkpoint::check_fold`], and [`ErrorKind::Cancelled`] if `progress` stopped it.
    pub fn check_fold_with(&self, options: &FoldOptions, progress: Progress) -> Result<FoldReport> {
        let operation = Operation("Checkpoint::check_fold");
        self.fold_to(None, operation, options, progress).map(|(report, _)| report)
    }

    /// Folds into a file, which has no name yet, or into none; errors name that operation.
    fn fold_to(
        &self,
        path: Option<&Path>,
        operation: Operation,
        options: &FoldOptions,
        progress: Progress,
    ) -> Result<(FoldReport, Option<AtomicFile>)> {
        let layers = self.layers(&options.layers)?;
        let plain = plain_convs(self, &layers, &options.layers);
        let pairs = NormPairs::find(operation, self, &layers, &plain, options)?;
        if layers.is_empty() && pairs.is_empty() {
            let expected = "a DO-Conv layer of that framework";
            return Err(operation.error(ErrorKind::Config, "layers", expected, "none"));
        }
        expect_sense(operation, options, &pairs.norms())?;
        let parts = Parts {
            operation,
            checkpoint: self,
            layers: &layers,
            plain: &plain,
            pairs: &pairs,
            options,
        };
        let pieces = parts.pieces()?;
        let metadata = folded_metadata(self, &layers, &options.layers);
        let second = SecondPass::new(operation, path, options, &pieces, &metadata)?;
        let of_this_pass = pieces.iter().filter(|(_, piece)| second.is_none() || piece.is_kernel());
        let described = of_this_pass.map(|(name, piece)| piece.described(name)).collect();
        let metadata = if second.is_none() { metadata } else { BTreeMap::new() };
        let plan = Plan::new(operation, described, &metadata)?;
        let (head, len) = (&plan.head, plan.data_len);
        let create = |path| AtomicFile::create(operation, path, options.overwrite, head, len);
        let file = path.map(create).transpose()?;
        let total = len + second.as_ref().map_or(0, |second| second.len);
        let sink = Sink::new(operation, file.as_ref(), total, progress);
        let (mut kernels, mut folded_plain) = (Vec::new(), Vec::new());
        let handle = sink.handle()?;
        for entry in &plan.entries {
            let tensor = match &pieces[entry.name] {
                Piece::Copy(tensor) => tensor,
                Piece::Made(tensor) => tensor,
                Piece::Kernel(kernel) => {
                    kernels.push((entry, kernel));
                    continue;
                }
                Piece::Plain(plain) => {
                    let worst = plain.fold(entry, &sink, handle.as_ref())?;
                    folded_plain
                        .push(plain.report(pairs.of(plain.conv.name).unwrap_or_default(), worst));
                    continue;
                }
            };
            let start = entry.info.data_offsets.0 as u64;
            tensor.for_each_part(operation, entry.name, |bytes, at| {
                sink.write(handle.as_ref(), bytes, start + at)
            })?;
        }
        let worst = self.fold_kernels(&kernels, &sink)?;
        let layers = kernels.iter().zip(worst).map(|((entry, kernel), worst)| {
            let layer = kernel.layer;
            Ok(FoldedLayer {
                name: layer.name().to_owned(),
                form: layer.form(),
                key: entry.name.to_owned(),
                weight_shape: kernel.weight_shape(),
                dtype: layer.dtype(),
                pairing: layer.known_pairing(operation)?,
                batch_norm: pairs.of(layer.name()).map(str::to_owned),
                parameters: layer.parameters(),
                difference: worst.difference,
                bound: worst.bound,
            })
        });
        let mut layers = layers.collect::<Result<Vec<_>>>()?;
        layers.sort_by(|a, b| a.name.cmp(&b.name));
        let (bytes, file) = match second {
            Some(second) => second.write(file.as_ref().map(|file| (file, plan.len())), &sink)?,
            None => (plan.len(), file),
        };
        folded_plain.sort_by(|a, b| a.name.cmp(&b.name));
        let report = FoldReport {
            layers,
            plain: folded_plain,
            batch_norms: pairs.listed(|norm| eps_of(operation, self, options, norm))?,
            batch_norms_left: pairs.left.clone(),
            tensors: pieces.len(),
            bytes,
        };
        Ok((report, file))
    }

    /// Folds kernels, one after the other; gives how the check of each came out.
    fn fold_kernels(&self, kernels: &[(&Entry, &KernelFold)], sink: &Sink) -> Result<Vec<Worst>> {
        let spare = Spare::default();
        let mut worst = Vec::with_capacity(kernels.len());
        // Each layer's parts while the next one's `D` is made ready, which doesn't spread well.
        let mut ready = kernels.first().map(|(_, kernel)| kernel.ready(self)).transpose()?;
        for (index, (entry, kernel)) in kernels.iter().enumerate() {
            let Some(now) = ready.take() else { break };
            let next = kernels.get(index + 1);
            let (this, next) = rayon::join(
                || kernel.fold(&now, &Target { entry, sink, spare: &spare }),
                || next.map(|(_, kernel)| kernel.ready(self)).transpose(),
            );
            worst.push(this?);
            ready = next?;
        }
        Ok(worst)
    }
}
