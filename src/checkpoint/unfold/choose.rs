//! Which convolutions are unfolded.

use std::collections::BTreeMap;

use super::options::UnfoldOptions;
use super::report::{LeftReason, LeftTensor};
use crate::checkpoint::convolution::{Convolution, Key};
use crate::checkpoint::float::Float;
use crate::checkpoint::pattern::matches;
use crate::checkpoint::state::Checkpoint;
use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::text::shown;
use crate::error::{ErrorKind, Operation, Result};

/// The convolutions to unfold, by name, and what of kernels is left.
pub struct Chosen<'a> {
    pub convolutions: BTreeMap<&'a str, Convolution<'a>>,
    pub left: Vec<LeftTensor>,
}

impl<'a> Chosen<'a> {
    /// Chooses, and refuses options that name what isn't there.
    pub fn of(
        operation: Operation,
        checkpoint: &'a Checkpoint,
        options: &UnfoldOptions,
    ) -> Result<Self> {
        let framework = options.target.framework();
        let mut chosen = Self { convolutions: BTreeMap::new(), left: Vec::new() };
        let mut names = Vec::new();
        for (key, tensor) in &checkpoint.tensors {
            let key = Key::of(key, framework.kernel_key(), framework.separators());
            // A matrix or a vector is something else's weight.
            let Some(key) = key.filter(|_| tensor.shape().len() > 2) else { continue };
            names.push(key.name);
            match choice(key, tensor, options) {
                Err(reason) => {
                    let (key, shape) = (key.whole.to_owned(), tensor.shape().to_vec());
                    chosen.left.push(LeftTensor { key, shape, reason });
                }
                Ok(convolution) => {
                    if let Some(other) = chosen.convolutions.insert(key.name, convolution) {
                        let expected = format!("one kernel {}", shown(key.name));
                        let got = format!("{} too", shown(other.key.whole));
                        let field = shown(key.whole);
                        return Err(operation.error(ErrorKind::Format, field, expected, got));
                    }
                }
            }
        }
        chosen.expect_named(operation, options, &names)?;
        Ok(chosen)
    }

    /// Refuses patterns that name no layer which they could be for; `all` are the names of whatever looks
    /// like a convolution.
    fn expect_named(
        &self,
        operation: Operation,
        options: &UnfoldOptions,
        all: &[&str],
    ) -> Result<()> {
        let refused = |field, expected: &str, got: &str| {
            Err(operation.error(ErrorKind::Config, field, expected, got))
        };
        let is_named = |pattern: &str| self.convolutions.keys().any(|name| matches(pattern, name));
        let has_taps = |pattern: &str| {
            let mut named = self.convolutions.values();
            named.any(|layer| layer.taps() > 1 && matches(pattern, layer.key.name))
        };
        if let Some(pattern) =
            options.skip.iter().find(|pattern| !all.iter().any(|name| matches(pattern, name)))
        {
            return refused("skip", "the name or a pattern of a convolution", &shown(pattern));
        }
        if self.convolutions.is_empty() && options.layers.is_empty() {
            return refused("layers", "a convolution to unfold", "none");
        }
        let expected = match options.pointwise {
            true => "the name or a pattern of a convolution that isn't skipped",
            false => "the name or a pattern of a convolution of several taps that isn't skipped",
        };
        if let Some(pattern) = options.layers.iter().find(|pattern| !is_named(pattern)) {
            return refused("layers", expected, &shown(pattern));
        }
        let groups = options.groups.iter().map(|(pattern, _)| ("groups", pattern));
        let depthwise = options.depthwise.iter().map(|pattern| ("depthwise", pattern));
        if let Some((field, pattern)) =
            groups.chain(depthwise).find(|(_, pattern)| !is_named(pattern))
        {
            return refused(field, "the name or a pattern of a layer to unfold", &shown(pattern));
        }
        if let Some((pattern, _)) = options.d_mul.iter().find(|(pattern, _)| !has_taps(pattern)) {
            let expected = "the name or a pattern of a layer to unfold that gets a D";
            return refused("d_mul", expected, &shown(pattern));
        }
        Ok(())
    }
}

/// The convolution with that kernel if it is one to unfold, or why not.
fn choice<'a>(
    key: Key<'a>,
    tensor: &'a Tensor,
    options: &UnfoldOptions,
) -> std::result::Result<Convolution<'a>, LeftReason> {
    let named = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, key.name));
    if named(&options.skip) {
        return Err(LeftReason::Skipped);
    }
    let axes = options.target.framework().kernel_axes();
    let Some(convolution) = Convolution::of(key, tensor, axes) else {
        return Err(match tensor.shape().len() {
            4 if Float::of(tensor.dtype()).is_none() => LeftReason::ElementType,
            4 => LeftReason::Empty,
            _ => LeftReason::Rank,
        });
    };
    if !options.layers.is_empty() && !named(&options.layers) {
        return Err(LeftReason::NotChosen);
    }
    if convolution.taps() == 1 && !options.pointwise {
        return Err(LeftReason::Pointwise);
    }
    Ok(convolution)
}
