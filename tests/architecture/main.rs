//! The rooms of `src/` and the arrows between them, as `docs/architecture.md` draws them: what may import
//! what, no circle of files, and unsafe code where it belongs.

mod imports;

use std::collections::{BTreeMap, BTreeSet};

use imports::{File, files};

/// Each room, and the rooms that it may import from. `lib.rs` is above all and imported by none.
const ARROWS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("machine", &[]),
    ("array", &["error", "machine"]),
    ("config", &["error"]),
    ("compose", &["config", "machine"]),
    ("conv", &["config", "machine"]),
    ("do_conv", &["compose", "config", "conv", "machine"]),
    ("scalar", &["do_conv", "machine"]),
    ("operator", &["array", "compose", "config", "do_conv", "error", "machine", "scalar"]),
    ("layer", &["array", "compose", "config", "do_conv", "error", "machine", "operator", "scalar"]),
    ("checkpoint", &["compose", "config", "error", "layer", "machine", "scalar"]),
];

/// The rooms that unsafe code is allowed in.
const UNSAFE: [&str; 2] = ["conv", "machine"];

/// The vector instructions and their register tile, which make one another and count as one.
const ONE: &str = "machine/simd/";

/// The arrows between files, without those inside [`ONE`].
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let name = |path: &str| if path.starts_with(ONE) { ONE.to_owned() } else { path.to_owned() };
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for File { path, imports, .. } in files() {
        let from = name(&path);
        let to = imports.iter().map(|to| name(to)).filter(|to| *to != from);
        arrows.entry(from.clone()).or_default().extend(to);
    }
    arrows
}

/// The room that a file stands in.
fn room(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap_or(path)
}

#[test]
fn rooms_import_only_what_is_below_them() {
    let mut forbidden = Vec::new();
    for (from, to) in arrows() {
        if from == "lib.rs" {
            continue;
        }
        let allowed = ARROWS.iter().find(|(name, _)| *name == room(&from));
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{from} is in no room of the table"));
        let others = to.iter().filter(|to| room(to) != room(&from) && !allowed.contains(&room(to)));
        forbidden.extend(others.map(|to| format!("{from} → {to}")));
    }
    assert!(forbidden.is_empty(), "forbidden: {forbidden:#?}");
}

#[test]
fn the_table_has_no_arrow_that_nothing_needs_and_none_upwards() {
    let arrows = arrows();
    let needed = |from: &str, to: &str| {
        let files = arrows.iter().filter(|(path, _)| room(path) == from);
        files.flat_map(|(_, targets)| targets).any(|target| room(target) == to)
    };
    for (index, (from, allowed)) in ARROWS.iter().enumerate() {
        for to in *allowed {
            assert!(needed(from, to), "no file of {from} imports from {to}");
            assert!(ARROWS[..index].iter().any(|(room, _)| room == to), "{to} is not below {from}");
        }
    }
}

#[test]
fn files_import_one_another_in_no_circle() {
    let arrows = arrows();
    println!(
        "{} files, {} arrows",
        arrows.len(),
        arrows.values().map(BTreeSet::len).sum::<usize>()
    );
    // Whatever imports nothing that is left goes, and whatever nothing left imports, until only circles and
    // what lies between them are left.
    let mut left = arrows;
    loop {
        let before = left.len();
        let names: BTreeSet<String> = left.keys().cloned().collect();
        left.retain(|_, to| to.iter().any(|to| names.contains(to)));
        let imported: BTreeSet<String> = left.values().flatten().cloned().collect();
        left.retain(|from, _| imported.contains(from));
        if left.len() == before {
            break;
        }
    }
    let circles: Vec<_> = left
        .iter()
        .map(|(from, to)| {
            let to = to.iter().filter(|to| left.contains_key(*to));
            format!("{from} → {}", to.cloned().collect::<Vec<_>>().join(", "))
        })
        .collect();
    assert!(circles.is_empty(), "in circles, or between two: {circles:#?}");
}

#[test]
fn the_engine_has_no_word_of_d() {
    for File { path, code, .. } in files().into_iter().filter(|file| room(&file.path) == "conv") {
        for word in ["d_offset", "d_mul", "Composer", "compose"] {
            assert!(!code.contains(word), "{path} has the word {word}");
        }
    }
}

#[test]
fn unsafe_code_stays_in_its_rooms() {
    let mut all = 0;
    for File { path, code, .. } in files() {
        let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        let count = words.filter(|word| *word == "unsafe").count();
        assert!(count == 0 || UNSAFE.contains(&room(&path)), "unsafe code in {path}");
        all += count;
    }
    println!("{all} times the word unsafe");
}
