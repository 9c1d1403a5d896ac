//! Finds DO-Conv layers by the keys and shapes of their tensors.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::framework::Framework;
use super::layer_info::{Form, Identity, Keys, LayerInfo, PairingSource};
use super::options::LayerOptions;
use crate::checkpoint::float::Float;
use crate::checkpoint::room::resize;
use crate::checkpoint::state::Checkpoint;
use crate::checkpoint::tensor::{ELEMENTS_AT_A_TIME, Tensor};
use crate::checkpoint::text::shown;
use crate::checkpoint::unreadable::unreadable;
use crate::config::{Groups, KERNEL_SIZE_PREFIX, PAIRING_PREFIX, Pairing};
use crate::error::{Error, ErrorKind, Operation, Result};

/// How far a stored identity may be from one: averages of several, in their own element type, are off by
/// a few of its roundings, those of `bf16` by 2⁻⁷. The published layer computes with what is stored.
const MOST_FROM_IDENTITY: f64 = 1.0 / 32.0;

/// What burn's reparameterization of a kernel puts after its name.
pub const REPARAMETERIZATION: &str = ".do_conv.D";

/// The operation that errors of finding layers name.
const LAYERS: Operation = Operation("Checkpoint::layers");

/// The tensors that could be one layer's, by the last part of their keys.
#[derive(Default)]
struct Candidate<'a> {
    name: &'a str,
    parts: BTreeMap<&'a str, (&'a str, &'a Tensor)>,
    /// A key that is there with and without `:0`.
    twice: Option<&'a str>,
}

impl<'a> Candidate<'a> {
    fn add(
        &mut self,
        framework: Framework,
        prefix: &'a str,
        part: &'a str,
        entry: (&'a str, &'a Tensor),
    ) {
        self.name = prefix.strip_suffix(framework.separators()).unwrap_or(prefix);
        if self.parts.insert(part, entry).is_some() {
            self.twice = Some(entry.0.strip_suffix(":0").unwrap_or(entry.0));
        }
    }
}

impl Checkpoint {
    /// The DO-Conv layers, in the order of their names. Tensors that aren't theirs don't matter. A
    /// kernel size or a pairing that the file doesn't tell is unknown here, and refused where it is
    /// needed.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] for a `W` without its `D`, or the reverse; shapes that don't belong
    /// together; a `d_mul` less than `M·N`; elements that aren't floating-point; a stored identity that
    /// isn't one. [`ErrorKind::Config`] for an option that names no layer, or a kernel size of another
    /// number of taps. [`LayerOptions::skip`] leaves such a layer out. [`ErrorKind::File`] if a stored
    /// identity can't be read.
    pub fn layers(&self, options: &LayerOptions) -> Result<Vec<LayerInfo>> {
        let framework = options.framework;
        let mut candidates: BTreeMap<&str, Candidate> = BTreeMap::new();
        for (key, tensor) in &self.tensors {
            let end = key.strip_suffix(":0").unwrap_or(key);
            // `d_diag` has a separator of Gluon's in it, where it isn't stored.
            let split = end.rfind(framework.separators()).map_or(0, |at| at + 1);
            let (prefix, part) = end.split_at(split);
            if !framework.parts().contains(&part) {
                continue;
            }
            if let Some((prefix, kernel)) = self.reparameterized(framework, end) {
                candidates.entry(prefix).or_default().add(framework, prefix, "D", (key, tensor));
                candidates.entry(prefix).or_default().add(framework, prefix, "W", kernel);
                continue;
            }
            candidates.entry(prefix).or_default().add(framework, prefix, part, (key, tensor));
        }
        let mut layers: Vec<LayerInfo> = Vec::new();
        let (mut names, mut skipped) = (BTreeSet::new(), BTreeSet::new());
        for (prefix, candidate) in candidates {
            if options.skip.contains(candidate.name) {
                skipped.insert(candidate.name);
                continue;
            }
            let Some(layer) = self.layer_info(prefix, &candidate, options)? else { continue };
            let twice = match names.insert(candidate.name) {
                false => Some(layer.keys.w.as_str()),
                true => candidate.twice,
            };
            if let Some(key) = twice {
                let expected = "one key for each of a layer's tensors";
                let got = "two that differ in a separator or \":0\"";
                return Err(format_error(key, expected, got));
            }
            layers.push(layer);
        }
        let named = |name: &String| layers.iter().any(|layer| layer.name == *name);
        let sizes = options.kernel_sizes.keys().filter(|name| !named(name));
        let skips = options.skip.iter().filter(|name| !skipped.contains(&***name));
        let unknown =
            sizes.map(|name| ("kernel_sizes", name)).chain(skips.map(|name| ("skip", name)));
        if let Some((field, name)) = unknown.into_iter().next() {
            let expected = "the name of a DO-Conv layer of the checkpoint";
            return Err(LAYERS.error(ErrorKind::Config, field, expected, shown(name)));
        }
        Ok(layers)
    }

    /// For the key of a `D` as burn's reparameterization of a layer has it, `NAME.weight.do_conv.D`: the
    /// layer's prefix, and the kernel, which has the place of `W`.
    fn reparameterized<'c>(
        &'c self,
        framework: Framework,
        key: &'c str,
    ) -> Option<(&'c str, (&'c str, &'c Tensor))> {
        let kernel = key.strip_suffix(REPARAMETERIZATION)?;
        let (kernel, tensor) = self.tensors.get_key_value(kernel)?;
        let prefix = kernel.strip_suffix("weight")?;
        (framework == Framework::PyTorch).then_some((prefix, (kernel, tensor)))
    }

    /// The layer that those tensors are, if they are one.
    fn layer_info(
        &self,
        prefix: &str,
        candidate: &Candidate,
        options: &LayerOptions,
    ) -> Result<Option<LayerInfo>> {
        let framework = options.framework;
        let part = |part| candidate.parts.get(part).copied();
        let (w, d) = (part(framework.w_key()), part("D"));
        if let (Some(_), Some((key, _))) = (part("d_diag"), part("D_diag")) {
            return Err(format_error(key, "one identity", "two"));
        }
        let identity = part("d_diag").or(part("D_diag"));
        let bias = part("bias");
        let (w_key, w) = match (w, d, identity) {
            (Some(w), _, _) => w,
            // Something else may well have a tensor of that name.
            (None, Some((key, tensor)), _) | (None, None, Some((key, tensor)))
                if tensor.shape().len() == 3 =>
            {
                let expected = format!("a tensor {prefix}{} beside it", framework.w_key());
                return Err(format_error(key, &expected, "none"));
            }
            _ => return Ok(None),
        };

        // [O, n, S] and, of Gluon, the kernel size.
        let (w_shape, stored_size) = match (framework, w.shape()) {
            (Framework::PyTorch, &[o, n, s]) => ([o, n, s], None),
            (Framework::PyTorch, &[o, n, rows, cols])
                if d.is_some_and(|(key, _)| key.ends_with(REPARAMETERIZATION)) =>
            {
                // The plain layer's own shape, unless `S` is larger than the taps.
                let taps = d.and_then(|(_, d)| d.shape().get(1).copied());
                let s = rows.saturating_mul(cols);
                ([o, n, s], (taps == Some(s)).then_some([rows, cols]))
            }
            (Framework::TensorFlow, &[s, n, o]) => ([o, n, s], None),
            (Framework::Gluon, &[o, n, rows, cols]) => {
                ([o, n, rows.saturating_mul(cols)], Some([rows, cols]))
            }
            _ if d.is_none() && identity.is_none() => return Ok(None),
            _ => {
                let expected = format!("a tensor of rank {}", framework.w_rank());
                return Err(format_error(w_key, &expected, &format!("shape {:?}", w.shape())));
            }
        };
        let [out_channels, n, d_mul] = w_shape;
        let Some((d_key, d)) = d else {
            return match (framework, identity) {
                (Framework::Gluon, _) => Ok(None), // a plain layer
                (_, Some((key, _))) => {
                    Err(format_error(key, &format!("a tensor {prefix}D beside it"), "none"))
                }
                (_, None) if d_mul != 1 => {
                    let expected =
                        format!("a tensor {prefix}D beside it, or {}", framework.w_1x1());
                    Err(format_error(w_key, &expected, &format!("shape {:?} and none", w.shape())))
                }
                (_, None) => {
                    let keys = Keys {
                        prefix: prefix.to_owned(),
                        w: w_key.to_owned(),
                        d: None,
                        identity: None,
                        bias: bias.map(|(key, _)| key.to_owned()),
                    };
                    positive(w_key, w)?;
                    self.describe(candidate.name, keys, w_shape, None, Some([1, 1]), options)
                        .map(Some)
                }
            };
        };
        let d_shape = match (framework, d.shape()) {
            (Framework::PyTorch, &[i, taps, s]) => [i, taps, s],
            (_, &[taps, s, i]) => [i, taps, s],
            (_, shape) => {
                let got = format!("shape {shape:?}");
                return Err(format_error(d_key, "a tensor of rank 3", &got));
            }
        };
        for (key, tensor) in [(w_key, w), (d_key, d)] {
            positive(key, tensor)?;
        }
        let [in_channels, taps, s] = d_shape;
        if s != d_mul {
            let expected = format!("a depth multiplier of {d_mul}, that of {}", shown(w_key));
            return Err(format_error(d_key, &expected, &format!("{s} in shape {:?}", d.shape())));
        }
        if taps == 1 {
            let got = format!("shape {:?}", d.shape());
            return Err(format_error(d_key, "none: a 1x1 kernel has no D", &got));
        }
        if d_mul < taps {
            let expected = format!("a depth multiplier of at least {taps}, the number of taps");
            return Err(format_error(d_key, &expected, &format!("{d_mul}")));
        }
        let groups = in_channels / n;
        if !in_channels.is_multiple_of(n) || !out_channels.is_multiple_of(groups) {
            let expected = format!(
                "a multiple of the {n} input channels in {}, in as many groups as divide its {out_channels} \
                 output channels",
                shown(w_key)
            );
            return Err(format_error(d_key, &expected, &format!("{in_channels} channels")));
        }
        let keys = Keys {
            prefix: prefix.to_owned(),
            w: w_key.to_owned(),
            d: Some(d_key.to_owned()),
            identity: identity.map(|(key, _)| key.to_owned()),
            bias: bias.map(|(key, _)| key.to_owned()),
        };
        let mut layer =
            self.describe(candidate.name, keys, w_shape, Some(d_shape), stored_size, options)?;
        if let Some((key, tensor)) = identity {
            layer.identity = self.check_identity(&layer, key, tensor)?;
        }
        Ok(Some(layer))
    }

    /// The layer of tensors whose shapes belong together.
    fn describe(
        &self,
        name: &str,
        keys: Keys,
        w_shape: [usize; 3],
        d_shape: Option<[usize; 3]>,
        stored_size: Option<[usize; 2]>,
        options: &LayerOptions,
    ) -> Result<LayerInfo> {
        let [out_channels, n, d_mul] = w_shape;
        let [in_channels, taps, _] = d_shape.unwrap_or([n, 1, 1]);
        let groups = in_channels / n;
        let floats = keys.trained().chain(keys.bias.as_deref());
        for (key, tensor) in floats.map(|key| (key, &self.tensors[key])) {
            if Float::of(tensor.dtype()).is_none() {
                return Err(no_float(key, tensor));
            }
        }
        if let Some(key) = &keys.bias {
            let shape = self.tensors[key].shape();
            if shape != [out_channels] {
                let expected = format!("shape [{out_channels}]");
                return Err(format_error(key, &expected, &format!("{shape:?}")));
            }
        }
        let told = options.kernel_sizes.get(name).copied().map(|size| (size, ErrorKind::Config));
        let written = match self.metadata.get(&format!("{KERNEL_SIZE_PREFIX}{name}")) {
            Some(text) => Some((
                parse_kernel_size(text).ok_or_else(|| {
                    format_error(name, "a kernel size as 3x5 in the metadata", &shown(text))
                })?,
                ErrorKind::Format,
            )),
            None => None,
        };
        let side = taps.isqrt();
        let square = (side * side == taps).then_some([side; 2]);
        let kernel_size =
            match told.or(stored_size.map(|size| (size, ErrorKind::Format))).or(written) {
                Some((size, kind)) => {
                    if size[0].checked_mul(size[1]) != Some(taps) {
                        let expected = format!("a kernel size of {taps} taps");
                        let got = format!("{}x{}", size[0], size[1]);
                        return Err(LAYERS.error(kind, shown(name), expected, got));
                    }
                    Some(size)
                }
                None => square,
            };
        let of_group = Groups { count: groups, inputs: n, outputs: out_channels / groups };
        let pairing = self.pairing(name, options, &keys, of_group)?;
        let form = match (d_shape, groups, n) {
            (None, ..) => Form::Pointwise,
            (_, 1, _) => Form::DoConv,
            (_, _, 1) => Form::DoDConv,
            _ => Form::DoGConv,
        };
        Ok(LayerInfo {
            name: name.to_owned(),
            form,
            in_channels,
            out_channels,
            groups,
            taps,
            kernel_size,
            d_mul,
            w_shape,
            d_shape,
            weight_shape: [out_channels, n, taps],
            dtype: self.tensors[&keys.w].dtype(),
            pairing: pairing.map(|(pairing, _)| pairing),
            pairing_source: pairing.map(|(_, source)| source),
            framework: options.framework,
            keys,
            identity: Identity::Exact,
        })
    }

    /// The pairing of a layer of groups of inputs and outputs, and what tells it.
    fn pairing(
        &self,
        name: &str,
        options: &LayerOptions,
        keys: &Keys,
        groups: Groups,
    ) -> Result<Option<(Pairing, PairingSource)>> {
        let own = self.metadata.get(&format!("{PAIRING_PREFIX}{name}")).map(|text| (name, text));
        let of_file = || self.metadata.get_key_value(Pairing::METADATA_KEY);
        let written = own.or_else(|| of_file().map(|(key, text)| (&**key, text)));
        let written = match written {
            Some((field, text)) => Some(text.parse().map_err(|_| {
                format_error(field, "the name of a pairing in the metadata", &shown(text))
            })?),
            None => None,
        };
        let is_reparameterized =
            keys.d.as_deref().is_some_and(|key| key.ends_with(REPARAMETERIZATION));
        let source = match options.framework {
            Framework::PyTorch if is_reparameterized => Some(PairingSource::Reparameterization),
            // Layers of ours have these keys too, any pairing, and no identity.
            Framework::PyTorch if keys.identity.is_some() => Some(PairingSource::Identity),
            Framework::PyTorch if Pairing::matters_to(groups) => None,
            _ => Some(PairingSource::Framework),
        };
        let told = options.pairing.map(|pairing| (pairing, PairingSource::Options));
        let written = written.map(|pairing| (pairing, PairingSource::Metadata));
        let own = match source {
            Some(PairingSource::Reparameterization) => Pairing::InputChannel,
            _ => options.framework.pairing(),
        };
        Ok(told.or(written).or(source.map(|source| (own, source))))
    }

    /// Refuses a stored identity of another shape, or of values further from it than averaging brings them.
    fn check_identity(&self, layer: &LayerInfo, key: &str, tensor: &Tensor) -> Result<Identity> {
        let Some(shape) = layer.d_shape else { return Ok(Identity::Exact) };
        if tensor.shape() != shape {
            let got = format!("{:?}", tensor.shape());
            return Err(format_error(key, &format!("shape {shape:?}, that of D"), &got));
        }
        let [channels, taps, d_mul] = shape;
        let failed = |error: io::Error| unreadable(LAYERS, key, &error);
        let contents = tensor.contents().map_err(failed)?;
        let Some(float) = Float::of(tensor.dtype()) else { return Err(no_float(key, tensor)) };
        let together = (ELEMENTS_AT_A_TIME / (taps * d_mul)).max(1);
        let mut values = Vec::new();
        let mut identity = Identity::Exact;
        for first in (0..channels).step_by(together) {
            let start = first * taps * d_mul;
            let len = channels.min(first + together) * taps * d_mul - start;
            resize(&mut values, len).map_err(failed)?;
            contents.widen(float, start, &mut values).map_err(failed)?;
            layer.composer().at_identity(&mut values).for_each(|value| *value -= 1.0);
            if values.iter().any(|&value| value != 0.0) {
                identity = Identity::Stored;
            }
            // Not-a-numbers are no less.
            let is_near = |value: f64| value.abs() <= MOST_FROM_IDENTITY;
            if let Some(at) = values.iter().position(|&value| !is_near(value)) {
                let at = start + at;
                let place = [at / d_mul / taps, at / d_mul % taps, at % d_mul];
                let is_one = place[2] % taps == place[1] && place[2] < d_mul / taps * taps;
                let one = if is_one { 1.0 } else { 0.0 };
                let got = format!("{} and not {one} at {place:?}", values[at - start] + one);
                let expected = "the identity, ones where s mod MN is the tap and s below MN·⌊S/MN⌋";
                return Err(format_error(key, expected, &got));
            }
        }
        Ok(identity)
    }
}

/// `M` and `N` of a text as `3x5`.
fn parse_kernel_size(text: &str) -> Option<[usize; 2]> {
    let (rows, cols) = text.split_once('x')?;
    Some([rows.parse().ok()?, cols.parse().ok()?])
}

/// Refuses a tensor without elements.
fn positive(key: &str, tensor: &Tensor) -> Result<()> {
    match tensor.shape().contains(&0) {
        true => Err(format_error(key, "positive extents", &format!("{:?}", tensor.shape()))),
        false => Ok(()),
    }
}

/// The error for a tensor whose elements no kernel has.
fn no_float(key: &str, tensor: &Tensor) -> Error {
    format_error(key, "F16, BF16, F32 or F64 elements", &tensor.dtype().to_string())
}

fn format_error(key: &str, expected: &str, got: &str) -> Error {
    LAYERS.error(ErrorKind::Format, shown(key), expected, got)
}
