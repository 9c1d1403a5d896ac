//! Room for as much as a file announces, or an error where there is none.

use std::io;

use crate::machine::memory;

/// An empty vector with room for `count` elements.
pub fn room<T>(count: usize) -> io::Result<Vec<T>> {
    memory::room(count).map_err(|_| io::ErrorKind::OutOfMemory.into())
}

/// Zeros.
pub fn zeros<T: Copy + Default>(count: usize) -> io::Result<Vec<T>> {
    let mut zeros = room(count)?;
    zeros.resize(count, T::default());
    Ok(zeros)
}

/// Makes a buffer of whatever contents as long as that.
pub fn resize<T: Copy + Default>(buffer: &mut Vec<T>, count: usize) -> io::Result<()> {
    if count > buffer.capacity() {
        *buffer = room(count)?;
    }
    buffer.resize(count, T::default());
    Ok(())
}
