//! Images and the order in which they are trained on.

// The reader of the MNIST example.
#[allow(
    missing_docs,
    clippy::len_without_is_empty,
    dead_code,
    reason = "written as an example, not as a library"
)]
#[path = "../../examples/mnist/data.rs"]
mod idx;
#[allow(missing_docs, reason = "the same")]
#[path = "../../examples/mnist/order.rs"]
mod order;

use std::path::Path;

use crate::error::{Error, Result};

pub use idx::{CLASSES, Data, SIDE, Set};
pub use order::shuffled;

/// Reads the four files of a folder.
///
/// # Errors
/// For a file that isn't there or isn't one of such images or labels, on this rank.
pub fn load(folder: &Path) -> Result<Data> {
    Data::load(folder).map_err(|error| Error::local(error.to_string()))
}

/// A checksum of images and labels.
pub fn checksum(data: &Data) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for set in [&data.train, &data.test] {
        for index in 0..set.len() {
            let (pixels, label) = set.image(index);
            hasher.update(pixels);
            hasher.update(&[label]);
        }
    }
    hasher.finalize()
}
