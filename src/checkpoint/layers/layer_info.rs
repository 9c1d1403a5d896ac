//! A DO-Conv layer of a checkpoint, as its tensors describe it.

use std::fmt;

use safetensors::Dtype;
use serde::Serialize;

use super::framework::Framework;
use crate::checkpoint::float::Float;
use crate::checkpoint::text::shown;
use crate::compose::Composer;
use crate::config::{DoConv2dConfig, Groups, Pairing};
use crate::error::{ErrorKind, Operation, Result};

/// The forms of a layer, by its groups.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
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
    /// [`LayerOptions::pairing`](crate::checkpoint::LayerOptions::pairing).
    Options,
    /// The file's metadata, of the layer or of all layers.
    Metadata,
    /// The identity beside `D`, which of all that has PyTorch's keys the published code stores.
    Identity,
    /// `weight.do_conv.D` beside `weight`, which burn's reparameterization has, by input channel.
    Reparameterization,
    /// [`LayerOptions::framework`](crate::checkpoint::LayerOptions::framework): TensorFlow's and Gluon's own, or PyTorch's where it doesn't differ
    /// from that by input channel.
    Framework,
}

/// Numbers of trained parameters of a layer, the bias included.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
pub struct ParameterCounts {
    /// As it is: the elements of `W`, `D` and the bias.
    pub trained: usize,
    /// Folded: the elements of the kernel and the bias.
    pub folded: usize,
}

/// A DO-Conv layer of a checkpoint, its shapes checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInfo {
    pub(super) name: String,
    pub(super) form: Form,
    pub(super) in_channels: usize,
    pub(super) out_channels: usize,
    pub(super) groups: usize,
    pub(super) taps: usize,
    pub(super) kernel_size: Option<[usize; 2]>,
    pub(super) d_mul: usize,
    pub(super) w_shape: [usize; 3],
    pub(super) d_shape: Option<[usize; 3]>,
    pub(super) weight_shape: [usize; 3],
    pub(super) dtype: Dtype,
    pub(super) pairing: Option<Pairing>,
    pub(super) pairing_source: Option<PairingSource>,
    pub(super) framework: Framework,
    pub(super) keys: Keys,
    pub(super) identity: Identity,
}

/// The identity that a layer's `D` is an offset from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Ones and zeros, whether they are stored or not.
    Exact,
    /// The stored one, which differs: the published layer computes with that.
    Stored,
}

/// The names of a layer's tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
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
    /// The layer's name: its keys up to the separator.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// DO-Conv, DO-GConv, DO-DConv or 1×1.
    pub fn form(&self) -> Form {
        self.form
    }

    /// `I`, input channels; of a 1×1 layer those of one group, `n`.
    pub fn in_channels(&self) -> usize {
        self.in_channels
    }

    /// `O`, output channels.
    pub fn out_channels(&self) -> usize {
        self.out_channels
    }

    /// `g`, groups; 1 for a 1×1 layer, whatever its real groups.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// `MN`, taps of the kernel.
    pub fn taps(&self) -> usize {
        self.taps
    }

    /// `[M, N]`, if it is known.
    pub fn kernel_size(&self) -> Option<[usize; 2]> {
        self.kernel_size
    }

    /// `S`, the depth multiplier.
    pub fn d_mul(&self) -> usize {
        self.d_mul
    }

    /// `[O, n, S]`.
    pub fn w_shape(&self) -> [usize; 3] {
        self.w_shape
    }

    /// `[I, MN, S]`; none for a 1×1 layer.
    pub fn d_shape(&self) -> Option<[usize; 3]> {
        self.d_shape
    }

    /// `[O, n, M·N]`, the composed kernel's shape but for the last two axes being one.
    pub fn weight_shape(&self) -> [usize; 3] {
        self.weight_shape
    }

    /// The element type of `W` and of the folded kernel: `F16`, `BF16`, `F32` or `F64`.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Whether there is a bias.
    pub fn bias(&self) -> bool {
        self.keys.bias.is_some()
    }

    /// Which slice of `D` goes with which of `W`. Unknown, with PyTorch's keys, of several groups of
    /// several inputs or outputs where [`PairingSource`] has nothing that tells it: layers of this
    /// crate's adapters have the same keys as those of the published code, and any pairing.
    pub fn pairing(&self) -> Option<Pairing> {
        self.pairing
    }

    /// What tells the pairing, if it is known.
    pub fn pairing_source(&self) -> Option<PairingSource> {
        self.pairing_source
    }

    /// Whether the pairing matters and isn't by input channel, or is unknown: the layer then has no
    /// feature composition, and its kernel comes out right only with that pairing.
    pub fn needs_pairing(&self) -> bool {
        !self.pairing.is_some_and(|pairing| pairing.is_by_channel_of(self.groups_of_channels()))
    }

    /// Whether pairings differ for a layer of such groups.
    pub fn pairing_matters(&self) -> bool {
        Pairing::matters_to(self.groups_of_channels())
    }

    fn groups_of_channels(&self) -> Groups {
        let Composer { groups, group_inputs, group_outputs, .. } = self.composer();
        Groups { count: groups, inputs: group_inputs, outputs: group_outputs }
    }

    /// The number of tensors of the checkpoint that are the layer's.
    pub fn tensor_count(&self) -> usize {
        self.keys.trained().chain(self.keys.bias.as_deref()).count()
    }

    /// Trained parameters as they are and folded, the bias included.
    pub fn parameters(&self) -> ParameterCounts {
        // Tensors fit the address space by their bits, so sums of their elements are far from it.
        let count = |shape: [usize; 3]| shape.into_iter().product::<usize>();
        let bias = if self.bias() { self.out_channels } else { 0 };
        ParameterCounts {
            trained: count(self.w_shape) + self.d_shape.map_or(0, count) + bias,
            folded: count(self.weight_shape) + bias,
        }
    }

    /// What a layer of these shapes is configured as, to be completed by stride, dilation and padding,
    /// which a checkpoint hasn't got, and a 1×1 layer by its `groups` and all its `in_channels`.
    ///
    /// # Errors
    /// [`ErrorKind::Ambiguous`] if the kernel's rows and columns or the pairing aren't known.
    pub fn config(&self) -> Result<DoConv2dConfig> {
        const OPERATION: Operation = Operation("LayerInfo::config");
        let kernel_size = self.known_kernel_size(OPERATION)?;
        let config = DoConv2dConfig::new(self.in_channels, self.out_channels, kernel_size)
            .groups(self.groups)
            .bias(self.bias())
            .pairing(self.known_pairing(OPERATION)?);
        Ok(if self.taps > 1 { config.d_mul(self.d_mul) } else { config })
    }

    /// `[M, N]`, or a refusal that says which there could be.
    pub(crate) fn known_kernel_size(&self, operation: Operation) -> Result<[usize; 2]> {
        self.kernel_size.ok_or_else(|| {
            let taps = self.taps;
            let rows = (1..=taps).filter(|rows| taps.is_multiple_of(*rows));
            let sizes: Vec<_> = rows.map(|rows| format!("{rows}x{}", taps / rows)).collect();
            let expected = format!("to be told its kernel size, {}", sizes.join(" or "));
            let got = format!("{taps} taps");
            operation.error(ErrorKind::Ambiguous, shown(&self.name), expected, got)
        })
    }

    /// The pairing, or a refusal that says what could tell it.
    pub(crate) fn known_pairing(&self, operation: Operation) -> Result<Pairing> {
        self.pairing.ok_or_else(|| {
            let expected =
                "to be told its pairing, as --pairing input-channel, pytorch or tensorflow";
            let got = format!(
                "{} groups of several inputs or outputs, and in the file neither {}d_diag nor \
                 {} in the metadata",
                self.groups,
                shown(&self.keys.prefix),
                Pairing::METADATA_KEY,
            );
            operation.error(ErrorKind::Ambiguous, shown(&self.name), expected, got)
        })
    }

    /// The key of the identity to compute with, if it isn't exact.
    pub(crate) fn inexact_identity(&self) -> Option<&str> {
        self.keys.identity.as_deref().filter(|_| self.identity == Identity::Stored)
    }

    /// Whose keys and shapes the layer has.
    pub(crate) fn framework(&self) -> Framework {
        self.framework
    }

    /// The names of the layer's tensors.
    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The element type of `W` and of the folded kernel.
    pub(crate) fn float(&self) -> Float {
        Float::of(self.dtype).unwrap_or(Float::F64)
    }

    /// The layer's composition.
    pub(crate) fn composer(&self) -> Composer {
        Composer {
            // No kernel is composed by an unknown one.
            pairing: self.pairing.unwrap_or_default(),
            groups: self.groups,
            group_inputs: self.in_channels / self.groups,
            group_outputs: self.out_channels / self.groups,
            taps: self.taps,
            d_mul: self.d_mul,
        }
    }
}
