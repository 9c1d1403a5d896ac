//! PyTorch's archives: a pickle, and each storage an entry.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::sync::{Arc, Mutex};

use zip::CompressionMethod;

use super::pickle::{self, broken};
use super::storage::{Place, Storage, Storages};
use super::value::{Graph, Id, Read};
use crate::checkpoint::format::archive::{self, Archive};
use crate::checkpoint::tensor::SharedFile;
use crate::checkpoint::text::OPEN;
use crate::checkpoint::unreadable::unreadable;
use crate::error::ErrorKind;

/// An archive's storages.
pub struct InArchive {
    /// What all of its names begin with.
    folder: String,
    file: Arc<SharedFile>,
    archive: Arc<Mutex<Archive>>,
    /// The places of entries, by their names.
    indices: HashMap<String, usize>,
    big_endian: bool,
}

/// An entry as it is in the file.
struct Entry {
    place: Place,
    len: u64,
}

/// Opens an archive: its pickle's values, which of them is the whole, and the storages.
pub fn read(file: File) -> Read<(Graph, Id, InArchive)> {
    let failed = |error| unreadable(OPEN, "format", &error);
    let shared = Arc::new(SharedFile::new(file.try_clone().map_err(failed)?));
    let archive = archive::open(file)?;
    let names = archive::names(&archive)?;
    let mut pickles = names.iter().filter_map(|name| {
        let folder = name.strip_suffix("data.pkl")?;
        (folder.is_empty() || folder.ends_with('/')).then_some(folder)
    });
    let (Some(folder), None) = (pickles.next(), pickles.next()) else {
        let expected = "a PyTorch archive with one data.pkl";
        let got = "an archive with none, or several";
        return Err(OPEN.error(ErrorKind::Format, "format", expected, got));
    };
    let folder = folder.to_owned();
    let indices = names.into_iter().enumerate().map(|(index, name)| (name, index)).collect();
    let archive = Arc::new(Mutex::new(archive));
    let mut storages = InArchive { folder, file: shared, archive, indices, big_endian: false };
    if let Some(order) = storages.entry("byteorder")? {
        storages.big_endian = order.read(1 << 4).map_err(failed)? == b"big";
    }
    let pickle = storages.entry("data.pkl")?.ok_or_else(|| broken("data.pkl", "none"))?;
    let pickle = pickle.read(u64::MAX).map_err(|error| unreadable(OPEN, "data.pkl", &error))?;
    let (graph, root) = pickle::read(BufReader::new(&pickle[..]))?;
    Ok((graph, root, storages))
}

impl InArchive {
    /// The entry of that name, if there is one.
    fn entry(&self, name: &str) -> Read<Option<Entry>> {
        let Some(&index) = self.indices.get(&format!("{}{name}", self.folder)) else {
            return Ok(None);
        };
        let mut archive = self.archive.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let entry = archive.by_index_raw(index).map_err(io::Error::from);
        let entry = entry.map_err(|error| unreadable(OPEN, name, &error))?;
        let place = match (entry.compression(), entry.data_start()) {
            (CompressionMethod::Stored, Some(start)) if !entry.encrypted() => {
                // PyTorch can be told to leave checksums out, which are zero then.
                let checksum = Some(entry.crc32()).filter(|&checksum| checksum != 0);
                Place::File(self.file.clone(), start, checksum)
            }
            _ => Place::Packed(self.archive.clone(), index),
        };
        Ok(Some(Entry { place, len: entry.size() }))
    }
}

impl Entry {
    /// All bytes, if they are no more than `most`.
    fn read(self, most: u64) -> io::Result<Vec<u8>> {
        let Self { place, len } = self;
        if len > most {
            return Ok(Vec::new());
        }
        Storage { place, len, big_endian: false }
            .read(0, len as usize)
            .map(|bytes| bytes.into_owned())
    }
}

impl Storages for InArchive {
    fn get(&mut self, key: &str) -> Read<Storage> {
        let entry = self.entry(&format!("data/{key}"))?;
        let Entry { place, len } =
            entry.ok_or_else(|| broken("the storage that it names", format!("no data/{key}")))?;
        Ok(Storage { place, len, big_endian: self.big_endian })
    }
}
