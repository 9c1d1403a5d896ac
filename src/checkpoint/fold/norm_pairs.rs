//! Which batch normalisation is folded into which convolution: as named, by patterns, or by their names.

use std::collections::{BTreeMap, BTreeSet};

use super::batch_norm::batch_norms;
use super::norm_doubts::{Conv, Doubts, may_be_transposed};
use super::norm_names::Names;
use super::options::FoldOptions;
use super::report::{BatchNormPair, BatchNormSource};
use crate::checkpoint::layers::layer_info::LayerInfo;
use crate::checkpoint::layers::plain::PlainConv;
use crate::checkpoint::pattern::{captures, filled, matches};
use crate::checkpoint::state::Checkpoint;
use crate::checkpoint::text::shown;
use crate::error::{Error, ErrorKind, Operation, Result};

/// What is folded into what.
#[derive(Debug, Default)]
pub struct NormPairs {
    /// By the convolution's name.
    pairs: BTreeMap<String, (String, BatchNormSource)>,
    /// Batch normalisations that no convolution takes.
    pub left: Vec<String>,
}

impl NormPairs {
    /// The pairs that options ask for.
    pub fn find(
        operation: Operation,
        checkpoint: &Checkpoint,
        layers: &[LayerInfo],
        plain: &BTreeMap<&str, PlainConv>,
        options: &FoldOptions,
    ) -> Result<Self> {
        let convs = convs(layers, plain);
        let norms: BTreeMap<&str, usize> = batch_norms(checkpoint).collect();
        let mut pairs = Self::default();
        pairs.take_named(operation, &convs, options)?;
        pairs.take_patterns(operation, &convs, &norms, options)?;
        pairs.expect_each_once(operation)?;
        if options.auto_batch_norms {
            pairs.take_auto(operation, &convs, &norms, options)?;
        }
        let taken = pairs.norms();
        let left = norms.keys().filter(|name| !taken.contains(*name));
        pairs.left = left.map(|name| (*name).to_owned()).collect();
        Ok(pairs)
    }

    /// The batch normalisation that is folded into a convolution.
    pub fn of(&self, conv: &str) -> Option<&str> {
        self.pairs.get(conv).map(|(norm, _)| norm.as_str())
    }

    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The batch normalisations that are folded.
    pub fn norms(&self) -> BTreeSet<&str> {
        self.pairs.values().map(|(norm, _)| norm.as_str()).collect()
    }

    /// For the report.
    pub fn listed(&self, eps: impl Fn(&str) -> Result<f64>) -> Result<Vec<BatchNormPair>> {
        let pair = |(layer, (batch_norm, source)): (&String, &(String, BatchNormSource))| {
            Ok(BatchNormPair {
                layer: layer.clone(),
                batch_norm: batch_norm.clone(),
                eps: eps(batch_norm)?,
                source: *source,
            })
        };
        self.pairs.iter().map(pair).collect()
    }

    fn take_named(
        &mut self,
        operation: Operation,
        convs: &BTreeMap<&str, Conv>,
        options: &FoldOptions,
    ) -> Result<()> {
        for (conv, norm) in options.batch_norms.iter().filter(|pair| !is_pattern(pair)) {
            if !convs.contains_key(conv.as_str()) {
                let expected = "the name of a DO-Conv layer or of a convolution";
                return Err(refused(operation, expected, conv));
            }
            let pair = (norm.clone(), BatchNormSource::Named);
            match self.pairs.insert(conv.clone(), pair) {
                Some((other, _)) if other != *norm => {
                    return Err(refused(operation, "each convolution once", conv));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn take_patterns(
        &mut self,
        operation: Operation,
        convs: &BTreeMap<&str, Conv>,
        norms: &BTreeMap<&str, usize>,
        options: &FoldOptions,
    ) -> Result<()> {
        let mut found: BTreeMap<&str, String> = BTreeMap::new();
        for pair @ (left, right) in options.batch_norms.iter().filter(|pair| is_pattern(pair)) {
            let shown_pair = format!("{left} = {right}");
            if left.matches('*').count() != right.matches('*').count() {
                let expected = "as many * in both patterns of a pair";
                return Err(refused(operation, expected, &shown_pair));
            }
            let mut pairs_any = false;
            for (name, conv) in convs {
                let norm = captures(&pair.0, name).and_then(|stars| filled(right, &stars));
                let Some(norm) = norm.filter(|norm| norms.contains_key(norm.as_str())) else {
                    continue;
                };
                pairs_any = true;
                if self.of(name).is_some() {
                    continue; // named, or the same once more
                }
                if conv.may_be_transposed {
                    return Err(may_be_transposed(operation, name, &norm));
                }
                if let Some(other) = found.insert(name, norm.clone()).filter(|got| *got != norm) {
                    let expected =
                        "one batch normalisation by all patterns, or to be told its name";
                    let got = format!("{} and {}", shown(&other), shown(&norm));
                    return Err(operation.error(ErrorKind::Ambiguous, shown(name), expected, got));
                }
            }
            if !pairs_any {
                let expected = "patterns of at least one convolution and its batch normalisation";
                return Err(refused(operation, expected, &shown_pair));
            }
        }
        let found = found.into_iter();
        self.pairs
            .extend(found.map(|(name, norm)| (name.to_owned(), (norm, BatchNormSource::Pattern))));
        Ok(())
    }

    fn expect_each_once(&self, operation: Operation) -> Result<()> {
        let mut norms = BTreeSet::new();
        let mut twice = self.pairs.values().filter(|(norm, _)| !norms.insert(norm));
        match twice.next() {
            None => Ok(()),
            Some((norm, _)) => Err(refused(operation, "each batch normalisation once", norm)),
        }
    }

    /// Takes the pairs that names tell without a doubt.
    fn take_auto(
        &mut self,
        operation: Operation,
        convs: &BTreeMap<&str, Conv>,
        norms: &BTreeMap<&str, usize>,
        options: &FoldOptions,
    ) -> Result<()> {
        let skipped = options.skip_batch_norms.iter();
        let mut unknown = skipped.filter(|skip| !convs.keys().any(|name| matches(skip, name)));
        if let Some(skip) = unknown.next() {
            let expected = "the name of a DO-Conv layer or of a convolution";
            let got = shown(skip);
            return Err(operation.error(ErrorKind::Config, "skip_batch_norms", expected, got));
        }
        let names = Names::new(convs.keys().copied(), norms.keys().copied());
        let candidates: BTreeMap<_, _> =
            convs.keys().map(|name| (*name, names.candidates(name))).collect();
        let doubts = Doubts::new(operation, convs, norms, &candidates);
        let taken: BTreeSet<String> = self.norms().into_iter().map(str::to_owned).collect();
        let mut found: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, mut candidates) in candidates.clone() {
            let is_skipped = options.skip_batch_norms.iter().any(|skip| matches(skip, name));
            if is_skipped || self.of(name).is_some() {
                continue;
            }
            candidates.retain(|norm, _| !taken.contains(*norm));
            let Some(norm) = doubts.only(name, &candidates)? else { continue };
            if let Some(other) = found.insert(norm, name) {
                let expected = "one convolution before it by their names, or to be told which";
                let got = format!("{} and {}", shown(other), shown(name));
                return Err(operation.error(ErrorKind::Ambiguous, shown(norm), expected, got));
            }
        }
        let found = found.into_iter();
        self.pairs.extend(
            found.map(|(norm, name)| (name.to_owned(), (norm.to_owned(), BatchNormSource::Auto))),
        );
        Ok(())
    }
}

/// All convolutions by name.
fn convs<'a>(
    layers: &'a [LayerInfo],
    plain: &BTreeMap<&'a str, PlainConv<'a>>,
) -> BTreeMap<&'a str, Conv> {
    let layers = layers.iter().map(|layer| {
        let (outputs, inputs) = (layer.out_channels(), layer.in_channels() / layer.groups());
        (layer.name(), Conv { outputs, inputs, may_be_transposed: false })
    });
    let plain = plain.iter().map(|(name, conv)| {
        let &PlainConv { group_inputs: inputs, may_be_transposed, .. } = conv;
        (*name, Conv { outputs: conv.out_channels(), inputs, may_be_transposed })
    });
    layers.chain(plain).collect()
}

fn is_pattern((conv, norm): &(String, String)) -> bool {
    conv.contains('*') || norm.contains('*')
}

fn refused(operation: Operation, expected: &str, got: &str) -> Error {
    operation.error(ErrorKind::Config, "batch_norms", expected, shown(got))
}
