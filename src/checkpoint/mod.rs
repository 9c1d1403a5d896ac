//! Checkpoints: read, folded and written (feature `checkpoint`).
//!
//! A checkpoint is tensors by name. [`Checkpoint::open`] reads safetensors, PyTorch's `.pth` and `.pt`
//! (without running any of the code that such a file may ask for) and NumPy's `.npz`;
//! [`Checkpoint::layers`] finds the DO-Conv layers in it by their keys, [`Checkpoint::fold`] writes a
//! checkpoint with plain kernels in their place, and [`Checkpoint::layer`] and
//! [`Checkpoint::insert_layer`] are the way to and from a [`DoConv2d`](crate::DoConv2d).
//!
//! ```no_run
//! use do_conv::checkpoint::{Checkpoint, FoldOptions, LayerOptions};
//! use do_conv::DoConv2d;
//!
//! let checkpoint = Checkpoint::open("trained.pth")?;
//! for layer in checkpoint.layers(&LayerOptions::default())? {
//!     println!("{}: {} of {:?}", layer.name, layer.form, layer.weight_shape);
//! }
//! // Every `NAME.W` and `NAME.D` becomes the `NAME.weight` that `torch.nn.Conv2d` loads.
//! let report = checkpoint.fold("folded.safetensors", &FoldOptions::default())?;
//! println!("{} layers, checked on random input", report.layers.len());
//!
//! let stem = &checkpoint.layers(&LayerOptions::default())?[0];
//! let config = stem.config()?.stride([2, 2]).padding(3); // a checkpoint doesn't have these
//! let layer: DoConv2d<f32> = checkpoint.layer(stem, config)?;
//! # Ok::<(), do_conv::Error>(())
//! ```
//!
//! # Layers and their keys
//!
//! | [`Framework`] | `W` | offset of `D` | identity | bias | 1×1 layers | pairing |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | PyTorch (default) | `W` `[O, n, S]` | `D` `[I, MN, S]` | `d_diag` or `D_diag` `[I, MN, S]`, if any | `bias` `[O]` | `W` `[O, n, 1]` only | [`Pairing::PyTorch`](crate::Pairing) |
//! | TensorFlow | `kernel` `[S, n, O]` | `D` `[MN, S, I]` | | `bias` | `kernel` `[1, n, O]` only | [`Pairing::TensorFlow`](crate::Pairing) |
//! | Gluon | `weight` `[O, n, M, N]` | `D` `[MN, MN, I]` | | `bias` | a plain `weight` | [`Pairing::TensorFlow`](crate::Pairing) |
//!
//! Keys are a layer's name, a `.` or `/` (with Gluon also `_`) and one of these, which may end in `:0`.
//! The identity is fixed and left out of what is written; one that isn't the identity is refused.
//!
//! `D` has the number of taps `MN` and not `M` and `N`. A square number is taken for a square kernel,
//! any other needs [`LayerOptions::kernel_size`]. A layer that this crate wrote has both `M` and `N` and
//! its pairing in the file's metadata, as `do_conv.kernel_size.NAME` and `do_conv.pairing.NAME`.
//!
//! Layers of this crate's adapters have PyTorch's keys and any pairing, by default another than the published
//! code's, which matters for several groups of several inputs or outputs. Such a layer needs something that tells it:
//! [`LayerOptions::pairing`], `do_conv.pairing.NAME` or, for all layers of a file, `do_conv.pairing`
//! ([`Pairing::METADATA_KEY`](crate::Pairing::METADATA_KEY)) in the metadata, as the adapters' ways to save
//! with metadata put it there, or the identity, which the published code stores and the adapters don't.
//! Without it [`LayerInfo::pairing`] is unknown, and a fold refuses it.
//!
//! # Hostile files
//!
//! Every length, offset and shape is checked against the file before memory is asked for, and no
//! checkpoint is taken in that unpacks to more than eight times its file and 1 MiB
//! ([`OpenOptions::max_bytes`]). Pickled objects are parsed and never called; they may take a hundred
//! times the bytes of their pickle, which in an archive has 16 MiB at most.

mod float;
mod fold;
mod info;
mod kernel;
mod keys;
mod layer;
mod npy;
mod npz;
mod output;
mod safetensors;
mod tensor;
mod torch;
mod verify;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::path::Path;

pub use ::safetensors::Dtype;
use ndarray::ArrayD;

pub use fold::{FoldOptions, FoldReport, FoldedLayer};
pub use info::{Form, Framework, LayerInfo, LayerOptions, PairingSource};
pub use tensor::Tensor;

use crate::compose::BEYOND;
use crate::error::{Error, ErrorKind, Result};
use float::Float;
use tensor::{Contents, unreadable};

/// Tensors by name, and texts by name.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    tensors: BTreeMap<String, Tensor>,
    metadata: BTreeMap<String, String>,
}

/// How to read a file. The default: every tensor, by its own name.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// The key of the dictionary that a PyTorch file has its state dict under, as `state_dict`.
    /// Default: none, and the tensors of nested dictionaries are named by all their keys.
    pub key: Option<String>,
    /// What is cut off the start of names that have it, as `module.`. Default: nothing.
    pub strip_prefix: Option<String>,
    /// The most bytes that all tensors may have. Default: eight times the file's, and 1 MiB.
    pub max_bytes: Option<u64>,
}

impl OpenOptions {
    /// Sets the key of the dictionary to read.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets what is cut off the start of names.
    pub fn strip_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.strip_prefix = Some(prefix.into());
        self
    }

    /// Sets the most bytes that all tensors may have.
    pub fn max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = Some(max_bytes);
        self
    }
}

impl Checkpoint {
    /// A checkpoint without tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a safetensors, PyTorch or NumPy `.npz` file; which it is, its content says. Tensors stay
    /// in the file until they are needed, so the file must stay as it is meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::File`] for a file that can't be read; [`ErrorKind::Format`] for one of another
    /// format, or at odds with itself; [`ErrorKind::Overflow`] for one that unpacks to too much.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &OpenOptions::default())
    }

    /// As [`Checkpoint::open`], with options.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], and [`ErrorKind::Config`] for a key in a format that has none.
    pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        let path = path.as_ref();
        let (file, len) = open_file(path)?;
        let most = options.max_bytes.unwrap_or(len.saturating_mul(8).saturating_add(1 << 20));
        let mut checkpoint = match Container::of(path, &file, most)? {
            Container::Torch => torch::read(path, options.key.as_deref())?,
            container => {
                if let Some(key) = &options.key {
                    let expected = "none: only PyTorch files have dictionaries in dictionaries";
                    return Err(Error::new(ErrorKind::Config, OPEN, "key", expected, shown(key)));
                }
                match container {
                    Container::Npz => npz::read(file)?,
                    _ => safetensors::read(file, len)?,
                }
            }
        };
        let bytes = checkpoint.tensors.values().map(|tensor| tensor.byte_len() as u64);
        let bytes = bytes.fold(0, u64::saturating_add);
        if bytes > most {
            let expected = format!("tensors of at most {most} bytes together (max_bytes)");
            return Err(Error::new(ErrorKind::Overflow, OPEN, "max_bytes", expected, bytes));
        }
        if let Some(prefix) = &options.strip_prefix {
            checkpoint.strip_prefix(prefix)?;
        }
        Ok(checkpoint)
    }

    /// Cuts `prefix` off the names that start with it.
    fn strip_prefix(&mut self, prefix: &str) -> Result<()> {
        let tensors = std::mem::take(&mut self.tensors);
        for (name, tensor) in tensors {
            let short = name.strip_prefix(prefix).unwrap_or(&name);
            if self.tensors.insert(short.to_owned(), tensor).is_some() {
                let got = format!("{} and {}{}", shown(short), shown(prefix), shown(short));
                let expected = "names that differ without the prefix";
                return Err(Error::new(ErrorKind::Format, OPEN, "strip_prefix", expected, got));
            }
        }
        // What the file says of a layer goes with the layer.
        let metadata = std::mem::take(&mut self.metadata);
        for (key, text) in metadata {
            let layer = [info::KERNEL_SIZE, info::PAIRING]
                .into_iter()
                .find_map(|about| Some((about, key.strip_prefix(about)?.strip_prefix(prefix)?)));
            let key = layer.map_or(key.clone(), |(about, name)| format!("{about}{name}"));
            self.metadata.insert(key, text);
        }
        Ok(())
    }

    /// The names and tensors, in the order of names.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Puts in a tensor; gives the one that had the name before.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) -> Option<Tensor> {
        self.tensors.insert(name.into(), tensor)
    }

    /// Takes out the tensor of that name.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.tensors.remove(name)
    }

    /// The texts that a safetensors file has beside its tensors.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The texts to write to.
    pub fn metadata_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.metadata
    }

    /// The bytes of a tensor: little-endian elements in row-major order.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a name that isn't there; [`ErrorKind::File`] and
    /// [`ErrorKind::Format`] for bytes that can't be read.
    pub fn read(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        const OPERATION: &str = "Checkpoint::read";
        self.find(OPERATION, name)?.read(OPERATION, name)
    }

    /// The elements of a tensor of `f16`, `bf16`, `f32` or `f64`, exactly.
    ///
    /// # Errors
    /// As [`Checkpoint::read`], and [`ErrorKind::Format`] for another element type.
    pub fn values(&self, name: &str) -> Result<ArrayD<f64>> {
        const OPERATION: &str = "Checkpoint::values";
        let tensor = self.find(OPERATION, name)?;
        let values = self.values_of(OPERATION, name)?;
        ArrayD::from_shape_vec(tensor.shape(), values)
            .map_err(|error| Error::new(ErrorKind::Overflow, OPERATION, "shape", "a size", error))
    }

    /// The elements of a tensor in row-major order.
    fn values_of(&self, operation: &'static str, name: &str) -> Result<Vec<f64>> {
        let tensor = self.find(operation, name)?;
        let contents = tensor.contents().map_err(|error| unreadable(operation, name, &error))?;
        self.values_in(operation, name, &contents, None)
    }

    /// Some of the elements, or all, of a tensor with these contents.
    fn values_in(
        &self,
        operation: &'static str,
        name: &str,
        contents: &Contents,
        range: Option<Range<usize>>,
    ) -> Result<Vec<f64>> {
        let tensor = self.find(operation, name)?;
        let float = Float::of(tensor.dtype()).ok_or_else(|| {
            let expected = "F16, BF16, F32 or F64 elements";
            Error::new(ErrorKind::Format, operation, shown(name), expected, tensor.dtype())
        })?;
        let range = range.unwrap_or(0..contents.len() / float.size());
        let len = range.len();
        // `Composer::transposed` would have to move them for more room.
        let mut values = Vec::with_capacity(len + BEYOND);
        values.resize(len, 0.0);
        let mut buffer = Vec::new();
        for (index, values) in values.chunks_mut(CHUNK).enumerate() {
            let start = (range.start + index * CHUNK) * float.size();
            let bytes = contents.part(start..start + values.len() * float.size(), &mut buffer);
            float.widen(bytes.map_err(|error| unreadable(operation, name, &error))?, values);
        }
        Ok(values)
    }

    fn find(&self, operation: &'static str, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| {
            Error::new(ErrorKind::Config, operation, shown(name), "a tensor of that name", "none")
        })
    }

    /// Writes a safetensors file: to a temporary one beside it first, which then takes its name. The
    /// same tensors give the same bytes.
    ///
    /// # Errors
    /// [`ErrorKind::File`] if the file exists and `overwrite` isn't set, or can't be written;
    /// [`ErrorKind::File`] and [`ErrorKind::Format`] for a tensor that can't be read. There is no new
    /// file then, and an old one is as it was.
    pub fn save(&self, path: impl AsRef<Path>, overwrite: bool) -> Result<()> {
        const OPERATION: &str = "Checkpoint::save";
        let tensors = self.tensors.iter();
        let entries = tensors
            .map(|(name, tensor)| (name.as_str(), tensor.dtype(), tensor.shape().to_vec()))
            .collect();
        let plan = safetensors::Plan::new(OPERATION, entries, &self.metadata)?;
        let output = output::Output::create(OPERATION, path.as_ref(), overwrite, &plan)?;
        let file = output.handle()?;
        for entry in &plan.entries {
            let tensor = &self.tensors[entry.name];
            output::copy(OPERATION, entry, tensor, &|bytes, at| output.write_at(&file, bytes, at))?;
        }
        output.persist()
    }
}

/// Elements that are read at a time.
const CHUNK: usize = 1 << 15;

/// The operation that errors of opening name.
const OPEN: &str = "Checkpoint::open";

/// A regular file and its length.
fn open_file(path: &Path) -> Result<(File, u64)> {
    let refused = |error: io::Error| {
        Error::new(ErrorKind::File, OPEN, shown_path(path), "a readable file", error)
    };
    // Before it is opened: to open a pipe is to wait for its other end.
    let metadata = std::fs::metadata(path).map_err(refused)?;
    if !metadata.is_file() {
        return Err(refused(io::Error::other("not a regular file")));
    }
    let file = File::open(path).map_err(refused)?;
    let len = file.metadata().map_err(refused)?.len();
    Ok((file, len))
}

/// What holds the tensors.
enum Container {
    Safetensors,
    Torch,
    Npz,
}

impl Container {
    /// Tells by the content.
    fn of(path: &Path, mut file: &File, most: u64) -> Result<Self> {
        let refused = |error: io::Error| {
            Error::new(ErrorKind::File, OPEN, shown_path(path), "a readable file", error)
        };
        let mut start = Vec::new();
        file.take(9).read_to_end(&mut start).map_err(refused)?;
        file.rewind().map_err(refused)?;
        if start.starts_with(b"PK") {
            return if npz::is_npz(file, most)? { Ok(Self::Npz) } else { Ok(Self::Torch) };
        }
        if start.starts_with(b"\x93NUMPY") {
            let expected = "an .npz file: a .npy has one array and no names";
            return Err(Error::new(ErrorKind::Format, OPEN, "format", expected, "a .npy file"));
        }
        // Eight bytes of the header's length, and JSON.
        if start.get(8) == Some(&b'{') {
            return Ok(Self::Safetensors);
        }
        Ok(Self::Torch)
    }
}

/// A path, fit for a line of text.
pub(crate) fn shown_path(path: &Path) -> String {
    shown(&path.display().to_string())
}

/// A name or text from a file, fit for a line of text.
pub(crate) fn shown(name: &str) -> String {
    const MOST: usize = 200;
    let mut shown = String::new();
    for c in name.chars().take(MOST) {
        match c {
            '\'' | '"' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    if name.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}
