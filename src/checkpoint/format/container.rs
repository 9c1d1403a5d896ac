//! Which format a file has, by its content, and what reading one gives.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use super::{archive, other};
use crate::checkpoint::opened::Opened;
use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::text::{OPEN, shown_path};
use crate::checkpoint::unreadable::unreadable_file;
use crate::error::{ErrorKind, Result};

/// What holds the tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    Safetensors,
    Torch,
    Npz,
}

/// What a file gives: tensors by name, texts by name, and what else is in it.
pub struct Parts {
    pub tensors: BTreeMap<String, Tensor>,
    pub metadata: BTreeMap<String, String>,
    pub opened: Opened,
}

impl Container {
    /// Tells by the content; leaves the file at its start. An archive may unpack to `most` bytes.
    pub fn of(path: &Path, mut file: &File, most: u64) -> Result<Self> {
        let refused = |error| unreadable_file(path, &error);
        let mut start = Vec::new();
        file.take(1 << 9).read_to_end(&mut start).map_err(refused)?;
        file.rewind().map_err(refused)?;
        let other = |what: &str| {
            let expected = "a checkpoint: safetensors, PyTorch or .npz";
            Err(OPEN.error(ErrorKind::Format, shown_path(path), expected, what))
        };
        if start.starts_with(b"PK") {
            let names = archive::examine(file, most)?;
            if let Some(what) = other::of_entries(&names) {
                return other(what);
            }
            let torch = names.iter().any(|name| name == "data.pkl" || name.ends_with("/data.pkl"));
            let arrays = names.iter().any(|name| name.ends_with(".npy"));
            return Ok(if arrays && !torch { Self::Npz } else { Self::Torch });
        }
        // Eight bytes of the header's length, and JSON.
        if start.get(8) == Some(&b'{') && start[4..8] == [0; 4] {
            return Ok(Self::Safetensors);
        }
        match other::of_start(&start) {
            Some(what) => other(what),
            None if start.get(8) == Some(&b'{') => Ok(Self::Safetensors),
            None => Ok(Self::Torch),
        }
    }
}
