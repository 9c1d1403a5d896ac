//! Plain convolutions of a checkpoint: kernels that have no `D`.

use std::collections::{BTreeMap, BTreeSet};

use super::find::REPARAMETERIZATION;
use super::layer_info::LayerInfo;
use super::options::LayerOptions;
use crate::checkpoint::float::Float;
use crate::checkpoint::state::Checkpoint;
use crate::checkpoint::tensor::Tensor;

/// The last parts of kernels' keys, and the axes that output channels are. A separable convolution of
/// Keras has two kernels, of which the first here makes its outputs.
const KERNELS: [(&str, Outputs); 4] = [
    ("pointwise_kernel", Outputs::Last),
    ("depthwise_kernel", Outputs::LastTwo),
    ("kernel", Outputs::Last),
    ("weight", Outputs::First),
];

/// The axes that output channels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outputs {
    /// `[O, n, M, N]`.
    First,
    /// `[M, N, n, O]`.
    Last,
    /// `[M, N, I, O/I]`.
    LastTwo,
}

/// A convolution of one to three dimensions, as its kernel's key and shape describe it.
#[derive(Debug, Clone)]
pub struct PlainConv<'a> {
    pub name: &'a str,
    /// The kernel's key.
    pub key: &'a str,
    pub kernel: &'a Tensor,
    pub float: Float,
    /// The kernel's extents before the output channels, `O`, and those after them.
    pub extents: [usize; 3],
    /// Input channels of a group; 1 of a depthwise kernel.
    pub group_inputs: usize,
    /// What a key has before its last part, and after.
    around: [&'a str; 2],
    /// Whether the name has several kernels.
    pub is_twice: bool,
    /// Whether a name or an extent is rather that of a transposed convolution, which has its output
    /// channels elsewhere: as many as its inputs, so that shapes don't tell.
    pub may_be_transposed: bool,
}

impl<'a> PlainConv<'a> {
    /// `O`.
    pub fn out_channels(&self) -> usize {
        self.extents[1]
    }

    /// The key of its tensor of that last part, as `bias`, which may not be there.
    pub fn key_of(&self, part: &str) -> String {
        let [before, after] = self.around;
        format!("{before}{part}{after}")
    }

    /// The convolution of a kernel, if it is one's.
    fn of(key: &'a str, kernel: &'a Tensor, options: &LayerOptions) -> Option<Self> {
        let end = key.strip_suffix(":0").unwrap_or(key);
        let separators = options.framework.separators();
        let (prefix, outputs) = KERNELS.into_iter().find_map(|(part, outputs)| {
            let prefix = end.strip_suffix(part)?;
            (prefix.is_empty() || prefix.ends_with(separators)).then_some((prefix, outputs))
        })?;
        let shape = kernel.shape();
        let float = Float::of(kernel.dtype())?;
        if !(3..=5).contains(&shape.len()) || shape.contains(&0) {
            return None;
        }
        let count = |extents: &[usize]| extents.iter().product::<usize>();
        let (extents, [group_inputs, channels], sizes) = match (outputs, shape) {
            (Outputs::First, [outputs, inputs, sizes @ ..]) => {
                ([1, *outputs, inputs * count(sizes)], [*inputs, *outputs], sizes)
            }
            (Outputs::Last, [sizes @ .., inputs, outputs]) => {
                ([count(sizes) * inputs, *outputs, 1], [*inputs, *outputs], sizes)
            }
            (Outputs::LastTwo, [sizes @ .., inputs, times]) => {
                ([count(sizes), inputs * times, 1], [1, inputs * times], sizes)
            }
            _ => return None,
        };
        let name = prefix.strip_suffix(separators).unwrap_or(prefix);
        let is_square = group_inputs == channels && channels > 1;
        let is_even = sizes.iter().any(|size| size % 2 == 0);
        let around = [prefix, &key[end.len()..]];
        // Of several groups its kernel isn't square.
        let may_be_transposed = sounds_transposed(name) || (is_square && is_even);
        let is_twice = false;
        Some(Self {
            name,
            key,
            kernel,
            float,
            extents,
            group_inputs,
            around,
            is_twice,
            may_be_transposed,
        })
    }
}

/// Whether a name is one that transposed convolutions have.
fn sounds_transposed(name: &str) -> bool {
    let name = name.to_lowercase();
    let parts = [
        "deconv",
        "transpose",
        "trans_conv",
        "convtrans",
        "convt",
        "conv_tr",
        "deblock",
        "upsample",
        "conv_up",
    ];
    let leaf = name.rsplit(['.', '/']).next().unwrap_or(&name);
    parts.iter().any(|part| name.contains(part)) || leaf.starts_with("up")
}

/// The plain convolutions by name: every kernel of three to five axes that is no DO-Conv layer's, of one
/// that is skipped neither.
pub fn plain_convs<'a>(
    checkpoint: &'a Checkpoint,
    layers: &[LayerInfo],
    options: &LayerOptions,
) -> BTreeMap<&'a str, PlainConv<'a>> {
    let names: BTreeSet<&str> = layers.iter().map(LayerInfo::name).collect();
    let mut convs: BTreeMap<&str, PlainConv> = BTreeMap::new();
    for (key, tensor) in checkpoint.tensors() {
        let Some(mut conv) = PlainConv::of(key, tensor, options) else { continue };
        let mut of_d = [conv.key_of("D"), format!("{key}{REPARAMETERIZATION}")].into_iter();
        let has_d = of_d.any(|key| checkpoint.get(&key).is_some());
        if has_d || names.contains(conv.name) || options.skip.contains(conv.name) {
            continue;
        }
        if let Some(other) = convs.remove(conv.name) {
            // Keys come in order, a depthwise kernel before a pointwise one.
            let is_separable = other.key.contains("depthwise_") && key.contains("pointwise_");
            conv.is_twice = other.is_twice || !is_separable;
        }
        convs.insert(conv.name, conv);
    }
    convs
}
