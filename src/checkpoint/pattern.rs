//! Names by patterns, in which a `*` is any run of characters, an empty one too.

/// What the stars of a pattern stand for in a name that it matches: each the shortest that leaves the
/// rest a match, from the left.
pub fn captures<'n>(pattern: &str, name: &'n str) -> Option<Vec<&'n str>> {
    let mut literals = pattern.split('*');
    let mut rest = name.strip_prefix(literals.next()?)?;
    let mut captures = Vec::new();
    let mut literals = literals.peekable();
    while let Some(literal) = literals.next() {
        let at = match literals.peek() {
            Some(_) => rest.find(literal)?,
            // The last one is where the name ends.
            None => rest.strip_suffix(literal)?.len(),
        };
        captures.push(&rest[..at]);
        rest = &rest[at + literal.len()..];
    }
    rest.is_empty().then_some(captures)
}

/// Whether a pattern matches a name.
pub fn matches(pattern: &str, name: &str) -> bool {
    captures(pattern, name).is_some()
}

/// A pattern with its stars replaced in order; none if it hasn't as many.
pub fn filled(pattern: &str, captures: &[&str]) -> Option<String> {
    let literals: Vec<_> = pattern.split('*').collect();
    if literals.len() != captures.len() + 1 {
        return None;
    }
    let ends = captures.iter().copied().chain([""]);
    Some(literals.into_iter().zip(ends).flat_map(|(literal, capture)| [literal, capture]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_the_shortest_runs_from_the_left() {
        for (pattern, name, expected) in [
            ("conv1", "conv1", Some(vec![])),
            ("conv1", "conv12", None),
            ("", "", Some(vec![])),
            ("*", "", Some(vec![""])),
            ("*", "layer1.0.conv1", Some(vec!["layer1.0.conv1"])),
            ("layer*.conv*", "layer1.0.conv2", Some(vec!["1.0", "2"])),
            ("*.conv*", "a.conv.conv", Some(vec!["a", ".conv"])),
            ("a*a", "a", None),
            ("a*a", "aa", Some(vec![""])),
            ("*ab", "abab", Some(vec!["ab"])),
            ("a**b", "axb", Some(vec!["", "x"])),
            ("*é*", "xéy", Some(vec!["x", "y"])),
        ] {
            assert_eq!(captures(pattern, name), expected, "{pattern} {name}");
            assert_eq!(matches(pattern, name), expected.is_some(), "{pattern} {name}");
        }
    }

    #[test]
    fn what_stars_stand_for_goes_into_another_pattern() {
        assert_eq!(filled("layer*.bn*", &["1.0", "2"]), Some("layer1.0.bn2".to_owned()));
        assert_eq!(filled("bn", &[]), Some("bn".to_owned()));
        assert_eq!(filled("bn", &["1"]), None);
        assert_eq!(filled("*bn*", &["1"]), None);
    }
}
