//! What speaks against a batch normalisation that has the name of the one after a convolution.
//!
//! Names tell which belong together and not which comes first: `bn1` and `conv1` are so called in a residual
//! network, where `bn1` follows, and in a pre-activation one, where it precedes. There, somewhere, its
//! channels aren't the convolution's outputs, and then no name of the kind is trusted, be the channels
//! elsewhere as many.

use std::collections::BTreeMap;

use super::norm_names::{Rule, split};
use crate::checkpoint::text::shown;
use crate::error::{Error, ErrorKind, Operation, Result};

/// A convolution, with a `D` or plain.
#[derive(Debug, Clone, Copy)]
pub struct Conv {
    pub outputs: usize,
    /// Of a group.
    pub inputs: usize,
    pub may_be_transposed: bool,
}

/// Batch normalisations by name, with their rules.
pub type Candidates<'n> = BTreeMap<&'n str, Rule<'n>>;

/// What speaks against pairs of convolutions and batch normalisations.
pub struct Doubts<'a, 'n> {
    operation: Operation,
    convs: &'a BTreeMap<&'n str, Conv>,
    norms: &'a BTreeMap<&'n str, usize>,
    /// Of each sequence, and of all else, a pair whose channels differ.
    misfits: BTreeMap<Option<&'n str>, [&'n str; 2]>,
    /// Whether a pair that fits has other inputs than outputs, so that the normalisation comes after it: of
    /// those of the network itself, and of those in its modules. A stem says nothing of blocks.
    is_told_order: [bool; 2],
}

impl<'a, 'n> Doubts<'a, 'n> {
    pub fn new(
        operation: Operation,
        convs: &'a BTreeMap<&'n str, Conv>,
        norms: &'a BTreeMap<&'n str, usize>,
        candidates: &BTreeMap<&'n str, Candidates<'n>>,
    ) -> Self {
        let (misfits, is_told_order) = (BTreeMap::new(), [false; 2]);
        let mut doubts = Self { operation, convs, norms, misfits, is_told_order };
        for (conv, candidates) in candidates {
            for (norm, rule) in candidates {
                let (Some(of_conv), Some(channels)) = (convs.get(conv), norms.get(norm)) else {
                    continue;
                };
                if of_conv.outputs != *channels {
                    doubts.misfits.entry(scope(*rule)).or_insert([conv, norm]);
                } else if scope(*rule).is_none() {
                    let Conv { inputs, outputs, .. } = *of_conv;
                    // One input is as well a depthwise convolution's, which has as many as outputs. Other
                    // groups aren't told by a plain kernel; a network of nothing else is passed over.
                    doubts.is_told_order[usize::from(is_in_module(conv))] |=
                        inputs != outputs && inputs > 1;
                }
            }
        }
        doubts
    }

    /// The one batch normalisation of a convolution, if there is one, or a refusal where it is in doubt.
    pub fn only(&self, conv: &'n str, candidates: &Candidates<'n>) -> Result<Option<&'n str>> {
        let mut names = candidates.iter();
        let Some((norm, rule)) = names.next() else { return Ok(None) };
        if names.next().is_some() {
            let names: Vec<_> = candidates.keys().map(|norm| shown(norm)).collect();
            return Err(self.refused(conv, names.join(" and ")));
        }
        let Some((of_conv, channels)) = self.convs.get(conv).zip(self.norms.get(norm)) else {
            return Ok(None);
        };
        let shown_norm = shown(norm);
        if of_conv.outputs != *channels {
            return Err(self.refused(conv, self.misfit(conv, norm)));
        }
        if let Some([other, misfit]) = self.misfits.get(&scope(*rule)) {
            let got = format!(
                "{shown_norm}, while others come before convolutions, or not where names say: {}",
                self.misfit(other, misfit)
            );
            return Err(self.refused(conv, got));
        }
        if *rule == (Rule::Counted { is_even: false }) {
            let got = format!(
                "{shown_norm}, while convolutions and batch normalisations aren't numbered alike"
            );
            return Err(self.refused(conv, got));
        }
        let [in_network, in_modules] = self.is_told_order;
        let is_told_order = in_modules || (in_network && !is_in_module(conv));
        if scope(*rule).is_none() && !is_told_order {
            let got = format!(
                "{shown_norm}, which may as well come before it: no convolution with other inputs than \
                 outputs tells, that of a stem aside"
            );
            return Err(self.refused(conv, got));
        }
        if of_conv.may_be_transposed {
            return Err(may_be_transposed(self.operation, conv, norm));
        }
        Ok(Some(norm))
    }

    /// Why a batch normalisation doesn't fit a convolution, and which of the same module do.
    fn misfit(&self, conv: &str, norm: &str) -> String {
        let outputs = self.convs.get(conv).map_or(0, |conv| conv.outputs);
        let channels = self.norms.get(norm).copied().unwrap_or_default();
        let parent = split(conv).0;
        let fitting = self
            .norms
            .iter()
            .filter(|(norm, channels)| **channels == outputs && split(norm).0 == parent);
        let names: Vec<_> = fitting.map(|(norm, _)| shown(norm)).take(5).collect();
        let beside = match names.is_empty() {
            true => String::new(),
            false => format!("; that many has {}", names.join(", ")),
        };
        let [conv, norm] = [conv, norm].map(shown);
        format!("{norm} of {channels} channels for the {outputs} outputs of {conv}{beside}")
    }

    fn refused(&self, conv: &str, got: String) -> Error {
        let expected =
            "one batch normalisation after it by its name, or to be told which, or to skip it";
        self.operation.error(ErrorKind::Ambiguous, shown(conv), expected, got)
    }
}

/// Whether a convolution stands in a module of the network, and not in the network itself.
fn is_in_module(conv: &str) -> bool {
    !split(conv).0.is_empty()
}

/// What a misfit by a rule speaks against: a sequence, or else all that isn't in one.
fn scope(rule: Rule<'_>) -> Option<&str> {
    match rule {
        Rule::Next(module) => Some(module),
        Rule::Alike | Rule::Counted { .. } => None,
    }
}

/// The refusal of a kernel whose output channels may be on another axis.
pub fn may_be_transposed(operation: Operation, conv: &str, norm: &str) -> Error {
    let expected = "a convolution and not a transposed one, to be told by the pair of just these names, \
                    or to skip it";
    let got = format!(
        "a kernel of as many inputs as outputs, of an even size or of a transposed one's name, for {}",
        shown(norm)
    );
    operation.error(ErrorKind::Ambiguous, shown(conv), expected, got)
}
