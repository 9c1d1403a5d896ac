//! DO-Conv layers of a checkpoint, as their tensors describe them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use safetensors::Dtype;

use super::shown;
use crate::compose::Composer;
use crate::error::{Error, ErrorKind, Result};
use crate::{DoConv2dConfig, Pairing};

/// Whose published DO-Conv code a checkpoint comes from: that fixes keys, shapes and pairing, as the
/// [module's table](super) says.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Framework {
    /// PyTorch, and this crate.
    #[default]
    PyTorch,
    /// TensorFlow and Keras.
    TensorFlow,
    /// GluonCV on MXNet.
    Gluon,
}

impl Framework {
    pub(super) fn pairing(self) -> Pairing {
        match self {
            Self::PyTorch => Pairing::PyTorch,
            Self::TensorFlow | Self::Gluon => Pairing::TensorFlow,
        }
    }

    /// The last part of the key of `W`.
    pub(super) fn w_key(self) -> &'static str {
        match self {
            Self::PyTorch => "W",
            Self::TensorFlow => "kernel",
            Self::Gluon => "weight",
        }
    }

    /// The last parts of a layer's keys.
    pub(super) fn parts(self) -> &'static [&'static str] {
        match self {
            Self::PyTorch => &["W", "D", "d_diag", "D_diag", "bias"],
            Self::TensorFlow => &["kernel", "D", "bias"],
            Self::Gluon => &["weight", "D", "bias"],
        }
    }

    pub(super) fn separators(self) -> &'static [char] {
        match self {
            Self::PyTorch | Self::TensorFlow => &['.', '/'],
            Self::Gluon => &['.', '/', '_'],
        }
    }
}

/// What to take for a layer. The default: every set of keys of the published PyTorch code.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerOptions {
    /// Whose keys and shapes. Default: [`Framework::PyTorch`].
    pub framework: Framework,
    /// Which slice of `D` goes with which of `W`. Default: as the file says, else as the framework does
    /// it; see [`LayerInfo::pairing`].
    pub pairing: Option<Pairing>,
    /// `[M, N]` of layers by name. Default: as the file's metadata says, else a square.
    pub kernel_sizes: BTreeMap<String, [usize; 2]>,
    /// Layers to leave as they are, by name.
    pub skip: BTreeSet<String>,
}

impl LayerOptions {
    /// Sets whose keys and shapes to look for.
    pub fn framework(mut self, framework: Framework) -> Self {
        self.framework = framework;
        self
    }

    /// Sets which slice of `D` goes with which of `W`.
    pub fn pairing(mut self, pairing: Pairing) -> Self {
        self.pairing = Some(pairing);
        self
    }

    /// Sets the `[M, N]` of a layer.
    pub fn kernel_size(mut self, name: impl Into<String>, kernel_size: [usize; 2]) -> Self {
        self.kernel_sizes.insert(name.into(), kernel_size);
        self
    }

    /// Leaves a layer as it is.
    pub fn skip(mut self, name: impl Into<String>) -> Self {
        self.skip.insert(name.into());
        self
    }
}

/// The forms of a layer, by its groups.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
pub enum Form {
    /// One group.
    #[serde(rename = "DO-Conv")]
    DoConv,
    /// Several groups of several channels.
    #[serde(rename = "DO-GConv")]
    DoGConv,
    /// Each input channel a group.
    #[serde(rename = "DO-DConv")]
    DoDConv,
    /// A 1×1 kernel, which has no `D`; its groups can't be told from a checkpoint.
    #[serde(rename = "1x1")]
    Pointwise,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::DoConv => "DO-Conv",
            Self::DoGConv => "DO-GConv",
            Self::DoDConv => "DO-DConv",
            Self::Pointwise => "1x1",
        })
    }
}

/// What tells a layer's pairing; of several the first.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PairingSource {
    /// [`LayerOptions::pairing`].
    Options,
    /// The file's metadata, of the layer or of all layers.
    Metadata,
    /// The identity beside `D`, which of all that has PyTorch's keys the published code stores.
    Identity,
    /// [`LayerOptions::framework`]: TensorFlow's and Gluon's own, or PyTorch's where it doesn't differ
    /// from that by input channel.
    Framework,
}

/// A DO-Conv layer of a checkpoint, its shapes checked.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInfo {
    /// The layer's name: its keys up to the separator.
    pub name: String,
    /// DO-Conv, DO-GConv, DO-DConv or 1×1.
    pub form: Form,
    /// `I`, input channels; of a 1×1 layer those of one group, `n`.
    pub in_channels: usize,
    /// `O`, output channels.
    pub out_channels: usize,
    /// `g`, groups; 1 for a 1×1 layer, whatever its real groups.
    pub groups: usize,
    /// `MN`, taps of the kernel.
    pub taps: usize,
    /// `[M, N]`, if it is known.
    pub kernel_size: Option<[usize; 2]>,
    /// `S`, the depth multiplier.
    pub d_mul: usize,
    /// `[O, n, S]`.
    pub w_shape: [usize; 3],
    /// `[I, MN, S]`; none for a 1×1 layer.
    pub d_shape: Option<[usize; 3]>,
    /// `[O, n, M·N]`, the composed kernel's shape but for the last two axes being one.
    pub weight_shape: [usize; 3],
    /// The element type of `W` and of the folded kernel.
    pub dtype: Dtype,
    /// Whether there is a bias.
    pub bias: bool,
    /// Which slice of `D` goes with which of `W`. Unknown, with PyTorch's keys, of several groups of
    /// several inputs or outputs where [`PairingSource`] has nothing that tells it: layers of this
    /// crate's adapters have the same keys as those of the published code, and any pairing.
    pub pairing: Option<Pairing>,
    /// What tells the pairing, if it is known.
    pub pairing_source: Option<PairingSource>,
    pub(super) framework: Framework,
    /// The layer's keys.
    pub(super) keys: Keys,
}

/// The names of a layer's tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    /// The layer's name and the separator.
    pub prefix: String,
    pub w: String,
    pub d: Option<String>,
    pub identity: Option<String>,
    pub bias: Option<String>,
}

impl Keys {
    /// The names of the tensors that a folded layer doesn't have.
    pub fn trained(&self) -> impl Iterator<Item = &str> {
        [Some(&self.w), self.d.as_ref(), self.identity.as_ref()].into_iter().flatten().map(|k| &**k)
    }
}

impl LayerInfo {
    /// Whether the pairing matters and isn't by input channel, or is unknown: the layer then has no
    /// feature composition, and its kernel comes out right only with that pairing.
    pub fn needs_pairing(&self) -> bool {
        !self.pairing.is_some_and(|pairing| pairing.is_by_channel_of(self.extents()))
    }

    /// Whether pairings differ for a layer of such groups.
    pub fn pairing_matters(&self) -> bool {
        Pairing::matters_to(self.extents())
    }

    /// Groups, and the input and output channels of one.
    fn extents(&self) -> [usize; 3] {
        let Composer { groups, group_inputs, group_outputs, .. } = self.composer();
        [groups, group_inputs, group_outputs]
    }

    /// How many tensors of the checkpoint are the layer's.
    pub fn tensor_count(&self) -> usize {
        self.keys.trained().chain(self.keys.bias.as_deref()).count()
    }

    /// Trained parameters as they are and folded, the bias included; they saturate.
    pub fn parameters(&self) -> [usize; 2] {
        let count = |shape: [usize; 3]| shape.into_iter().fold(1, usize::saturating_mul);
        let bias = if self.bias { self.out_channels } else { 0 };
        let [w, d, weight] =
            [count(self.w_shape), self.d_shape.map_or(0, count), count(self.weight_shape)];
        [w.saturating_add(d).saturating_add(bias), weight.saturating_add(bias)]
    }

    /// What a layer of these shapes is configured as, to be completed by stride, dilation and padding,
    /// which a checkpoint hasn't got, and a 1×1 layer by its `groups` and all its `in_channels`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the kernel's rows and columns or the pairing aren't known.
    pub fn config(&self) -> Result<DoConv2dConfig> {
        const OPERATION: &str = "LayerInfo::config";
        let kernel_size = self.known_kernel_size(OPERATION)?;
        let config = DoConv2dConfig::new(self.in_channels, self.out_channels, kernel_size)
            .groups(self.groups)
            .bias(self.bias)
            .pairing(self.known_pairing(OPERATION)?);
        Ok(if self.taps > 1 { config.d_mul(self.d_mul) } else { config })
    }

    pub(super) fn known_kernel_size(&self, operation: &'static str) -> Result<[usize; 2]> {
        self.kernel_size.ok_or_else(|| {
            let taps = self.taps;
            let rows = (1..=taps).filter(|rows| taps.is_multiple_of(*rows));
            let sizes: Vec<_> = rows.map(|rows| format!("{rows}x{}", taps / rows)).collect();
            let expected = format!("to be told its kernel size, {}", sizes.join(" or "));
            let got = format!("{taps} taps");
            Error::new(ErrorKind::Config, operation, shown(&self.name), expected, got)
        })
    }

    pub(super) fn known_pairing(&self, operation: &'static str) -> Result<Pairing> {
        self.pairing.ok_or_else(|| {
            let expected =
                "to be told its pairing, as --pairing input-channel, pytorch or tensorflow";
            let got = format!(
                "{} groups of several inputs or outputs, and in the file neither {}d_diag nor \
                 {FILE_PAIRING} in the metadata",
                self.groups,
                shown(&self.keys.prefix),
            );
            Error::new(ErrorKind::Config, operation, shown(&self.name), expected, got)
        })
    }

    pub(super) fn composer(&self) -> Composer {
        Composer {
            // No kernel is composed by an unknown one.
            pairing: self.pairing.unwrap_or_default(),
            groups: self.groups,
            // Fields are the caller's to write.
            group_inputs: self.in_channels.checked_div(self.groups).unwrap_or_default(),
            group_outputs: self.out_channels.checked_div(self.groups).unwrap_or_default(),
            taps: self.taps,
            d_mul: self.d_mul,
        }
    }
}

/// Metadata of a layer that this crate wrote, by its name.
pub(super) use crate::config::{KERNEL_SIZE_PREFIX as KERNEL_SIZE, PAIRING_PREFIX as PAIRING};
/// Metadata of all layers that have none of their own.
pub(super) const FILE_PAIRING: &str = Pairing::METADATA_KEY;

/// `M` and `N` of a text as `3x5`.
pub(super) fn parse_kernel_size(text: &str) -> Option<[usize; 2]> {
    let (rows, cols) = text.split_once('x')?;
    Some([rows.parse().ok()?, cols.parse().ok()?])
}

impl Framework {
    pub(super) fn w_rank(self) -> usize {
        if self == Self::Gluon { 4 } else { 3 }
    }

    /// The shape of `W` of a 1×1 layer.
    pub(super) fn w_1x1(self) -> &'static str {
        match self {
            Self::TensorFlow => "a shape [1, n, O] of a 1x1 layer",
            _ => "a shape [O, n, 1] of a 1x1 layer",
        }
    }
}
