//! Which format a file has, by its content.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use super::archive;
use crate::checkpoint::text::OPEN;
use crate::checkpoint::unreadable::unreadable_file;
use crate::error::{ErrorKind, Result};

/// What holds the tensors.
pub enum Container {
    Safetensors,
    Torch,
    Npz,
}

impl Container {
    /// Tells by the content; leaves the file at its start. An archive may unpack to `most` bytes.
    pub fn of(path: &Path, mut file: &File, most: u64) -> Result<Self> {
        let refused = |error| unreadable_file(path, &error);
        let mut start = Vec::new();
        file.take(9).read_to_end(&mut start).map_err(refused)?;
        file.rewind().map_err(refused)?;
        if start.starts_with(b"PK") {
            let names = archive::examine(file, most)?;
            let torch = names.iter().any(|name| name == "data.pkl" || name.ends_with("/data.pkl"));
            let arrays = names.iter().any(|name| name.ends_with(".npy"));
            return Ok(if arrays && !torch { Self::Npz } else { Self::Torch });
        }
        if start.starts_with(b"\x93NUMPY") {
            let expected = "an .npz file: a .npy has one array and no names";
            return Err(OPEN.error(ErrorKind::Format, "format", expected, "a .npy file"));
        }
        // Eight bytes of the header's length, and JSON.
        if start.get(8) == Some(&b'{') {
            return Ok(Self::Safetensors);
        }
        Ok(Self::Torch)
    }
}
