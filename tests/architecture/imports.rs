//! Which files a source file imports from, read from its text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A source file.
pub struct File {
    /// Below `src/`.
    pub path: String,
    /// Without comments and what strings hold.
    pub code: String,
    /// The files that it names anything of.
    pub imports: BTreeSet<String>,
}

/// The files of the library.
pub fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("bin") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests.rs")
            {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let names: Vec<String> = paths
        .iter()
        .map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/"))
        .collect();
    let modules: BTreeMap<Vec<String>, &String> =
        names.iter().map(|name| (module(name), name)).collect();
    assert!(modules.len() > 50, "only {} files were found", modules.len());
    names
        .iter()
        .zip(&paths)
        .map(|(name, path)| {
            let code = without_comments(&fs::read_to_string(path).unwrap());
            // Unit tests stand at the end of their file, and import from it.
            let code =
                code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
            let imports = imports(&code, &module(name), &modules);
            let imports = imports.into_iter().filter(|import| import != name).collect();
            File { path: name.clone(), code, imports }
        })
        .collect()
}

/// The module that a file is: no segment for `lib.rs`.
fn module(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// The code, where comments and the insides of strings are left out.
fn without_comments(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("'\"'") {
            3
        } else if first == '"' {
            let mut end = 1;
            let bytes = rest.as_bytes();
            while end < bytes.len() && bytes[end] != b'"' {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            (end + 1).min(rest.len())
        } else {
            code.push(first);
            first.len_utf8()
        };
        rest = &rest[skipped..];
    }
    code
}

/// The files that the code of a module names.
fn imports(
    code: &str,
    own: &[String],
    modules: &BTreeMap<Vec<String>, &String>,
) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    // Modules that the file has imported, by name.
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in used_paths(code) {
        if let Some(path) = absolute(&path, own, modules, &known) {
            if let (true, Some(name)) = (modules.contains_key(&path), path.last()) {
                known.insert(name.clone(), path.clone());
            }
            found.insert(owner(&path, modules));
        }
    }
    for path in inline_paths(code) {
        if let Some(path) = absolute(&path, own, modules, &known) {
            found.insert(owner(&path, modules));
        }
    }
    found
}

/// The file of the innermost module in a path.
fn owner(path: &[String], modules: &BTreeMap<Vec<String>, &String>) -> String {
    let lens = (0..=path.len()).rev();
    let file = lens.filter_map(|len| modules.get(&path[..len])).next();
    file.expect("lib.rs is the crate").to_string()
}

/// A path from the crate on; none for one of other crates, or of the file itself.
fn absolute(
    path: &[String],
    own: &[String],
    modules: &BTreeMap<Vec<String>, &String>,
    known: &BTreeMap<String, Vec<String>>,
) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    let mut start = match first.as_str() {
        "crate" => Vec::new(),
        "super" => {
            let ups = 1 + rest.iter().take_while(|segment| *segment == "super").count();
            // A module written inside the file has the file as its parent.
            let kept = own.len().checked_sub(ups)?;
            return Some([&own[..kept], &path[ups..]].concat());
        }
        name => {
            let child = [own, &[name.to_owned()]].concat();
            match known.get(name) {
                Some(path) => path.clone(),
                None if modules.contains_key(&child) => child,
                None => return None,
            }
        }
    };
    start.extend_from_slice(rest);
    Some(start)
}

/// The paths of all `use` declarations, taken apart.
fn used_paths(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let starts = rest[..at].chars().next_back().is_none_or(|c| c.is_whitespace());
        let declaration = &rest[at + 4..];
        let end = declaration.find(';').unwrap_or(declaration.len());
        // `use<'a>` of a type and the word in a macro's pattern have no `;` in their line.
        if starts && !declaration[..end].contains("fn ") {
            expand(declaration[..end].trim(), &[], &mut paths);
        }
        rest = &declaration[end.min(declaration.len())..];
    }
    paths
}

/// Adds each path of a tree `a::{b, c::{d, self}}`.
fn expand(tree: &str, before: &[String], paths: &mut Vec<Vec<String>>) {
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree);
        let segments = path.split("::").map(|segment| segment.trim().to_owned());
        let segments = segments.filter(|segment| !matches!(segment.as_str(), "self" | "*" | ""));
        paths.push(before.iter().cloned().chain(segments).collect());
        return;
    };
    let head = tree[..open].trim().trim_end_matches("::");
    let head = head.split("::").map(|segment| segment.trim().to_owned());
    let head: Vec<String> =
        before.iter().cloned().chain(head.filter(|segment| !segment.is_empty())).collect();
    let inner = tree[open + 1..].trim_end().trim_end_matches('}');
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(inner[start..at].trim(), &head, paths);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !inner[start..].trim().is_empty() {
        expand(inner[start..].trim(), &head, paths);
    }
}

/// Every `a::b::c` in the code, also where nothing was imported.
fn inline_paths(code: &str) -> Vec<Vec<String>> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut paths = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let mut rest = code;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        if end > 0 {
            path.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
        if let (Some(after), false) = (rest.strip_prefix("::"), path.is_empty()) {
            rest = after;
        } else {
            if path.len() > 1 {
                paths.push(std::mem::take(&mut path));
            }
            path.clear();
            let mut chars = rest.chars();
            chars.next();
            rest = chars.as_str();
        }
    }
    paths
}

#[test]
fn paths_are_read_from_code() {
    let code = without_comments(
        "// use crate::no;\nuse crate::a::{b, c::{self, D}};\npub use super::e as f;\nlet x = \"use z;\"; g::h::i();",
    );
    let text =
        |paths: Vec<Vec<String>>| paths.into_iter().map(|path| path.join("::")).collect::<Vec<_>>();
    assert_eq!(
        text(used_paths(&code)),
        ["crate::a::b", "crate::a::c", "crate::a::c::D", "super::e"]
    );
    assert!(text(inline_paths(&code)).contains(&"g::h::i".to_owned()));
    assert!(!code.contains('z'));
}
