//! Names, texts and paths as errors show them.

use std::path::Path;

use crate::error::Operation;

/// The operation that errors of opening a file name, whatever its format.
pub const OPEN: Operation = Operation("Checkpoint::open");

/// A path, fit for a line of text.
pub fn shown_path(path: &Path) -> String {
    shown(&path.display().to_string())
}

/// A name or text from a file, fit for a line of text: control characters escaped, and cut after 200
/// characters.
pub fn shown(name: &str) -> String {
    const MOST: usize = 200;
    let mut shown = String::new();
    for c in name.chars().take(MOST) {
        match c {
            '\'' | '"' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    if name.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}
