//! Kernels and biases are made of finite numbers.

use crate::checkpoint::state::Checkpoint;
use crate::checkpoint::text::shown;
use crate::error::{ErrorKind, Operation, Result};

/// Refuses numbers that aren't finite; the first of them is element `start` of the tensor.
pub fn expect_finite(operation: Operation, key: &str, values: &[f64], start: usize) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let got = format!("{} as element {}", values[at], start + at);
            Err(operation.error(ErrorKind::Value, shown(key), "finite numbers", got))
        }
    }
}

/// The elements of a tensor, all of them finite.
pub fn finite_values(operation: Operation, checkpoint: &Checkpoint, key: &str) -> Result<Vec<f64>> {
    let values = checkpoint.values_of(operation, key)?;
    expect_finite(operation, key, &values, 0)?;
    Ok(values)
}
