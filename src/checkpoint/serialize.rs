//! What reports have as text where it is serialized.

use std::fmt::Display;

use serde::{Serialize, Serializer};

use crate::config::Pairing;

/// As it is displayed.
pub fn as_text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Both as they are displayed.
pub fn as_texts<S: Serializer>(
    values: &[impl Display; 2],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    values.each_ref().map(ToString::to_string).serialize(serializer)
}

/// By its name.
pub fn as_pairing_name<S: Serializer>(pairing: &Pairing, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(pairing.name())
}
