//! Which batch normalisation may follow a convolution, by their names alone.

use std::collections::{BTreeMap, BTreeSet};

/// What `conv` in a name becomes in that of its batch normalisation.
const WORDS: [&str; 6] =
    ["bn", "norm", "batch_norm", "batchnorm", "batch_normalization", "BatchNorm"];

/// What a batch normalisation inside its convolution's module is called.
const INSIDE: [&str; 5] = ["norm", "bn", "batch_norm", "batchnorm", "BatchNorm"];

/// Layers that a framework numbers as they are made, Keras and Gluon, and their batch normalisations.
const COUNTED: [(&str, &str); 4] = [
    ("conv1d", "batch_normalization"),
    ("conv2d", "batch_normalization"),
    ("conv3d", "batch_normalization"),
    ("_conv", "_batchnorm"),
];

/// Convolutions of known blocks, timm's and EfficientNet's: beside which others they stand, and beside
/// which not, if that batch normalisation is theirs.
const BLOCKS: [(&str, &[&str], &[&str], &str); 14] = [
    ("conv_pw", &["conv_dw", "conv_pwl"], &[], "bn1"),
    ("conv_dw", &["conv_pw", "conv_pwl"], &[], "bn2"),
    ("conv_pwl", &["conv_pw", "conv_dw"], &[], "bn3"),
    ("conv_dw", &["conv_pw"], &["conv_pwl"], "bn1"),
    ("conv_pw", &["conv_dw"], &["conv_pwl"], "bn2"),
    ("conv_exp", &["conv_pwl"], &["conv_dw"], "bn1"),
    ("conv_pwl", &["conv_exp"], &["conv_dw"], "bn2"),
    ("conv_stem", &[], &[], "bn1"),
    ("conv_head", &["conv_stem"], &[], "bn2"),
    ("_expand_conv", &["_depthwise_conv"], &[], "_bn0"),
    ("_depthwise_conv", &["_project_conv"], &[], "_bn1"),
    ("_project_conv", &["_depthwise_conv"], &[], "_bn2"),
    ("_conv_stem", &[], &[], "_bn0"),
    ("_conv_head", &["_conv_stem"], &[], "_bn1"),
];

/// Convolutions that a `bn1` follows if the module has no other convolution and no other batch normalisation.
const ALONE: [&str; 2] = ["conv", "conv_dw"];

/// Why a batch normalisation may be the one that follows, and so which others it stands or falls with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule<'n> {
    /// It is the next of a sequence, the module of this name.
    Next(&'n str),
    /// It has a name like the convolution's, that somebody chose.
    Alike,
    /// It has the convolution's number, where frameworks number layers; of the same module there are, or
    /// aren't, convolutions and batch normalisations of just the same numbers.
    Counted { is_even: bool },
}

/// The names of a checkpoint's convolutions and batch normalisations.
pub struct Names<'n> {
    convs: BTreeSet<&'n str>,
    /// By the name as rules have it, the whole one.
    norms: BTreeMap<String, &'n str>,
    /// What stands before a counted word, by the words' place, and the numbers of the convolutions and of
    /// the batch normalisations.
    counts: BTreeMap<(String, usize), [BTreeSet<String>; 2]>,
}

impl<'n> Names<'n> {
    pub fn new(convs: impl Iterator<Item = &'n str>, norms: impl Iterator<Item = &'n str>) -> Self {
        let convs: BTreeSet<_> = convs.collect();
        let norms: BTreeMap<_, _> = norms.map(|name| (single(name), name)).collect();
        let mut counts: BTreeMap<_, [BTreeSet<_>; 2]> = BTreeMap::new();
        for (place, (conv, norm)) in COUNTED.into_iter().enumerate() {
            let mut count = |name: &str, word, side: usize| {
                if let Some((before, number)) = counted(name, word) {
                    let sides = counts.entry((before.to_owned(), place)).or_default();
                    sides[side].insert(number.to_owned());
                }
            };
            convs.iter().for_each(|name| count(&single(name), conv, 0));
            norms.keys().for_each(|name| count(name, norm, 1));
        }
        Self { convs, norms, counts }
    }

    /// The batch normalisations that may follow a convolution, in order, each by the first rule.
    pub fn candidates(&self, conv: &'n str) -> BTreeMap<&'n str, Rule<'n>> {
        let name = single(conv);
        let (parent, leaf) = split(&name);
        let mut found = BTreeMap::new();
        let mut take = |name: String, rule| {
            if let Some(norm) = self.norms.get(&name) {
                found.entry(*norm).or_insert(rule);
            }
        };
        for (place, (word, norm)) in COUNTED.into_iter().enumerate() {
            let Some((before, number)) = counted(&name, word) else { continue };
            let counts = self.counts.get(&(before.to_owned(), place));
            let is_even = counts.is_some_and(|[convs, norms]| convs == norms);
            take(format!("{before}{norm}{number}"), Rule::Counted { is_even });
        }
        if let Some(next) = next(leaf) {
            take(format!("{parent}{next}"), Rule::Next(split(conv).0));
        }
        for alike in alike(leaf) {
            take(format!("{parent}{alike}"), Rule::Alike);
        }
        for (inside, separator) in INSIDE.iter().flat_map(|inside| [(inside, '.'), (inside, '/')]) {
            take(format!("{name}{separator}{inside}"), Rule::Alike);
        }
        if let Some(beside) = self.of_block(parent, leaf) {
            take(format!("{parent}{beside}"), Rule::Alike);
        }
        // `convs.0` and `bns.0`.
        let (module, separator) = parent.split_at(parent.len().saturating_sub(1));
        if next(leaf).is_some() {
            let (above, module) = split(module);
            for word in WORDS {
                if let Some(module) = with_word(module, "conv", word) {
                    take(format!("{above}{module}{separator}{leaf}"), Rule::Alike);
                }
            }
        }
        found
    }

    /// The batch normalisation of a convolution of a known block.
    fn of_block(&self, parent: &str, leaf: &str) -> Option<&'static str> {
        let has = |leaf: &&str| self.convs.contains(format!("{parent}{leaf}").as_str());
        let mut blocks = BLOCKS.iter();
        let block = blocks.find(|(conv, with, without, _)| {
            *conv == leaf && with.iter().all(has) && !without.iter().any(has)
        });
        match block {
            Some((.., norm)) => Some(norm),
            None => (ALONE.contains(&leaf) && self.is_alone(parent)).then_some("bn1"),
        }
    }

    /// Whether a module has one convolution and one batch normalisation.
    fn is_alone(&self, parent: &str) -> bool {
        let is_child = |name: &str| split(name).0 == parent;
        let below = |name: &str| name.starts_with(parent);
        let convs = self.convs.range(parent..).take_while(|name| below(name));
        let norms = self.norms.range(parent.to_owned()..).map(|(name, _)| name);
        let norms = norms.take_while(|name| below(name));
        convs.filter(|name| is_child(name)).count() == 1
            && norms.filter(|name| is_child(name)).count() == 1
    }
}

/// A name as far as the last separator, that included, and the rest.
pub fn split(name: &str) -> (&str, &str) {
    name.split_at(name.rfind(['.', '/']).map_or(0, |at| at + 1))
}

/// A name whose last part isn't said twice, as `conv1/conv1` in Keras' HDF5 files.
fn single(name: &str) -> String {
    let (parent, leaf) = split(name);
    match parent.strip_suffix('/').and_then(|parent| parent.strip_suffix(leaf)) {
        Some(above) if above.is_empty() || above.ends_with('/') => format!("{above}{leaf}"),
        _ => name.to_owned(),
    }
}

/// What follows a number.
fn next(leaf: &str) -> Option<usize> {
    let is_number = !leaf.is_empty() && leaf.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| leaf.parse::<usize>().ok()?.checked_add(1)).flatten()
}

/// What stands before a word at a name's end, and the number after it, which the first has none of.
fn counted<'n>(name: &'n str, word: &str) -> Option<(&'n str, &'n str)> {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let stem = stem.strip_suffix(word).map(|_| stem).or(stem.strip_suffix('_'))?;
    let name_of = |stem: &'n str| Some((stem.strip_suffix(word)?, &name[stem.len()..]));
    name_of(stem).or_else(|| name_of(name))
}

/// A name with its last `word` replaced.
fn with_word(name: &str, word: &str, by: &str) -> Option<String> {
    let at = name.rfind(word)?;
    Some(format!("{}{by}{}", &name[..at], &name[at + word.len()..]))
}

/// Names like a convolution's that batch normalisations have.
fn alike(leaf: &str) -> Vec<String> {
    let mut names = Vec::new();
    for word in WORDS {
        names.extend(with_word(leaf, "conv", word));
        names.extend(with_word(leaf, "dwconv", word));
    }
    names.extend(["_bn", "_BN", "_norm"].map(|end| format!("{leaf}{end}")));
    names.push(format!("bn_{leaf}"));
    names.extend(leaf.strip_prefix("res").map(|rest| format!("bn{rest}")));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The candidates of the first convolution.
    fn candidates(convs: &[&'static str], norms: &[&'static str]) -> Vec<&'static str> {
        let names = Names::new(convs.iter().copied(), norms.iter().copied());
        convs.first().map_or(Vec::new(), |conv| names.candidates(conv).into_keys().collect())
    }

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(split("a.b/c"), ("a.b/", "c"));
        assert_eq!(split("c"), ("", "c"));
        for (name, expected) in
            [("a/a", "a"), ("x/a/a", "x/a"), ("xa/a", "xa/a"), ("a.a", "a.a"), ("", ""), ("/", "")]
        {
            assert_eq!(single(name), expected, "{name}");
        }
        for (name, expected) in [
            ("conv2d", Some(("", ""))),
            ("x/conv2d_3", Some(("x/", "_3"))),
            ("conv2d3", Some(("", "3"))),
            ("conv2d_a", None),
            ("conv2", None),
            ("conv2d_", Some(("", "_"))),
        ] {
            assert_eq!(counted(name, "conv2d"), expected, "{name}");
        }
        assert_eq!(counted("resnetv10_conv0", "_conv"), Some(("resnetv10", "0")));
        assert_eq!((next("9"), next("a"), next(""), next("-1")), (Some(10), None, None, None));
        assert_eq!(next("18446744073709551615"), None);
    }

    #[test]
    fn a_bn1_is_of_the_only_convolution_of_its_module() {
        for conv in ["a.conv", "a.conv_dw"] {
            assert_eq!(candidates(&[conv], &["a.bn1", "a.b.bn1", "bn1"]), ["a.bn1"]);
            assert_eq!(candidates(&[conv, "a.fc"], &["a.bn1"]), [""; 0]);
            assert_eq!(candidates(&[conv, "a.se.fc"], &["a.bn1"]), ["a.bn1"]);
            assert_eq!(candidates(&[conv], &["a.bn0", "a.bn1"]), [""; 0]);
        }
    }

    #[test]
    fn every_candidate_is_found_once() {
        let found = candidates(&["é.conv1"], &["é.bn1", "é.norm1", "é.conv1.bn", "é.conv1_bn"]);
        assert_eq!(found, ["é.bn1", "é.conv1.bn", "é.conv1_bn", "é.norm1"]);
        assert_eq!(candidates(&[""], &["", ".norm"]), [".norm"]);
    }
}
