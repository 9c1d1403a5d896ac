//! The strips that a thread keeps from image to image.

use crate::conv::strip::Strip;
use crate::conv::strip::reading::{Block, Blocks, KEPT_TABLES, Reading};
use crate::machine::element::Element;
use crate::machine::simd::Simd;

/// Strips of the blocks of an image that came first, which are the same in every image, and of the block
/// that came last.
pub struct Recent<M, E> {
    kept: Vec<Option<(Block, Strip<M, E>)>>,
    last: Option<(Block, Strip<M, E>)>,
    /// Bytes of the tables of those that are kept.
    tables: usize,
}

/// Strips that a thread keeps, as long as their tables fit; more are made again in each image.
const MOST_STRIPS: usize = 32;

impl<M: Copy, E: Copy> Recent<M, E> {
    /// The block of that index and its strip.
    pub fn get<T, S>(
        &mut self,
        simd: S,
        reading: &Reading,
        blocks: &Blocks,
        index: usize,
    ) -> &(Block, Strip<M, E>)
    where
        T: Element,
        S: Simd<T, Mask = M, EvenMask = E>,
    {
        let block = blocks.get(index);
        let tables = reading.tables_of(&block);
        let new = || {
            let strip = Strip::new(simd, reading, &block);
            (block, strip)
        };
        if index < MOST_STRIPS {
            if self.kept.len() <= index {
                self.kept.resize_with(index + 1, || None);
            }
            let place = &mut self.kept[index];
            if place.is_some() || self.tables + tables <= KEPT_TABLES {
                return place.get_or_insert_with(|| {
                    self.tables += tables;
                    new()
                });
            }
        }
        // Not two at once.
        self.last = None;
        self.last.insert(new())
    }
}

impl<M, E> Default for Recent<M, E> {
    fn default() -> Self {
        Self { kept: Vec::new(), last: None, tables: 0 }
    }
}
