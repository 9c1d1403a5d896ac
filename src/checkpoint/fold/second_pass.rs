//! A fold into another format or layout: kernels go into a temporary safetensors file, their parts in any
//! order, and from there, one after the other with all other tensors, into the file that was asked for.

use std::collections::BTreeMap;
use std::path::Path;

use super::layout::KernelLayout;
use super::options::FoldOptions;
use super::pieces::Piece;
use super::sink::Sink;
use crate::checkpoint::atomic_file::AtomicFile;
use crate::checkpoint::format::described::Described;
use crate::checkpoint::format::file_format::FileFormat;
use crate::checkpoint::format::safetensors;
use crate::checkpoint::lost_texts;
use crate::checkpoint::state::Checkpoint;
use crate::checkpoint::tensor::{Tensor, byte_len};
use crate::checkpoint::write::FilePlan;
use crate::error::{Operation, Result};

/// What is left to be done once the kernels are folded.
pub struct SecondPass<'a> {
    operation: Operation,
    layout: KernelLayout,
    plan: FilePlan<'a>,
    /// None of a fold that is only checked.
    file: Option<AtomicFile>,
    /// The tensors that aren't kernels.
    others: BTreeMap<String, Tensor>,
    /// The kernels' shapes in their layout.
    shapes: BTreeMap<&'a str, [usize; 4]>,
    /// Bytes of all tensors.
    pub len: u64,
}

impl<'a> SecondPass<'a> {
    /// Refuses what the format or the layout refuses, and makes the file; none if a first pass does it
    /// all.
    pub fn new(
        operation: Operation,
        path: Option<&Path>,
        options: &FoldOptions,
        pieces: &'a BTreeMap<String, Piece<'a>>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Option<Self>> {
        let format = match path {
            Some(path) => FileFormat::told_or_of(operation, options.format, path)?,
            None => options.format.unwrap_or_default(),
        };
        let layout = options.layout;
        if (format, layout) == (FileFormat::Safetensors, KernelLayout::PyTorch) {
            return Ok(None);
        }
        let (mut described, mut len) = (Vec::with_capacity(pieces.len()), 0);
        let (mut written, mut shapes) = (Checkpoint::new(), BTreeMap::new());
        for (name, piece) in pieces {
            let mut shape = piece.shape();
            match piece {
                Piece::Kernel(kernel) => {
                    let stored = layout.shape(operation, kernel.layer, kernel.weight_shape())?;
                    shapes.insert(&**name, stored);
                    shape = stored.to_vec();
                }
                // As it was, whatever the layout of others.
                Piece::Plain(_) => (),
                Piece::Copy(tensor) => drop(written.insert(name, (*tensor).clone())),
                Piece::Made(tensor) => drop(written.insert(name, tensor.clone())),
            }
            let dtype = piece.dtype();
            len += byte_len(operation, name, dtype, &shape)? as u64;
            described.push(Described { name, dtype, shape });
        }
        let plan = FilePlan::new(operation, format, described, metadata)?;
        written.metadata.clone_from(metadata);
        lost_texts::expect_none(operation, format, &written)?;
        let create = |path| plan.create(operation, path, options.overwrite);
        let file = path.map(create).transpose()?;
        let others = written.tensors;
        Ok(Some(Self { operation, layout, plan, file, others, shapes, len }))
    }

    /// Writes the file with the kernels of `folded`, a safetensors file of so many bytes; gives the bytes
    /// written, and the file. Without files it reads the tensors, so that one that can't be read is refused.
    pub fn write(
        self,
        folded: Option<(&AtomicFile, u64)>,
        sink: &Sink,
    ) -> Result<(u64, Option<AtomicFile>)> {
        let Self { operation, layout, plan, file, others: mut tensors, shapes, len } = self;
        let (Some((folded, folded_len)), Some(file)) = (folded, file) else {
            for (name, tensor) in &tensors {
                tensor.for_each_part(operation, name, |bytes, _| sink.count(bytes.len() as u64))?;
            }
            let others = tensors.values().map(|tensor| tensor.byte_len() as u64).sum::<u64>();
            sink.count(len - others)?; // the kernels
            return Ok((plan.len().unwrap_or(len), None));
        };
        let kernels = safetensors::read(folded.handle()?, folded_len)?;
        for (name, kernel) in kernels.tensors {
            let kernel = match shapes.get(&*name) {
                Some(&shape) => layout.stored(operation, &name, kernel, shape)?,
                None => kernel,
            };
            tensors.insert(name, kernel);
        }
        let bytes = plan.write(operation, &file, &tensors, &mut |bytes| sink.count(bytes))?;
        Ok((bytes, Some(file)))
    }
}
