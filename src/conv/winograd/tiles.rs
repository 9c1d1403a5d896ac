//! How outputs are cut into tiles.
//!
//! An axis with dilation `d` falls into `d` phases, whose pixels are `d` apart; each is cut into tiles of `m`
//! outputs and a last one of as many as are left. So there are up to four classes of tiles in a block: rows
//! of `m` or fewer outputs by columns of `m` or fewer. They are numbered one class after the other, in an
//! order by which the tiles that have any one point follow each other.

use std::ops::Range;

use super::points::Family;

/// The tiles of an axis of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileAxis {
    /// Outputs of the block along the axis.
    pub len: usize,
    pub dilation: usize,
    /// `m`.
    most: usize,
    phases: usize,
    /// Tiles of `m` outputs in a phase.
    whole: usize,
    /// Outputs of the last tile of a phase; none for no such tile. Where phases differ by one in length, that
    /// of the longest.
    rest: usize,
}

impl TileAxis {
    pub fn new(len: usize, dilation: usize, most: usize) -> Self {
        let of_phase = len.div_ceil(dilation);
        let (whole, rest) = (of_phase / most, of_phase % most);
        Self { len, dilation, most, phases: dilation.min(len), whole, rest }
    }

    /// Tiles of `m` outputs, and those of fewer.
    fn counts(&self) -> [usize; 2] {
        [self.phases * self.whole, if self.rest > 0 { self.phases } else { 0 }]
    }

    /// All tiles.
    pub fn count(&self) -> usize {
        self.counts().iter().sum()
    }

    /// Outputs of a tile of the class.
    pub fn outputs(&self, is_rest: bool) -> usize {
        if is_rest { self.rest } else { self.most }
    }

    /// The output that a tile of the class starts at, counted from the block's first.
    pub fn start(&self, is_rest: bool, index: usize) -> usize {
        let (phase, tile) =
            if is_rest { (index, self.whole) } else { (index / self.whole, index % self.whole) };
        phase + tile * self.most * self.dilation
    }

    /// Outputs with those that tiles have past the last, `d` times those of the longest phase.
    pub fn covered(&self) -> usize {
        self.dilation * self.len.div_ceil(self.dilation)
    }

    /// Whether tiles of fewer outputs have the point of that row.
    fn rest_has(&self, point: usize) -> bool {
        point < self.rest + 2
    }
}

/// Tiles of the same sizes.
#[derive(Debug, Clone, Copy)]
pub struct Class {
    pub rows_rest: bool,
    pub cols_rest: bool,
    /// The number of its first tile.
    pub start: usize,
    /// Rows and columns of tiles.
    pub rows: usize,
    pub cols: usize,
}

/// The tiles of a block of outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiles {
    pub images: usize,
    pub rows: TileAxis,
    pub cols: TileAxis,
}

/// Rows, then columns: whether of fewer outputs. Point rows that tiles of fewer rows don't have belong to the
/// first two, point columns that those of fewer columns don't have to the middle two.
const ORDER: [[bool; 2]; 4] = [[false, true], [false, false], [true, false], [true, true]];

impl Tiles {
    /// The classes, in order; some of them may be empty.
    pub fn classes(&self) -> [Class; 4] {
        let (rows, cols) = (self.rows.counts(), self.cols.counts());
        let mut start = 0;
        ORDER.map(|[rows_rest, cols_rest]| {
            let [rows, cols] = [rows[usize::from(rows_rest)], cols[usize::from(cols_rest)]];
            let class = Class { rows_rest, cols_rest, start, rows, cols };
            start += self.images * rows * cols;
            class
        })
    }

    pub fn count(&self) -> usize {
        self.images * self.rows.count() * self.cols.count()
    }

    /// The tiles that have a point.
    pub fn with_point(&self, row: usize, col: usize) -> Range<usize> {
        let classes = self.classes();
        let end = |class: &Class| class.start + self.images * class.rows * class.cols;
        let (first, last) = match (self.rows.rest_has(row), self.cols.rest_has(col)) {
            (true, true) => (0, 3),
            (true, false) => (1, 2),
            (false, true) => (0, 1),
            (false, false) => (1, 1),
        };
        classes[first].start..end(&classes[last])
    }
}

/// A rectangle of outputs of some images, which are more than one only where it is all of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    pub images: Range<usize>,
    pub rows: Range<usize>,
    pub cols: Range<usize>,
}

/// The regions that a batch of outputs is cut into.
#[derive(Debug, Clone, Copy)]
pub struct Regions {
    batch: usize,
    /// Outputs of an image, by axis.
    outputs: [usize; 2],
    dilation: [usize; 2],
    most: usize,
    /// Images, rows and columns of a region, at most.
    size: [usize; 3],
}

impl Regions {
    /// Regions of at most `tiles` tiles and `width` columns, or of as few as one tile in each phase has.
    pub fn new<T>(
        family: &Family<T>,
        batch: usize,
        outputs: [usize; 2],
        dilation: [usize; 2],
        tiles: usize,
        width: usize,
    ) -> Self {
        let most = family.outputs;
        // Outputs that have one tile of each phase.
        let units = dilation.map(|dilation| dilation * most);
        let axis = |index: usize, len: usize| TileAxis::new(len, dilation[index], most).count();
        let [rows, cols] = outputs;
        let of_unit_row = axis(0, rows.min(units[0]));
        // As many columns as fit, in even parts.
        let fits = |cols: usize| cols <= width && of_unit_row * axis(1, cols) <= tiles;
        let parts = (1..=cols.div_ceil(units[1]))
            .find(|&parts| fits(cols.div_ceil(parts).next_multiple_of(units[1]).min(cols)));
        let cols_len = match parts {
            Some(parts) => cols.div_ceil(parts).next_multiple_of(units[1]).min(cols),
            None => cols.min(units[1]),
        };
        let of_cols = axis(1, cols_len);
        let fits = |rows: usize| axis(0, rows) * of_cols <= tiles;
        let parts = (1..=rows.div_ceil(units[0]))
            .find(|&parts| fits(rows.div_ceil(parts).next_multiple_of(units[0]).min(rows)));
        let rows_len = match parts {
            Some(parts) => rows.div_ceil(parts).next_multiple_of(units[0]).min(rows),
            None => rows.min(units[0]),
        };
        let whole = [rows_len, cols_len] == outputs;
        let of_image = axis(0, rows) * axis(1, cols);
        let images = if whole { (tiles / of_image).clamp(1, batch) } else { 1 };
        let images = batch.div_ceil(batch.div_ceil(images));
        Self { batch, outputs, dilation, most, size: [images, rows_len, cols_len] }
    }

    fn parts(&self) -> [usize; 3] {
        let [images, rows, cols] = self.size;
        [
            self.batch.div_ceil(images),
            self.outputs[0].div_ceil(rows),
            self.outputs[1].div_ceil(cols),
        ]
    }

    pub fn len(&self) -> usize {
        self.parts().iter().product()
    }

    pub fn get(&self, index: usize) -> Region {
        let ([_, row_parts, col_parts], [images, rows, cols]) = (self.parts(), self.size);
        let range =
            |part: usize, size: usize, all: usize| part * size..((part + 1) * size).min(all);
        let [height, width] = self.outputs;
        Region {
            images: range(index / (row_parts * col_parts), images, self.batch),
            rows: range(index / col_parts % row_parts, rows, height),
            cols: range(index % col_parts, cols, width),
        }
    }

    /// The tiles of a region.
    pub fn tiles(&self, region: &Region) -> Tiles {
        let axis = |index: usize, len| TileAxis::new(len, self.dilation[index], self.most);
        Tiles {
            images: region.images.len(),
            rows: axis(0, region.rows.len()),
            cols: axis(1, region.cols.len()),
        }
    }

    /// The largest region's shape.
    pub fn most(&self) -> Tiles {
        self.tiles(&self.get(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_output_is_in_one_tile_and_points_follow_each_other() {
        for most in [2, 4] {
            let family: Family<f64> = Family::new(most);
            for (batch, outputs, dilation, limit) in [
                (3, [7, 7], [1, 1], 40),
                (2, [9, 22], [1, 1], 5),
                (1, [13, 17], [3, 2], 1),
                (2, [5, 33], [6, 6], 60),
                (1, [1, 2], [2, 1], 8),
            ] {
                let regions = Regions::new(&family, batch, outputs, dilation, limit, 16);
                let mut seen = vec![0; batch * outputs[0] * outputs[1]];
                for index in 0..regions.len() {
                    let region = regions.get(index);
                    let tiles = regions.tiles(&region);
                    let all = regions.most();
                    assert!(tiles.count() <= all.count());
                    let mut numbers = vec![[0, 0]; tiles.count()];
                    for class in tiles.classes() {
                        let sizes = [
                            tiles.rows.outputs(class.rows_rest),
                            tiles.cols.outputs(class.cols_rest),
                        ];
                        for tile in 0..tiles.images * class.rows * class.cols {
                            numbers[class.start + tile] = sizes;
                            let image = region.images.start + tile / (class.rows * class.cols);
                            let row =
                                tiles.rows.start(class.rows_rest, tile / class.cols % class.rows);
                            let col = tiles.cols.start(class.cols_rest, tile % class.cols);
                            for r in 0..sizes[0] {
                                for c in 0..sizes[1] {
                                    let row = row + r * dilation[0];
                                    let col = col + c * dilation[1];
                                    assert!(row < tiles.rows.covered());
                                    assert!(col < tiles.cols.covered());
                                    if row < region.rows.len() && col < region.cols.len() {
                                        let row = region.rows.start + row;
                                        let col = region.cols.start + col;
                                        seen[(image * outputs[0] + row) * outputs[1] + col] += 1;
                                    }
                                }
                            }
                        }
                    }
                    for row in 0..most + 2 {
                        for col in 0..most + 2 {
                            let have =
                                |sizes: &[usize; 2]| row < sizes[0] + 2 && col < sizes[1] + 2;
                            let range = tiles.with_point(row, col);
                            for (number, sizes) in numbers.iter().enumerate() {
                                assert_eq!(range.contains(&number), have(sizes));
                            }
                        }
                    }
                }
                assert!(seen.iter().all(|&count| count == 1), "{outputs:?}: {seen:?}");
            }
        }
    }
}
