//! Opening a checkpoint: which format it is, what of it is wanted, and what it may take.

use std::fs::File;
use std::io;
use std::path::Path;

use super::float::Float;
use super::format::container::{Container, Parts};
use super::format::{npz, safetensors, torch};
use super::opened::PassedOver;
use super::state::Checkpoint;
use super::tensor::Tensor;
use super::text::{OPEN, shown};
use super::unreadable::unreadable_file;
use crate::config::{KERNEL_SIZE_PREFIX, PAIRING_PREFIX};
use crate::error::{ErrorKind, Result};

/// How to read a file. The default: every tensor, by its own name.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// The key of the dictionary that a PyTorch file has its state dict under, as `state_dict` or
    /// `model.ema`; `.` is the whole file, whose nested dictionaries give names of all their keys.
    /// Default: the state dict is found, as the [module](crate::checkpoint#the-state-dict) says.
    pub key: Option<String>,
    /// What is cut off the start of names that have it, as `net.`; empty for nothing. Default:
    /// `module.` and `_orig_mod.`, and `model.` too of a state dict that a training checkpoint has under
    /// a key, where all names have it.
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
    /// Opens a safetensors, PyTorch or NumPy `.npz` file; which it is, its content says. Tensors stay
    /// in the file until they are needed, so the file must stay as it is meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::File`] for a file that can't be read; [`ErrorKind::Format`] for one of another
    /// format, or at odds with itself, and for two tensors of one name; [`ErrorKind::Ambiguous`] for
    /// several state dicts of which nothing tells the one that is meant; [`ErrorKind::Overflow`] for a file
    /// that unpacks to too much.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &OpenOptions::default())
    }

    /// As [`Checkpoint::open`], with options.
    ///
    /// # Errors
    /// As [`Checkpoint::open`]; [`ErrorKind::Config`] for a key in a format that has none, or that isn't
    /// there, and for a prefix that no name has; [`ErrorKind::Format`] for names that are one without the
    /// prefix.
    pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        let path = path.as_ref();
        let (file, len) = open_file(path)?;
        let most = options.max_bytes.unwrap_or(len.saturating_mul(8).saturating_add(1 << 20));
        let container = Container::of(path, &file, most)?;
        if let (Some(key), Container::Safetensors | Container::Npz) = (&options.key, &container) {
            let expected = "none: only PyTorch files have dictionaries in dictionaries";
            return Err(OPEN.error(ErrorKind::Config, "key", expected, shown(key)));
        }
        let Parts { tensors, metadata, opened } = match container {
            Container::Safetensors => safetensors::read(file, len)?,
            Container::Torch => torch::read(file, len, options.key.as_deref())?,
            Container::Npz => npz::read(file)?,
        };
        let mut checkpoint = Self { tensors, metadata, opened };
        let bytes = checkpoint.tensors.values().map(|tensor| tensor.byte_len() as u64);
        let bytes = bytes.fold(0, u64::saturating_add);
        if bytes > most {
            let expected = format!("tensors of at most {most} bytes together (max_bytes)");
            return Err(OPEN.error(ErrorKind::Overflow, "max_bytes", expected, bytes));
        }
        match &options.strip_prefix {
            Some(prefix) => checkpoint.strip_told_prefix(prefix)?,
            None => checkpoint.strip_known_prefixes()?,
        }
        Ok(checkpoint)
    }

    fn strip_told_prefix(&mut self, prefix: &str) -> Result<()> {
        if prefix.is_empty() {
            return Ok(());
        }
        if !self.tensors.keys().any(|name| name.starts_with(prefix)) {
            let expected = "a prefix that names have";
            let got = shown(prefix);
            return Err(OPEN.error(ErrorKind::Config, "strip_prefix", expected, got));
        }
        self.strip_prefix(prefix)?;
        self.opened.prefix = prefix.to_owned();
        Ok(())
    }

    /// Cuts off what wrappers of models put before all names.
    fn strip_known_prefixes(&mut self) -> Result<()> {
        let mut known = vec!["module.", "_orig_mod."];
        if self.opened.key.is_some() {
            known.push("model.");
        }
        loop {
            // Averages of models count their steps beside the model that they wrap.
            let is_counter = |(name, tensor): &(&String, &Tensor)| {
                let is_number = tensor.shape().is_empty() && Float::of(tensor.dtype()).is_none();
                is_number && !name.contains('.')
            };
            let has = |prefix: &str| {
                let mut names = self.tensors.iter().filter(|entry| !is_counter(entry)).peekable();
                names.peek().is_some() && names.all(|(name, _)| name.starts_with(prefix))
            };
            let Some(prefix) = known.iter().copied().find(|prefix| has(prefix)) else {
                return Ok(());
            };
            let counters: Vec<_> =
                self.tensors.extract_if(.., |name, _| !name.starts_with(prefix)).collect();
            let passed_over = counters.into_iter();
            let passed_over =
                passed_over.map(|(name, _)| PassedOver { name, what: "a counter".to_owned() });
            self.opened.passed_over.extend(passed_over);
            self.strip_prefix(prefix)?;
            self.opened.prefix.push_str(prefix);
            // A model may well have a part of its own that is called so.
            known.retain(|known| *known != "model." || prefix != "model.");
        }
    }

    /// Cuts `prefix` off the names that start with it.
    fn strip_prefix(&mut self, prefix: &str) -> Result<()> {
        let tensors = std::mem::take(&mut self.tensors);
        for (name, tensor) in tensors {
            let short = name.strip_prefix(prefix).unwrap_or(&name);
            if self.tensors.insert(short.to_owned(), tensor).is_some() {
                let got = format!("{} and {}{}", shown(short), shown(prefix), shown(short));
                let expected = "names that differ without the prefix";
                return Err(OPEN.error(ErrorKind::Format, "strip_prefix", expected, got));
            }
        }
        // What the file says of a layer goes with the layer.
        let metadata = std::mem::take(&mut self.metadata);
        for (key, text) in metadata {
            let layer = [KERNEL_SIZE_PREFIX, PAIRING_PREFIX]
                .into_iter()
                .find_map(|about| Some((about, key.strip_prefix(about)?.strip_prefix(prefix)?)));
            let key = layer.map_or(key.clone(), |(about, name)| format!("{about}{name}"));
            self.metadata.insert(key, text);
        }
        Ok(())
    }
}

/// A regular file and its length.
fn open_file(path: &Path) -> Result<(File, u64)> {
    let refused = |error| unreadable_file(path, &error);
    // Before it is opened: to open a pipe is to wait for its other end.
    let metadata = std::fs::metadata(path).map_err(refused)?;
    if !metadata.is_file() {
        return Err(refused(io::Error::other("not a regular file")));
    }
    let file = File::open(path).map_err(refused)?;
    let len = file.metadata().map_err(refused)?.len();
    Ok((file, len))
}
