//! Finds the state dict in what was saved: the weights of a model among all that training scripts keep.

use super::tree::Tree;
use super::value::{Id, Key, Read};
use crate::checkpoint::opened::PassedOver;
use crate::checkpoint::text::{OPEN, shown};
use crate::error::{Error, ErrorKind};

/// Keys that weights are saved under.
const KNOWN: [&str; 28] = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "model_dict",
    "model_weights",
    "model",
    "net",
    "net_state_dict",
    "network",
    "network_state_dict",
    "params",
    "weights",
    "module",
    "generator",
    "backbone",
    "encoder_state_dict",
    "weight",
    "best_model",
    "best_state_dict",
    "ema",
    "model_ema",
    "ema_model",
    "ema_state",
    "ema_state_dict",
    "ema_state_dict_model",
    "state_dict_ema",
    "model_ema_state_dict",
    "params_ema",
];

/// A key of its own for the whole file.
pub const WHOLE: &str = ".";

/// Where the state dict is.
pub struct Found {
    pub id: Id,
    /// The keys to it, with dots between; none for the file itself.
    pub key: Option<String>,
    pub passed_over: Vec<PassedOver>,
    /// Entries below it that aren't weights.
    pub skip: Vec<Id>,
}

/// Finds the state dict below `root`, or at the key that was told.
pub fn find(tree: &mut Tree, root: Id, told: Option<&str>) -> Read<Found> {
    match told {
        Some(WHOLE) => Ok(Found { id: root, key: None, passed_over: Vec::new(), skip: Vec::new() }),
        Some(key) => {
            let mut passed_over = Vec::new();
            let id = at_key(tree, root, "", key, &mut passed_over);
            let id = id.ok_or_else(|| no_such_key(tree, root, key))?;
            Ok(Found { id, key: Some(key.to_owned()), passed_over, skip: Vec::new() })
        }
        None => search(tree, root),
    }
}

/// The value at keys with dots between, of which `outer` are behind and `key` are left; keys may have dots
/// themselves. What lies beside the way is passed over.
fn at_key(
    tree: &Tree,
    id: Id,
    outer: &str,
    key: &str,
    passed_over: &mut Vec<PassedOver>,
) -> Option<Id> {
    let entries = if outer.matches('.').count() < 16 { tree.entries(id)? } else { return None };
    let places = 0..entries.len();
    let named = |place: &usize| entries[*place].0.text() == key;
    let mut way = places.clone().find(named).map(|place| (place, entries[place].1));
    for place in places {
        let (name, value) = &entries[place];
        if way.is_none()
            && let Some(rest) = key.strip_prefix(name.text()).and_then(|key| key.strip_prefix('.'))
        {
            let outer = format!("{outer}{}.", name.text());
            way = at_key(tree, *value, &outer, rest, passed_over).map(|id| (place, id));
        }
    }
    let (way, id) = way?;
    for (_, (name, value)) in entries.iter().enumerate().filter(|(place, _)| *place != way) {
        let name = format!("{outer}{}", name.text());
        passed_over.push(PassedOver { name, what: tree.what(*value) });
    }
    Some(id)
}

fn no_such_key(tree: &mut Tree, root: Id, key: &str) -> Error {
    let entries = tree.entries(root).unwrap_or_default();
    let holding = entries.into_iter().filter(|(_, value)| tree.is_mapping(*value));
    let mut names: Vec<_> = holding.map(|(key, _)| shown(key.text())).collect();
    names.truncate(20);
    let expected = match names.is_empty() {
        true => "none: the file has no dictionary in its dictionary".to_owned(),
        false => format!("a key of the file, {}", names.join(" or ")),
    };
    OPEN.error(ErrorKind::Config, "key", expected, shown(key))
}

/// What an entry of a dictionary that is looked at is.
struct Candidate {
    key: String,
    id: Id,
    is_known: bool,
}

fn search(tree: &mut Tree, root: Id) -> Read<Found> {
    let mut found = Found { id: root, key: None, passed_over: Vec::new(), skip: Vec::new() };
    let mut seen = vec![root];
    // A module is a state dict, whatever its parts are called.
    while !tree.is_module(found.id) {
        let Some(entries) = tree.entries(found.id) else { break };
        let of_training: Vec<bool> =
            entries.iter().map(|(key, value)| tree.is_of_training(key, *value)).collect();
        let candidates = candidates(tree, &entries, &of_training);
        let has_optimizer = entries.iter().any(|(_, value)| tree.is_optimizer(*value));
        let has_own = entries.iter().any(|(_, value)| tree.is_weight(*value));
        let has_known = candidates.iter().any(|candidate| candidate.is_known);
        if !has_known && (!has_optimizer || candidates.is_empty()) {
            let training = entries.iter().zip(&of_training).filter(|(_, of)| **of);
            found.skip = training.map(|((_, value), _)| *value).collect();
            break;
        }
        let [chosen] = &candidates[..] else { return Err(ambiguous(&found, &candidates, has_own)) };
        if has_own {
            return Err(ambiguous(&found, &candidates, has_own));
        }
        for (key, value) in entries.iter().filter(|(key, _)| key.text() != chosen.key) {
            let name = under(found.key.as_deref(), key.text());
            found.passed_over.push(PassedOver { name, what: tree.what(*value) });
        }
        found.key = Some(under(found.key.as_deref(), &chosen.key));
        found.id = chosen.id;
        if seen.contains(&found.id) {
            break;
        }
        seen.push(found.id);
    }
    Ok(found)
}

fn under(outer: Option<&str>, key: &str) -> String {
    outer.map_or(key.to_owned(), |outer| format!("{outer}.{key}"))
}

/// The dictionaries and modules of weights among entries, each object once: under a known key, if it is
/// under one.
fn candidates(tree: &mut Tree, entries: &[(Key, Id)], of_training: &[bool]) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = Vec::new();
    for ((key, id), of_training) in entries.iter().zip(of_training) {
        let Key::Name(name) = key else { continue };
        let is_known = KNOWN.contains(&&*name.to_lowercase());
        // A list may be anything, but not under such a key.
        let may_be = tree.is_mapping(*id) || (is_known && tree.entries(*id).is_some());
        if *of_training || !(may_be && tree.holds_weights(*id)) {
            continue;
        }
        match candidates.iter_mut().find(|candidate| candidate.id == *id) {
            Some(same) if is_known && !same.is_known => {
                *same = Candidate { key: name.clone(), id: *id, is_known };
            }
            Some(_) => (),
            None => candidates.push(Candidate { key: name.clone(), id: *id, is_known }),
        }
    }
    candidates
}

fn ambiguous(found: &Found, candidates: &[Candidate], has_own: bool) -> Error {
    let keys = candidates.iter().map(|candidate| under(found.key.as_deref(), &candidate.key));
    let mut keys: Vec<_> = keys.map(|key| shown(&key)).collect();
    keys.truncate(20);
    keys.push(format!("{WHOLE} for the whole file"));
    let expected = format!("to be told which weights are meant, by the key {}", keys.join(" or "));
    let got = match has_own {
        true => "a dictionary of weights beside weights",
        false => "several dictionaries of weights",
    };
    OPEN.error(ErrorKind::Ambiguous, "key", expected, got)
}
