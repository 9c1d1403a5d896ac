//! A graph of values as a tree of entries: what the names of tensors are made of.

use std::collections::HashMap;

use super::tensors::{Kind, kind};
use super::value::{Graph, Id, Key, Read, Value};
use crate::checkpoint::opened::PassedOver;
use crate::checkpoint::text::OPEN;
use crate::error::ErrorKind;

/// The deepest entry that is looked at.
const MAX_DEPTH: usize = 100;

/// What a file says of training and not of weights: parts of keys.
const NO_WEIGHTS: [&str; 12] = [
    "optim",
    "sched",
    "scaler",
    "rng",
    "callback",
    "loops",
    "hparam",
    "hyper_param",
    "config",
    "args",
    "history",
    "metric",
];

/// Entries of a graph.
pub struct Tree<'g> {
    pub graph: &'g Graph,
    /// Whether there are tensors in a value, of those that were asked for.
    holding: HashMap<Id, bool>,
}

/// The tensors below a value, by their names, and what else is there.
#[derive(Default)]
pub struct Flat {
    pub tensors: Vec<(String, Id)>,
    pub passed_over: Vec<PassedOver>,
    visited: usize,
}

impl<'g> Tree<'g> {
    pub fn new(graph: &'g Graph) -> Self {
        Self { graph, holding: HashMap::new() }
    }

    /// The entries of a dictionary, list, module, or an object that is one; of a key that is there twice,
    /// the last, as in Python.
    pub fn entries(&self, id: Id) -> Option<Vec<(Key, Id)>> {
        let graph = self.graph;
        if kind(graph, id) != Kind::None {
            return None;
        }
        if let Some(entries) = self.module_entries(id) {
            return Some(entries);
        }
        if let Some(pairs) = graph.pairs(id) {
            let keyed = |(key, value)| (graph.key(key), key, value);
            let mut entries: Vec<(Key, Id, Id)> = Vec::new();
            let mut places: HashMap<(Key, bool), usize> = HashMap::new();
            for (name, key, value) in pairs.into_iter().map(keyed) {
                // The integer 1 and the text "1" are two keys and one name.
                let is_text = graph.text(key).is_some();
                match places.get(&(name.clone(), is_text)) {
                    Some(&place) => entries[place].2 = value,
                    None => {
                        places.insert((name.clone(), is_text), entries.len());
                        entries.push((name, key, value));
                    }
                }
            }
            return Some(entries.into_iter().map(|(name, _, value)| (name, value)).collect());
        }
        let elements = graph.elements(id)?.iter().enumerate();
        Some(elements.map(|(index, &value)| (Key::Name(index.to_string()), value)).collect())
    }

    /// What a module of PyTorch's that was pickled whole has in its state dict.
    fn module_entries(&self, id: Id) -> Option<Vec<(Key, Id)>> {
        let graph = self.graph;
        let attributes = graph.attributes(id)?;
        let part = |name| graph.entry(attributes, name).and_then(|part| graph.pairs(part));
        let (parameters, modules) = (part("_parameters")?, part("_modules")?);
        let transient = graph.entry(attributes, "_non_persistent_buffers_set");
        let transient = transient.and_then(|set| graph.members(set)).unwrap_or_default();
        let is_transient = |key: Id| {
            let name = graph.text(key);
            name.is_some() && transient.iter().any(|&other| graph.text(other) == name)
        };
        let buffers = part("_buffers").unwrap_or_default();
        let buffers = buffers.into_iter().filter(|&(key, _)| !is_transient(key));
        let all = parameters.into_iter().chain(buffers).chain(modules);
        // Parameters, buffers and modules that a module hasn't got are None.
        let there = all.filter(|&(_, value)| !matches!(graph.get(value), Value::None));
        Some(there.map(|(key, value)| (graph.key(key), value)).collect())
    }

    /// Whether a value is a dictionary, a module or an object that is a dictionary.
    pub fn is_mapping(&self, id: Id) -> bool {
        self.graph.pairs(id).is_some() || self.module_entries(id).is_some()
    }

    pub fn is_module(&self, id: Id) -> bool {
        self.module_entries(id).is_some()
    }

    /// Whether there are tensors of weights in a value: of other than integers or bytes, with an axis.
    pub fn holds_weights(&mut self, id: Id) -> bool {
        if let Some(&holds) = self.holding.get(&id) {
            return holds;
        }
        // While it is looked for, and in a circle: no.
        self.holding.insert(id, false);
        let mut below = vec![id];
        let mut seen = std::collections::HashSet::new();
        let mut holds = false;
        while let Some(value) = below.pop() {
            if !seen.insert(value) {
                continue;
            }
            holds = self.is_weight(value);
            if holds {
                break;
            }
            let entries = self.entries(value).unwrap_or_default();
            below.extend(entries.into_iter().map(|(_, value)| value));
        }
        self.holding.insert(id, holds);
        holds
    }

    /// Whether a value is a tensor with an axis, and not of bytes, as states of random numbers are.
    pub fn is_weight(&self, id: Id) -> bool {
        match kind(self.graph, id) {
            Kind::Torch { storage, size, .. } => {
                let axes = self.graph.integers(size).unwrap_or_default();
                let told = match self.graph.get(storage) {
                    Value::Persistent(told) => self.graph.tuple(*told),
                    _ => None,
                };
                let class = told.and_then(|told| self.graph.class(*told.get(1)?));
                !axes.is_empty() && !class.is_some_and(|class| class.ends_with(".ByteStorage"))
            }
            Kind::NumPy { shape, .. } => {
                self.graph.integers(shape).is_some_and(|shape| !shape.is_empty())
            }
            Kind::Other(_) => true,
            Kind::None => false,
        }
    }

    /// Whether a value is the state of an optimizer, an optimizer itself, or a list of them.
    pub fn is_optimizer(&self, id: Id) -> bool {
        let graph = self.graph;
        let is_one = |id| {
            let class = graph.object(id).map(|(class, _)| class);
            graph.entry(id, "param_groups").is_some()
                || class.is_some_and(|class| class.starts_with("torch.optim."))
        };
        is_one(id)
            || graph.elements(id).is_some_and(|elements| {
                !elements.is_empty() && elements.iter().all(|&element| is_one(element))
            })
    }

    /// Whether an entry is of training and not of weights.
    pub fn is_of_training(&self, key: &Key, id: Id) -> bool {
        let key = key.text().to_lowercase();
        self.is_optimizer(id)
            || key.starts_with("opt")
            || NO_WEIGHTS.iter().any(|part| key.contains(part))
    }

    /// What an entry that isn't taken is.
    pub fn what(&self, id: Id) -> String {
        match kind(self.graph, id) {
            Kind::Other(what) => what.to_owned(),
            Kind::Torch { .. } => "a tensor".to_owned(),
            Kind::NumPy { .. } => "a NumPy array".to_owned(),
            Kind::None if self.is_optimizer(id) => "the state of an optimizer".to_owned(),
            Kind::None => self.graph.what(id),
        }
    }

    /// The tensors below a value.
    ///
    /// # Errors
    /// For more entries, through values that stand in several places, than a file can mean.
    pub fn flat(&self, id: Id, skip: &[Id]) -> Read<Flat> {
        let mut flat = Flat::default();
        self.flatten(id, String::new(), &mut Vec::new(), skip, &mut flat)?;
        Ok(flat)
    }

    fn flatten(
        &self,
        id: Id,
        name: String,
        path: &mut Vec<Id>,
        skip: &[Id],
        flat: &mut Flat,
    ) -> Read<()> {
        flat.visited += 1;
        if flat.visited > 8 * self.graph.len() + 1000 || path.len() > MAX_DEPTH {
            let expected = "entries that a file of this size can have";
            return Err(OPEN.error(
                ErrorKind::Overflow,
                "pickle",
                expected,
                "more, or deeper ones",
            ));
        }
        let mut pass_over = |what: &str| {
            flat.passed_over.push(PassedOver { name: name.clone(), what: what.to_owned() });
        };
        match kind(self.graph, id) {
            Kind::None => (),
            Kind::Other(what) => {
                pass_over(what);
                return Ok(());
            }
            _ => {
                flat.tensors.push((name, id));
                return Ok(());
            }
        }
        if skip.contains(&id) {
            pass_over(&self.what(id));
            return Ok(());
        }
        let Some(entries) = self.entries(id) else {
            pass_over(&self.what(id));
            return Ok(());
        };
        if path.contains(&id) {
            pass_over("what it is in itself");
            return Ok(());
        }
        path.push(id);
        for (key, value) in entries {
            let name = if name.is_empty() {
                key.text().to_owned()
            } else {
                format!("{name}.{}", key.text())
            };
            match key {
                Key::Name(_) => self.flatten(value, name, path, skip, flat)?,
                Key::Other(_) => {
                    flat.passed_over.push(PassedOver { name, what: self.what(value) });
                }
            }
        }
        path.pop();
        Ok(())
    }
}
