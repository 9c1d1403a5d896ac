//! What of a file was taken, in a sentence or two.

use do_conv::checkpoint::Opened;

use crate::text::{listed, shown};

/// Passed-over things that are named.
const MOST: usize = 12;

/// Says where the state dict was and what else the file has; nothing for a plain file.
pub fn taken(opened: &Opened) -> String {
    let mut text = String::new();
    if let Some(key) = &opened.key {
        text += &format!("state dict: {}\n", shown(key));
    }
    if !opened.prefix.is_empty() {
        text += &format!("cut off all names: {}\n", shown(&opened.prefix));
    }
    let passed = &opened.passed_over;
    let shown =
        passed.iter().take(MOST).map(|one| format!("{} ({})", shown(&one.name), shown(&one.what)));
    let mut shown: Vec<_> = shown.collect();
    if passed.len() > MOST {
        shown.push(format!("{} more", passed.len() - MOST));
    }
    if !shown.is_empty() {
        text += &format!("passed over: {}\n", listed(&shown, "and"));
    }
    match text.is_empty() {
        true => text,
        false => text + "\n",
    }
}
