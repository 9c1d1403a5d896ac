//! MNIST-like data in IDX files: a big-endian header (magic number, extents), then one byte a value.

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use ndarray::Array4;

/// Rows and columns of an image.
pub const SIDE: usize = 28;
pub const CLASSES: usize = 10;

pub const PIXELS: usize = SIDE * SIDE;
const IMAGES_MAGIC: u32 = 0x803;
const LABELS_MAGIC: u32 = 0x801;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

pub struct Data {
    pub train: Set,
    pub test: Set,
}

impl Data {
    pub fn load(folder: &Path) -> Result<Self> {
        Ok(Self { train: Set::load(folder, "train")?, test: Set::load(folder, "t10k")? })
    }
}

/// Images and their labels, as the bytes of the files: a quarter of the memory of floats.
pub struct Set {
    images: Vec<[u8; PIXELS]>,
    labels: Vec<u8>,
}

impl Set {
    fn load(folder: &Path, name: &str) -> Result<Self> {
        let images_path = find(folder, &format!("{name}-images-idx3-ubyte"))?;
        let labels_path = find(folder, &format!("{name}-labels-idx1-ubyte"))?;
        let pixels = read_idx(&images_path, IMAGES_MAGIC, &[SIDE as u32, SIDE as u32])?;
        let labels = read_idx(&labels_path, LABELS_MAGIC, &[])?;
        let images = pixels.as_chunks().0.to_vec();

        if images.is_empty() {
            return Err(format!("{}: expected images, found none", images_path.display()).into());
        }
        if labels.len() != images.len() {
            return Err(format!(
                "{}: expected {} labels, one for each image of {}, found {}",
                labels_path.display(),
                images.len(),
                images_path.display(),
                labels.len(),
            )
            .into());
        }
        if let Some(index) = labels.iter().position(|&l| usize::from(l) >= CLASSES) {
            return Err(format!(
                "{}: expected labels below {CLASSES}, found {} at index {index}",
                labels_path.display(),
                labels[index],
            )
            .into());
        }
        Ok(Self { images, labels })
    }

    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// An image, row by row, and its label.
    pub fn image(&self, index: usize) -> (&[u8; PIXELS], u8) {
        (&self.images[index], self.labels[index])
    }

    /// The images at `indices`, scaled to 0..1, and their labels.
    pub fn batch(&self, indices: impl ExactSizeIterator<Item = usize>) -> (Array4<f32>, Vec<u8>) {
        let mut x = Array4::zeros((indices.len(), 1, SIDE, SIDE));
        let mut labels = Vec::with_capacity(indices.len());
        for (mut x, index) in x.outer_iter_mut().zip(indices) {
            let (pixels, label) = self.image(index);
            for (x, &pixel) in x.iter_mut().zip(pixels) {
                *x = f32::from(pixel) / 255.0;
            }
            labels.push(label);
        }
        (x, labels)
    }

    /// All of the set in order, `size` images at a time (the last batch may be smaller).
    pub fn batches(&self, size: usize) -> impl Iterator<Item = (Array4<f32>, Vec<u8>)> {
        let starts = (0..self.len()).step_by(size);
        starts.map(move |start| self.batch(start..self.len().min(start + size)))
    }
}

/// The raw file if it is there, else the compressed one.
fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let raw = folder.join(name);
    let compressed = folder.join(format!("{name}.gz"));
    [raw, compressed].into_iter().find(|path| path.is_file()).ok_or_else(|| {
        let folder = folder.display();
        format!("{folder}: expected a file {name} or {name}.gz, found neither").into()
    })
}

/// The values of an IDX file whose header must be `magic`, any count, then the extents `item`.
fn read_idx(path: &Path, magic: u32, item: &[u32]) -> Result<Vec<u8>> {
    let shown = path.display();
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::UnexpectedEof => format!("{shown}: truncated, or stray bytes at its end"),
        _ => format!("{shown}: {error}"),
    };

    let file = BufReader::new(File::open(path).map_err(failed)?);
    let mut reader: Box<dyn Read> = if path.extension().is_some_and(|e| e == "gz") {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };

    let mut header = vec![0; 4 * (2 + item.len())];
    reader.read_exact(&mut header).map_err(failed)?;
    let header: Vec<u32> = header.as_chunks().0.iter().map(|&b| u32::from_be_bytes(b)).collect();
    let (found, count, extents) = (header[0], header[1], &header[2..]);
    if found != magic {
        return Err(format!(
            "{shown}: expected the magic number {magic:#010x}, found {found:#010x}"
        )
        .into());
    }
    if extents != item {
        return Err(
            format!("{shown}: expected images of {item:?} pixels, found {extents:?}").into()
        );
    }

    let expected = u64::from(count) * item.iter().map(|&extent| u64::from(extent)).product::<u64>();
    let mut values = Vec::new();
    // One more than wanted, so that trailing bytes show without unpacking all of them.
    reader.take(expected + 1).read_to_end(&mut values).map_err(failed)?;
    let found = values.len() as u64;
    if found != expected {
        let found = if found > expected { "more".to_owned() } else { found.to_string() };
        return Err(
            format!("{shown}: expected {expected} bytes after the header, found {found}").into()
        );
    }
    Ok(values)
}
