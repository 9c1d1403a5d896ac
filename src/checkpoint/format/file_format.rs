//! The formats that checkpoints are written in, and which one a path asks for.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::checkpoint::text::{shown, shown_path};
use crate::error::{Error, ErrorKind, Operation, Result};

/// A format that checkpoints are written in. What is read tells its format itself.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum FileFormat {
    /// safetensors, with the metadata; `.safetensors`, or no extension.
    #[default]
    Safetensors,
    /// What `torch.load(path, weights_only=True)` gives as an `OrderedDict` of tensors; `.pth`, `.pt`,
    /// `.ckpt` or `.bin`. It has all element types but `F4` and `F6`, and no metadata.
    PyTorch,
    /// What `numpy.load(path)` gives, not compressed; `.npz`. It has no metadata, and no `BF16`, `F4`,
    /// `F6` and `F8`.
    Npz,
}

impl FileFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Safetensors, Self::PyTorch, Self::Npz];

    /// The name: `safetensors`, `pytorch` or `npz`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::PyTorch => "pytorch",
            Self::Npz => "npz",
        }
    }

    /// The format that a path's extension asks for, in letters of either case; without one safetensors.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for any other extension.
    pub fn of_path(path: impl AsRef<Path>) -> Result<Self> {
        Self::told_or_of(Operation("FileFormat::of_path"), None, path.as_ref())
    }

    /// The format that was told, or else that of the path.
    pub(crate) fn told_or_of(
        operation: Operation,
        told: Option<Self>,
        path: &Path,
    ) -> Result<Self> {
        if let Some(format) = told {
            return Ok(format);
        }
        // `model.pth.tar`, as many scripts of PyTorch name their checkpoints, is no archive of tar.
        let name = path.with_extension("");
        let is_tar = path.extension().is_some_and(|extension| extension == "tar");
        let path_of_format = if is_tar && name.extension().is_some() { &name } else { path };
        let Some(extension) = path_of_format.extension() else { return Ok(Self::Safetensors) };
        let extension = extension.to_string_lossy();
        let has = |format: &Self| {
            format.extensions().iter().any(|known| known.eq_ignore_ascii_case(&extension))
        };
        Self::ALL.into_iter().find(has).ok_or_else(|| {
            let known = Self::ALL.map(|format| format.extensions().join(", .")).join(", .");
            let expected = format!("the extension .{known} or none, or to be told the format");
            let got = format!(".{}", shown(&extension));
            operation.error(ErrorKind::Config, shown_path(path), expected, got)
        })
    }

    fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Safetensors => &["safetensors"],
            Self::PyTorch => &["pth", "pt", "ckpt", "bin"],
            Self::Npz => &["npz"],
        }
    }
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for FileFormat {
    type Err = Error;

    /// The format of that [name](Self::name).
    ///
    /// # Errors
    /// [`ErrorKind::Value`] for any other text.
    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| {
            let expected = Self::ALL.map(Self::name).join(", ");
            Operation("FileFormat::from_str").error(ErrorKind::Value, "name", expected, shown(name))
        })
    }
}
