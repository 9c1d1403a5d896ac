//! How to read checkpoints, as the command line says it.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use do_conv::Pairing;
use do_conv::checkpoint::{
    Checkpoint, FileFormat, Framework, KernelLayout, LayerOptions, OpenOptions, UnfoldTarget,
};

use crate::failure::Failure;
use crate::text::shown;

/// How to read checkpoints, and what to take for a layer.
#[derive(Args, Clone, Default)]
pub struct Reading {
    /// Whose DO-Conv code the checkpoint comes from: their keys, shapes and pairing.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Which slice of D goes with which of W in layers of several groups; the default is what the
    /// file says by its metadata or d_diag, else that of the format tensorflow or gluon.
    #[arg(long, value_enum)]
    pub pairing: Option<PairingName>,
    /// The rows and columns of a layer's kernel, needed where their product isn't a square.
    #[arg(long, value_name = "NAME=MxN", value_parser = kernel)]
    pub kernel: Vec<(String, [usize; 2])>,
    /// Leaves a layer as it is.
    #[arg(long, value_name = "NAME")]
    pub skip: Vec<String>,
    /// The dictionary of a PyTorch file that the state dict is in, as state_dict or model.ema; . is the
    /// whole file [default: it is found].
    #[arg(long)]
    pub key: Option<String>,
    /// Cuts this off the start of names; an empty one cuts nothing [default: module., _orig_mod. and, in
    /// a training checkpoint, model.].
    #[arg(long, value_name = "PREFIX")]
    pub strip_prefix: Option<String>,
    /// The most bytes that all tensors may have [default: eight times the file's, and 1 MiB].
    #[arg(long, value_name = "N")]
    pub max_bytes: Option<u64>,
}

impl Reading {
    pub fn open(&self, path: &Path) -> do_conv::Result<Checkpoint> {
        let mut options = OpenOptions::default();
        options.key.clone_from(&self.key);
        options.strip_prefix.clone_from(&self.strip_prefix);
        options.max_bytes = self.max_bytes;
        Checkpoint::open_with(path, &options)
    }

    pub fn layer_options(&self) -> Result<LayerOptions, Failure> {
        let mut options = self.any_layers();
        options.pairing = self.pairing.map(|pairing| match pairing {
            PairingName::InputChannel => Pairing::InputChannel,
            PairingName::Pytorch => Pairing::PyTorch,
            PairingName::Tensorflow => Pairing::TensorFlow,
        });
        options.kernel_sizes = unique("--kernel", &self.kernel)?;
        options.skip = self.skip.iter().cloned().collect();
        Ok(options)
    }

    /// The same without what it says of single layers.
    pub fn any_layers(&self) -> LayerOptions {
        LayerOptions::default().framework(match self.format {
            Format::Pytorch => Framework::PyTorch,
            Format::Tensorflow => Framework::TensorFlow,
            Format::Gluon => Framework::Gluon,
        })
    }

    /// The dictionaries of a PyTorch file, by the names of the tensors in them.
    pub fn dictionaries(&self, path: &Path) -> Vec<String> {
        let mut options = OpenOptions::default().key(".").strip_prefix("");
        options.max_bytes = self.max_bytes;
        let Ok(checkpoint) = Checkpoint::open_with(path, &options) else { return Vec::new() };
        let names = checkpoint.tensors().map(|(name, _)| name);
        let dictionaries = names.filter_map(|name| Some(name.split_once('.')?.0.to_owned()));
        let mut dictionaries: Vec<_> = dictionaries.collect();
        dictionaries.dedup();
        dictionaries
    }
}

#[derive(Clone, Copy, Default, PartialEq, ValueEnum)]
pub enum Format {
    /// W [O, n, S], D [I, MN, S], d_diag, bias.
    #[default]
    Pytorch,
    /// kernel [S, n, O], D [MN, S, I], bias.
    Tensorflow,
    /// weight [O, n, M, N], D [MN, MN, I], bias.
    Gluon,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum PairingName {
    /// The channel that W[o, i] reads.
    InputChannel,
    /// (o mod g)·n + i, as the published PyTorch code computes.
    Pytorch,
    /// i·g + (o div r), as the published TensorFlow and GluonCV code computes.
    Tensorflow,
}

/// The format of a file to write.
#[derive(Clone, Copy, ValueEnum)]
pub enum FileFormatName {
    Safetensors,
    /// What torch.load takes, also with weights_only.
    Pytorch,
    /// What numpy.load takes.
    Npz,
}

impl From<FileFormatName> for FileFormat {
    fn from(name: FileFormatName) -> Self {
        match name {
            FileFormatName::Safetensors => Self::Safetensors,
            FileFormatName::Pytorch => Self::PyTorch,
            FileFormatName::Npz => Self::Npz,
        }
    }
}

#[derive(Clone, Copy, Default, ValueEnum)]
pub enum LayoutName {
    /// [O, n, M, N].
    #[default]
    Pytorch,
    /// [M, N, n, O], and [M, N, I, O/I] of depthwise layers, as TensorFlow and Keras have them.
    Tensorflow,
}

impl From<LayoutName> for KernelLayout {
    fn from(name: LayoutName) -> Self {
        match name {
            LayoutName::Pytorch => Self::PyTorch,
            LayoutName::Tensorflow => Self::TensorFlow,
        }
    }
}

/// What loads an unfolded checkpoint.
#[derive(Clone, Copy, Default, ValueEnum)]
pub enum TargetName {
    /// The published PyTorch code.
    #[default]
    Pytorch,
    /// Layers of do-conv and of its adapters for candle and burn.
    DoConv,
    /// Plain layers of burn that OverParameterize is applied to.
    BurnOverParameterize,
    /// The published TensorFlow code.
    Tensorflow,
    /// The published GluonCV code.
    Gluon,
}

impl From<TargetName> for UnfoldTarget {
    fn from(name: TargetName) -> Self {
        match name {
            TargetName::Pytorch => Self::PyTorch,
            TargetName::DoConv => Self::DoConv2d,
            TargetName::BurnOverParameterize => Self::OverParameterize,
            TargetName::Tensorflow => Self::TensorFlow,
            TargetName::Gluon => Self::Gluon,
        }
    }
}

/// A value as it is written on the command line.
pub fn name_of(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// What an option was told for each name.
pub fn unique<T: Clone>(
    option: &str,
    told: &[(String, T)],
) -> Result<BTreeMap<String, T>, Failure> {
    let mut by_name = BTreeMap::new();
    for (name, value) in told {
        if by_name.insert(name.clone(), value.clone()).is_some() {
            return Err(Failure::usage(format!("{option} twice for {}", shown(name))));
        }
    }
    Ok(by_name)
}

/// Two names with an equals sign between.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('=') {
        Some((from, to)) if !to.is_empty() => Ok((from.to_owned(), to.to_owned())),
        _ => Err("expected two names with = between".to_owned()),
    }
}

/// Two names, or none for the word auto.
pub fn pair_or_auto(text: &str) -> Result<Option<(String, String)>, String> {
    match text {
        "auto" => Ok(None),
        _ => pair(text).map(Some).map_err(|error| error + ", or auto"),
    }
}

/// A name or pattern and a number, or a number of all.
pub fn numbered<T: FromStr>(text: &str) -> Result<(String, T), String> {
    let (name, number) = text.rsplit_once('=').unwrap_or(("*", text));
    let parsed = number.parse().map(|number| (name.to_owned(), number));
    parsed.map_err(|_| "expected a name, = and a number".to_owned())
}

fn kernel(text: &str) -> Result<(String, [usize; 2]), String> {
    let parsed = text.rsplit_once('=').and_then(|(name, size)| {
        let (rows, cols) = size.split_once('x')?;
        Some((name.to_owned(), [rows.parse().ok()?, cols.parse().ok()?]))
    });
    parsed.ok_or_else(|| "expected a name and a kernel size, as conv1=3x5".to_owned())
}
