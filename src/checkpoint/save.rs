//! Writes a checkpoint as it is.

use std::path::Path;

use super::format::described::Described;
use super::format::file_format::FileFormat;
use super::lost_texts;
use super::state::Checkpoint;
use super::write::FilePlan;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Operation, Result};

/// How to write a file. The default: in the format that the path asks for, and none that exists.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SaveOptions {
    /// The format. Default: [`FileFormat::of_path`].
    pub format: Option<FileFormat>,
    /// Whether an existing file may be replaced. Default: no.
    pub overwrite: bool,
}

impl SaveOptions {
    /// Sets the format, whatever the path's extension.
    pub fn format(mut self, format: FileFormat) -> Self {
        self.format = Some(format);
        self
    }

    /// Sets whether an existing file may be replaced.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }
}

impl Checkpoint {
    /// Writes a file: to a temporary one beside it first, which then takes its name. The same tensors
    /// give the same bytes. Formats but safetensors leave out the texts of the metadata.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an extension of no format, if none was told; for a name that the format
    /// can't have, as `__metadata__` in safetensors; for texts that would be left out and without which a
    /// layer is another, as `do_conv.kernel_size.NAME`. [`ErrorKind::Format`] for an element type that the
    /// format hasn't got. [`ErrorKind::Exists`] if the file exists and may not be replaced;
    /// [`ErrorKind::File`] if it can't be written; [`ErrorKind::File`] and [`ErrorKind::Format`] for a
    /// tensor that can't be read; [`ErrorKind::Overflow`] and [`ErrorKind::Shape`] for tensors or names
    /// beyond what the format holds. There is no new file then, and an old one is as it was.
    pub fn save(&self, path: impl AsRef<Path>, options: &SaveOptions) -> Result<()> {
        const OPERATION: Operation = Operation("Checkpoint::save");
        let path = path.as_ref();
        let format = FileFormat::told_or_of(OPERATION, options.format, path)?;
        let described = self.tensors.iter().map(|(name, tensor)| Described {
            name,
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
        });
        let plan = FilePlan::new(OPERATION, format, described.collect(), &self.metadata)?;
        lost_texts::expect_none(OPERATION, format, self)?;
        let file = plan.create(OPERATION, path, options.overwrite)?;
        plan.write(OPERATION, &file, &self.tensors, &mut |_| Ok(()))?;
        file.persist()
    }
}
