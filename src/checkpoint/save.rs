//! Writes a checkpoint as it is.

use std::path::Path;

use super::atomic_file::AtomicFile;
use super::format::safetensors::Plan;
use super::state::Checkpoint;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Operation, Result};

impl Checkpoint {
    /// Writes a safetensors file: to a temporary one beside it first, which then takes its name. The
    /// same tensors give the same bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] if the file exists and `overwrite` isn't set; [`ErrorKind::File`] if it can't
    /// be written; [`ErrorKind::File`] and [`ErrorKind::Format`] for a tensor that can't be read;
    /// [`ErrorKind::Config`] for one of the metadata's own name, `__metadata__`;
    /// [`ErrorKind::Overflow`] for tensors or names beyond what the format holds. There is no new file
    /// then, and an old one is as it was.
    pub fn save(&self, path: impl AsRef<Path>, overwrite: bool) -> Result<()> {
        const OPERATION: Operation = Operation("Checkpoint::save");
        let tensors = self.tensors.iter();
        let entries = tensors
            .map(|(name, tensor)| (name.as_str(), tensor.dtype(), tensor.shape().to_vec()))
            .collect();
        let plan = Plan::new(OPERATION, entries, &self.metadata)?;
        let (head, len) = (&plan.head, plan.data_len);
        let file = AtomicFile::create(OPERATION, path.as_ref(), overwrite, head, len)?;
        let handle = file.handle()?;
        for entry in &plan.entries {
            let start = entry.info.data_offsets.0 as u64;
            self.tensors[entry.name].for_each_part(OPERATION, entry.name, |bytes, at| {
                file.write_at(&handle, bytes, start + at)
            })?;
        }
        file.persist()
    }
}
