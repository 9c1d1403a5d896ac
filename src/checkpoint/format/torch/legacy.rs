//! PyTorch's files before the archives: pickles, and then the storages one after the other.

use std::collections::HashMap;
use std::io::{BufRead, Seek, SeekFrom};
use std::sync::Arc;

use super::dtype;
use super::pickle::{self, broken};
use super::storage::{Place, Storage, Storages};
use super::value::{Graph, Id, Read, Value};
use crate::checkpoint::tensor::SharedFile;
use crate::checkpoint::text::OPEN;
use crate::checkpoint::unreadable::unreadable;

/// What such a file begins with, as a pickle.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;

/// A part of a storage: its first element and the number of them.
type View = Option<(u64, u64)>;

/// What a pickle tells its reader of a storage: key, name of the elements' type, and which part of it is
/// meant. Its size is told by the file.
pub fn told(graph: &Graph, id: Id) -> Option<(&str, &'static str, View)> {
    let told = graph.tuple(id)?;
    let &[what, class, key, _, _, ref view @ ..] = told else { return None };
    if graph.text(what) != Some("storage") {
        return None;
    }
    let view = match view.first() {
        Some(&view) if !matches!(graph.get(view), Value::None) => {
            let &[_, offset, numbers] = graph.tuple(view)? else { return None };
            Some((graph.integer(offset)? as u64, graph.integer(numbers)? as u64))
        }
        _ => None,
    };
    let element = dtype::of_storage(graph.class(class)?)?;
    Some((graph.text(key)?, element, view))
}

/// A file's values, and where its storages are.
pub struct Contents {
    pub graph: Graph,
    pub root: Id,
    /// The first byte and the bytes of each storage, by its key.
    pub places: HashMap<String, (u64, u64)>,
}

/// Reads such a file of that length, or a lone pickle.
pub fn read(mut reader: impl BufRead + Seek, len: u64) -> Read<Contents> {
    let (graph, root) = pickle::read(&mut reader)?;
    if !matches!(graph.get(root), Value::Int(MAGIC)) {
        return Ok(Contents { graph, root, places: HashMap::new() });
    }
    pickle::read(&mut reader)?; // the version
    pickle::read(&mut reader)?; // of the machine; storages are little-endian anyway
    let (graph, root) = pickle::read(&mut reader)?;
    let (keys, list) = pickle::read(&mut reader)?;
    let sizes = sizes(&graph);
    let mut places = HashMap::new();
    let failed = |error| unreadable(OPEN, "storages", &error);
    let mut at = reader.stream_position().map_err(failed)?;
    for &key in keys.elements(list).unwrap_or_default() {
        let key = keys.text(key).ok_or_else(|| broken("the key of a storage", keys.what(key)))?;
        let mut numbers = [0; 8];
        reader.read_exact(&mut numbers).map_err(failed)?;
        let size = sizes.get(key).copied().unwrap_or(1);
        let bytes = u64::from_le_bytes(numbers).checked_mul(size);
        let end = bytes.and_then(|bytes| bytes.checked_add(at + 8)).filter(|&end| end <= len);
        let (Some(bytes), Some(end)) = (bytes, end) else {
            return Err(broken("storages within the file", format!("storage {key} beyond it")));
        };
        places.insert(key.to_owned(), (at + 8, bytes));
        at = reader.seek(SeekFrom::Start(end)).map_err(failed)?;
    }
    Ok(Contents { graph, root, places })
}

/// Bytes of an element of each storage, by its key.
fn sizes(graph: &Graph) -> HashMap<String, u64> {
    let ids = 0..graph.len() as Id;
    let storages = ids.filter_map(|id| match graph.get(id) {
        Value::Persistent(told_of) => told(graph, *told_of),
        _ => None,
    });
    storages.map(|(key, element, ..)| (key.to_owned(), dtype::size(element) as u64)).collect()
}

/// The storages of such a file.
pub struct InFile {
    pub file: Arc<SharedFile>,
    pub places: HashMap<String, (u64, u64)>,
}

impl Storages for InFile {
    fn get(&mut self, key: &str) -> Read<Storage> {
        let place = self.places.get(key);
        let &(start, len) = place.ok_or_else(|| broken("the storage that it names", key))?;
        let place = Place::File(self.file.clone(), start, None);
        Ok(Storage { place, len, big_endian: false })
    }
}

/// The storage that was saved, as such a file, into bytes, and the name of its elements' type.
pub fn storage_of(bytes: &[u8]) -> Read<(Storage, &'static str)> {
    let contents = read(std::io::Cursor::new(bytes), bytes.len() as u64)?;
    let Contents { graph, root, places } = contents;
    let wrong = || broken("a storage", graph.what(root));
    let Value::Persistent(told_of) = graph.get(root) else { return Err(wrong()) };
    let (key, element, ..) = told(&graph, *told_of).ok_or_else(wrong)?;
    let &(start, len) = places.get(key).ok_or_else(wrong)?;
    let bytes = bytes.get(start as usize..(start + len) as usize).ok_or_else(wrong)?;
    Ok((Storage { place: Place::Memory(bytes.into()), len, big_endian: false }, element))
}
