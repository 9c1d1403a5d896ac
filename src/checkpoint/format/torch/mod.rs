//! PyTorch's files: what was pickled is parsed into a graph of values, and nothing of it called.

mod dtype;
mod legacy;
mod pickle;
mod state_dict;
mod storage;
mod tensors;
mod tree;
mod value;
mod zipped;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read as _, Seek};
use std::sync::Arc;

use super::container::Parts;
use crate::checkpoint::opened::{Opened, PassedOver};
use crate::checkpoint::tensor::{SharedFile, Tensor};
use crate::checkpoint::text::{OPEN, shown};
use crate::checkpoint::unreadable::unreadable;
use crate::error::{ErrorKind, Result};
use storage::Storages;
use tensors::{Tensors, kind};
use tree::Tree;
use value::{Graph, Id};

/// The tensors of a file of that length: of the state dict in it, or of what is at `key`.
pub fn read(mut file: File, len: u64, key: Option<&str>) -> Result<Parts> {
    let failed = |error| unreadable(OPEN, "format", &error);
    let mut start = Vec::new();
    (&file).take(2).read_to_end(&mut start).map_err(failed)?;
    file.rewind().map_err(failed)?;
    if start == b"PK" {
        let (graph, root, storages) = zipped::read(file)?;
        return tensors_of(&graph, root, storages, key);
    }
    let shared = Arc::new(SharedFile::new(file.try_clone().map_err(failed)?));
    let contents = legacy::read(BufReader::new(file), len)?;
    let storages = legacy::InFile { file: shared, places: contents.places };
    tensors_of(&contents.graph, contents.root, storages, key)
}

fn tensors_of(
    graph: &Graph,
    root: Id,
    storages: impl Storages,
    key: Option<&str>,
) -> Result<Parts> {
    let mut tree = Tree::new(graph);
    let found = state_dict::find(&mut tree, root, key)?;
    let flat = tree.flat(found.id, &found.skip)?;
    let mut opened = Opened { key: found.key, passed_over: found.passed_over, ..Opened::default() };
    opened.passed_over.extend(flat.passed_over);
    let mut reader = Tensors { graph, storages, within: HashMap::new() };
    let mut tensors: BTreeMap<String, (Id, Tensor)> = BTreeMap::new();
    for (name, id) in flat.tensors {
        if let Some((other, _)) = tensors.get(&name) {
            if *other == id {
                continue;
            }
            let expected = "names that differ; key chooses a dictionary of the file";
            let got = "two tensors of this one";
            return Err(OPEN.error(ErrorKind::Format, shown(&name), expected, got));
        }
        match reader.make(&name, kind(graph, id))? {
            Ok(tensor) => {
                tensors.insert(name, (id, tensor));
            }
            Err(what) => opened.passed_over.push(PassedOver { name, what }),
        }
    }
    if tensors.is_empty() {
        let got = match opened.passed_over.iter().all(|passed| passed.name.is_empty()) {
            true => tree.what(found.id),
            false => format!("none, but {}", opened.passed_over_text()),
        };
        return Err(OPEN.error(ErrorKind::Format, "format", "tensors in a PyTorch file", got));
    }
    let tensors = tensors.into_iter().map(|(name, (_, tensor))| (name, tensor)).collect();
    Ok(Parts { tensors, metadata: BTreeMap::new(), opened })
}
