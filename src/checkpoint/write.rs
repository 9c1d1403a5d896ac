//! Writes tensors by name, in any format.

use std::collections::BTreeMap;
use std::path::Path;

use super::atomic_file::AtomicFile;
use super::format::described::{Described, find};
use super::format::file_format::FileFormat;
use super::format::{archive_writer, npz_writer, pickle_writer, safetensors};
use super::tensor::Tensor;
use crate::error::{Operation, Result};

/// What a file will be. What a format refuses is refused before there is one.
pub enum FilePlan<'a> {
    Safetensors(safetensors::Plan<'a>),
    Archive(Vec<archive_writer::Entry<'a>>),
}

impl<'a> FilePlan<'a> {
    /// For these tensors; the metadata goes where the format has room for it.
    pub fn new(
        operation: Operation,
        format: FileFormat,
        tensors: Vec<Described<'a>>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self> {
        Ok(match format {
            FileFormat::Safetensors => {
                Self::Safetensors(safetensors::Plan::new(operation, tensors, metadata)?)
            }
            FileFormat::PyTorch => Self::Archive(pickle_writer::entries(operation, &tensors)?),
            FileFormat::Npz => Self::Archive(npz_writer::entries(operation, &tensors)?),
        })
    }

    /// Makes the file.
    pub fn create(&self, operation: Operation, path: &Path, overwrite: bool) -> Result<AtomicFile> {
        let (head, len) = match self {
            Self::Safetensors(plan) => (&*plan.head, plan.data_len),
            Self::Archive(_) => (&[][..], 0),
        };
        AtomicFile::create(operation, path, overwrite, head, len)
    }

    /// Bytes of the file, if they are known before it is written.
    pub fn len(&self) -> Option<u64> {
        match self {
            Self::Safetensors(plan) => Some(plan.len()),
            Self::Archive(_) => None,
        }
    }

    /// Writes the tensors, and tells `wrote` of their bytes; gives the file's length.
    pub fn write(
        &self,
        operation: Operation,
        file: &AtomicFile,
        tensors: &BTreeMap<String, Tensor>,
        wrote: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<u64> {
        let plan = match self {
            Self::Safetensors(plan) => plan,
            Self::Archive(entries) => {
                return archive_writer::write(operation, file, entries, tensors, wrote);
            }
        };
        let handle = file.handle()?;
        for entry in &plan.entries {
            let tensor = find(operation, tensors, entry.name)?;
            let start = entry.info.data_offsets.0 as u64;
            tensor.for_each_part(operation, entry.name, |bytes, at| {
                wrote(bytes.len() as u64)?;
                file.write_at(&handle, bytes, start + at)
            })?;
        }
        Ok(plan.len())
    }
}
