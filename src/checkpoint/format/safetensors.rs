//! The safetensors format: <https://github.com/huggingface/safetensors#format>. Eight bytes of the
//! header's length, the header in JSON, and the tensors end to end.
//!
//! Types are those of the `safetensors` crate. Its own reader keeps the last of two tensors of a name,
//! and its writer puts metadata in any order; both matter here.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::container::Parts;
use crate::checkpoint::opened::Opened;
use crate::checkpoint::tensor::{Bytes, SharedFile, Tensor, byte_len};
use crate::checkpoint::text::{OPEN, shown};
use crate::checkpoint::unreadable::unreadable;
use crate::error::{ErrorKind, Operation, Result};

/// The longest header that readers accept.
const MAX_HEADER: u64 = 100_000_000;

/// The key of the metadata among those of the tensors.
const METADATA: &str = "__metadata__";

/// What a file has, as its header says.
#[derive(Default)]
struct Header {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Header, A::Error> {
                let mut header = Header::default();
                let mut has_metadata = false;
                while let Some(name) = map.next_key::<String>()? {
                    let again = if name == METADATA {
                        let metadata: Option<BTreeMap<_, _>> = map.next_value()?;
                        header.metadata = metadata.unwrap_or_default();
                        std::mem::replace(&mut has_metadata, true)
                    } else {
                        header.tensors.insert(name.clone(), map.next_value()?).is_some()
                    };
                    if again {
                        let text = format!("the name \"{}\" twice", shown(&name));
                        return Err(A::Error::custom(text));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// The tensors and the metadata of a file that is `len` bytes long.
pub fn read(mut file: File, len: u64) -> Result<Parts> {
    let refused =
        |expected: &str, got: String| Err(OPEN.error(ErrorKind::Format, "header", expected, got));
    let failed = |error: io::Error| unreadable(OPEN, "header", &error);
    let mut header_len = [0; 8];
    file.read_exact(&mut header_len).map_err(failed)?;
    let header_len = u64::from_le_bytes(header_len);
    if header_len > MAX_HEADER || header_len > len.saturating_sub(8) {
        let expected = format!("a header within the file's {len} bytes, of at most {MAX_HEADER}");
        return refused(&expected, format!("one of {header_len}"));
    }
    let mut header = vec![0; header_len as usize];
    file.read_exact(&mut header).map_err(failed)?;
    let header: Header = match serde_json::from_slice(&header) {
        Ok(header) => header,
        Err(error) => {
            return refused("a JSON object of tensors, each name once", shown(&error.to_string()));
        }
    };
    let file = Arc::new(SharedFile::new(file));
    let mut ranges = Vec::new();
    let mut tensors = BTreeMap::new();
    for (name, TensorInfo { dtype, shape, data_offsets: (start, end) }) in header.tensors {
        ranges.push((start, end, name.clone()));
        if end < start || end as u64 > len - 8 - header_len {
            let expected = format!("data_offsets within the file's {} bytes", len - 8 - header_len);
            let got = format!("[{start}, {end}]");
            return Err(OPEN.error(ErrorKind::Format, shown(&name), expected, got));
        }
        let bytes = Bytes::File(file.clone(), 8 + header_len + start as u64);
        let tensor = Tensor::at(OPEN, &name, dtype, shape, bytes)?;
        if tensor.byte_len() != end - start {
            let expected = format!("{} bytes for {dtype} {:?}", tensor.byte_len(), tensor.shape());
            let got = end - start;
            return Err(OPEN.error(ErrorKind::Format, shown(&name), expected, got));
        }
        tensors.insert(name, tensor);
    }
    // End to end, from the first byte to the last.
    ranges.sort();
    let mut at = 0;
    for (start, end, name) in ranges {
        if start != at {
            let expected = format!("data_offsets from {at} on, where the tensor before ends");
            return Err(OPEN.error(ErrorKind::Format, shown(&name), expected, start));
        }
        at = end;
    }
    if at as u64 != len - 8 - header_len {
        let expected = format!("tensors of {} bytes, to the file's end", len - 8 - header_len);
        return refused(&expected, format!("{at} bytes"));
    }
    Ok(Parts { tensors, metadata: header.metadata, opened: Opened::default() })
}

/// A tensor's place in a file to be written.
pub struct Entry<'a> {
    pub name: &'a str,
    pub info: TensorInfo,
}

/// What a file will be: the tensors by falling alignment and then by name, as the `safetensors` crate
/// has them, and the bytes before them.
pub struct Plan<'a> {
    pub entries: Vec<Entry<'a>>,
    /// The header's length and the header, filled up so that tensors are aligned.
    pub head: Vec<u8>,
    /// Bytes of all tensors.
    pub data_len: u64,
}

impl<'a> Plan<'a> {
    /// For tensors of that name, element type and shape.
    pub fn new(
        operation: Operation,
        mut tensors: Vec<(&'a str, Dtype, Vec<usize>)>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self> {
        tensors.sort_by(|(a, a_dtype, _), (b, b_dtype, _)| b_dtype.cmp(a_dtype).then(a.cmp(b)));
        let mut entries = Vec::with_capacity(tensors.len());
        let mut end = 0usize;
        for (name, dtype, shape) in tensors {
            if name == METADATA {
                let expected = "another name: this one is the metadata's";
                return Err(operation.error(ErrorKind::Config, "name", expected, name));
            }
            let start = end;
            let len = byte_len(operation, name, dtype, &shape)?;
            end = start.checked_add(len).ok_or_else(|| {
                let expected = "a size that fits the address space";
                operation.error(ErrorKind::Overflow, shown(name), expected, "more")
            })?;
            let info = TensorInfo { dtype, shape, data_offsets: (start, end) };
            entries.push(Entry { name, info });
        }
        let header = serde_json::to_vec(&Written { entries: &entries, metadata });
        let mut header = header.map_err(|error| {
            operation.error(ErrorKind::Format, "header", "names in JSON", error)
        })?;
        header.resize(header.len().next_multiple_of(8), b' ');
        if header.len() as u64 > MAX_HEADER {
            let expected = format!("a header of at most {MAX_HEADER} bytes");
            return Err(operation.error(ErrorKind::Overflow, "header", expected, header.len()));
        }
        let head = [&(header.len() as u64).to_le_bytes(), &header[..]].concat();
        Ok(Self { entries, head, data_len: end as u64 })
    }
}

/// A header to write.
struct Written<'w, 'a> {
    entries: &'w [Entry<'a>],
    metadata: &'w BTreeMap<String, String>,
}

impl Serialize for Written<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA, self.metadata)?;
        }
        for Entry { name, info } in self.entries {
            map.serialize_entry(name, info)?;
        }
        map.end()
    }
}
