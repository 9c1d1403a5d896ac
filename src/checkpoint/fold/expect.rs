//! Options that a fold refuses, and what others come to.

use std::collections::BTreeSet;

use super::options::FoldOptions;
use crate::checkpoint::pattern::matches;
use crate::checkpoint::state::Checkpoint;
use crate::checkpoint::text::shown;
use crate::error::{ErrorKind, Operation, Result};

/// Refuses options that name what isn't there, or that no number can be made of; `folded` are the batch
/// normalisations that are folded.
pub fn expect_sense(
    operation: Operation,
    options: &FoldOptions,
    folded: &BTreeSet<&str>,
) -> Result<()> {
    let refused = |field, expected: &str, got: &str| {
        Err(operation.error(ErrorKind::Config, field, expected, shown(got)))
    };
    if let Some(key) = options.rename.keys().find(|key| !["W", "bias"].contains(&&***key)) {
        return refused("rename", "W or bias", key);
    }
    let of_some = options.eps_of.iter().map(|(_, eps)| ("eps_of", eps));
    for (field, eps) in options.eps.iter().map(|eps| ("eps", eps)).chain(of_some) {
        if !(*eps >= 0.0 && eps.is_finite()) {
            return refused(field, "a finite number that is not negative", &eps.to_string());
        }
    }
    let unknown = |name: &String| !folded.iter().any(|norm| matches(name, norm));
    if let Some((name, _)) = options.eps_of.iter().find(|(name, _)| unknown(name)) {
        return refused("eps_of", "the name of a batch normalisation that is folded", name);
    }
    Ok(())
}

/// What a batch normalisation adds to its variance.
pub fn eps_of(
    operation: Operation,
    checkpoint: &Checkpoint,
    options: &FoldOptions,
    norm: &str,
) -> Result<f64> {
    let of = |is_it: &dyn Fn(&str) -> bool| -> Vec<f64> {
        let told = options.eps_of.iter().filter(|(name, _)| is_it(name));
        told.map(|(_, eps)| *eps).collect()
    };
    let named = of(&|name| name == norm);
    let told = if named.is_empty() { of(&|pattern| matches(pattern, norm)) } else { named };
    let first = told.first().copied().or(options.eps);
    let first = first.unwrap_or_else(|| default_eps(checkpoint, norm));
    match told.iter().find(|eps| **eps != first) {
        None => Ok(first),
        Some(other) => {
            let field = format!("eps_of {}", shown(norm));
            let got = format!("{first} and {other}");
            Err(operation.error(ErrorKind::Ambiguous, field, "one number", got))
        }
    }
}

/// What the framework whose names a batch normalisation has adds by default.
fn default_eps(checkpoint: &Checkpoint, norm: &str) -> f64 {
    let is_variance = |key: &str| {
        let part = key.strip_prefix(norm).and_then(|part| part.strip_prefix(['.', '/', '_']));
        matches!(part, Some("moving_variance" | "moving_variance:0"))
    };
    match checkpoint.tensors.keys().any(|key| is_variance(key)) {
        true => 1e-3,
        false => 1e-5,
    }
}
