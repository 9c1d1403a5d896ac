//! What of a file was taken for the checkpoint, and what was left.

use serde::Serialize;

use super::text::shown;

/// What of a file was taken for the checkpoint, and what was left.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Opened {
    /// The keys, with dots between, of the dictionary that the state dict is, as `state_dict`; none for
    /// the file itself.
    pub key: Option<String>,
    /// What was cut off the start of names, as `module.`; empty for nothing.
    pub prefix: String,
    /// What the file has beside the tensors, in its order.
    pub passed_over: Vec<PassedOver>,
}

/// Something in a file that is no tensor of the checkpoint.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// Its keys with dots between; those that aren't texts as Python shows them.
    pub name: String,
    /// What it is, as "an integer" or "the state of an optimizer".
    pub what: String,
}

impl Opened {
    /// What was passed over, shortened: `epoch (an integer), optimizer (the state of an optimizer)`.
    pub fn passed_over_text(&self) -> String {
        const MOST: usize = 8;
        let shown = |passed: &PassedOver| format!("{} ({})", shown(&passed.name), passed.what);
        let mut texts: Vec<_> = self.passed_over.iter().take(MOST).map(shown).collect();
        if self.passed_over.len() > MOST {
            texts.push(format!("and {} more", self.passed_over.len() - MOST));
        }
        texts.join(", ")
    }
}
