//! Names, paths and numbers, fit for a terminal.

use std::path::Path;

use console::measure_text_width;
use indicatif::DecimalBytes;

/// Characters of the longest name that is shown whole.
const MOST: usize = 100;

/// A name from a file or of an argument: control characters escaped, and cut in the middle where it is
/// long.
pub fn shown(name: &str) -> String {
    if name.is_empty() {
        return "(no name)".to_owned();
    }
    let mut escaped = String::new();
    for c in name.chars() {
        match c {
            '\'' | '"' => escaped.push(c),
            _ => escaped.extend(c.escape_debug()),
        }
    }
    shortened(&escaped, MOST)
}

/// A path, in the same way.
pub fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy())
}

/// A text of at most so many columns, cut in the middle if need be: a name's start says where it is,
/// its end what it is.
pub fn shortened(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let room = most.saturating_sub(1);
    let head = fitting(text.chars(), room.div_ceil(2));
    let tail = fitting(text.chars().rev(), room / 2);
    head.chars().chain(['…']).chain(tail.chars().rev()).collect()
}

/// The first characters that take at most so many columns.
fn fitting(chars: impl Iterator<Item = char>, most: usize) -> String {
    let mut columns = 0;
    chars
        .take_while(|&c| {
            columns += width(c.encode_utf8(&mut [0; 4]));
            columns <= most
        })
        .collect()
}

/// Columns of a text on a terminal.
pub fn width(text: &str) -> usize {
    measure_text_width(text)
}

/// A number with its thousands apart: `1,234,567`.
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: `1 layer`, `1,234 layers`.
pub fn counted(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", count(number))
}

/// A number of bytes in decimal units: `1.23 MB`.
pub fn bytes(number: u64) -> String {
    DecimalBytes(number).to_string()
}

/// Things one after the other: `a, b or c`.
pub fn listed(things: &[String], last: &str) -> String {
    match things {
        [] => String::new(),
        [one] => one.clone(),
        [before @ .., end] => format!("{} {last} {end}", before.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_cut_in_the_middle() {
        assert_eq!(shown("layer1.0.conv1"), "layer1.0.conv1");
        assert_eq!(shown(""), "(no name)");
        assert_eq!(shown("a\n\u{1b}[31m'"), "a\\n\\u{1b}[31m'");
        let long = format!("start{}end", "x".repeat(10_000));
        let cut = shown(&long);
        assert_eq!(cut.chars().count(), 100);
        assert!(cut.starts_with("startxxx") && cut.ends_with("xxxend") && cut.contains('…'));
        // Of two columns a character.
        assert_eq!(shortened("漢字漢字", 5), "漢…字");
        assert_eq!(shortened("漢字漢字", 8), "漢字漢字");
        assert_eq!(shortened("abcdef", 1), "…");
    }

    #[test]
    fn numbers_are_easy_to_read() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (100_100, "100,100"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), text);
        }
        let layers = [1, 1234].map(|number| counted(number, "layer"));
        assert_eq!(layers, ["1 layer", "1,234 layers"]);
        assert_eq!([bytes(999), bytes(1_234_567)], ["999 B", "1.23 MB"]);
    }

    #[test]
    fn lists_have_a_word_before_the_last() {
        let list = |things: &[&str]| {
            listed(&things.iter().map(|&thing| thing.to_owned()).collect::<Vec<_>>(), "or")
        };
        assert_eq!([list(&["a"]), list(&["a", "b"])], ["a", "a or b"]);
        assert_eq!(list(&["a", "b", "c"]), "a, b or c");
    }
}
