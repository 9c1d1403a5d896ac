//! Where results are written, and whether they are right.

use do_conv::Scalar;
use ndarray::{ArrayD, Dimension};

use crate::case::Case;
use crate::strided::Strided;

/// A place for each result that is wanted.
#[derive(Debug)]
pub struct Places<T>(pub Vec<(&'static str, Strided<T>)>);

impl<T: Scalar> Places<T> {
    /// Places of the case's layout.
    pub fn new<const N: usize>(case: &Case, wanted: [(&'static str, &[usize]); N]) -> Self {
        let place = |(name, shape)| (name, Strided::new(case.layout, name, shape));
        Self(wanted.into_iter().map(place).collect())
    }

    /// Compares what was written with what was expected, and looks at the gaps.
    ///
    /// # Errors
    /// The first that differs.
    pub fn compare<const N: usize>(mut self, expected: [&[i64]; N]) -> Result<(), String> {
        for ((name, place), expected) in self.0.iter_mut().zip(expected) {
            same(name, &place.view().to_owned(), expected)?;
            if !place.gaps_are_untouched() {
                return Err(format!("{name}: written between its elements"));
            }
        }
        Ok(())
    }
}

/// That an array has these elements.
///
/// # Errors
/// The first that differs.
pub fn same<T: Scalar>(name: &str, got: &ArrayD<T>, expected: &[i64]) -> Result<(), String> {
    if got.len() != expected.len() {
        return Err(format!("{name} has {} elements, expected {}", got.len(), expected.len()));
    }
    for ((index, got), &expected) in got.indexed_iter().zip(expected) {
        if got.widen() != expected as f64 {
            return Err(format!("{name}{:?} is {got}, expected {expected}", index.slice()));
        }
    }
    Ok(())
}
