//! Folds every layer of a checkpoint: composed in `f64`, rounded once, checked, and written a part at a
//! time, so that memory holds little more than a layer's `D`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use safetensors::Dtype;
use serde::{Serialize, Serializer};

use super::info::{FILE_PAIRING, KERNEL_SIZE, PAIRING};
use super::kernel::{Kernel, Sink, expect_finite};
use super::output::{Output, copy};
use super::safetensors::Plan;
use super::tensor::Tensor;
use super::{Checkpoint, Form, LayerInfo, LayerOptions, shown};
use crate::error::{Error, ErrorKind, Result};
use crate::{BatchNorm, Pairing};

/// How to fold. The default: every layer of the published PyTorch code, into the keys that
/// `torch.nn.Conv2d` loads.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub struct FoldOptions {
    /// What to take for a layer.
    pub layers: LayerOptions,
    /// The last part of the keys of a folded layer, of the kernel for `W` and of the bias for `bias`.
    /// Default: `weight` and `bias`.
    pub rename: BTreeMap<String, String>,
    /// By the name of a layer, that of the batch normalisation after it, which is folded into the
    /// layer and left out; the layer has a bias then. Default: none.
    pub batch_norms: BTreeMap<String, String>,
    /// What batch normalisations add to the variance. Default: 1e-5, as PyTorch and MXNet; Keras has
    /// 1e-3.
    pub eps: f64,
    /// Whether an existing file may be replaced. Default: no.
    pub overwrite: bool,
}

impl Default for FoldOptions {
    fn default() -> Self {
        Self {
            layers: LayerOptions::default(),
            rename: BTreeMap::new(),
            batch_norms: BTreeMap::new(),
            eps: 1e-5,
            overwrite: false,
        }
    }
}

impl FoldOptions {
    /// Sets what to take for a layer.
    pub fn layers(mut self, layers: LayerOptions) -> Self {
        self.layers = layers;
        self
    }

    /// Sets the last part of the keys of folded kernels (`W`) or of their biases (`bias`).
    pub fn rename(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.rename.insert(from.into(), to.into());
        self
    }

    /// Folds a batch normalisation into the layer before it.
    pub fn batch_norm(mut self, layer: impl Into<String>, batch_norm: impl Into<String>) -> Self {
        self.batch_norms.insert(layer.into(), batch_norm.into());
        self
    }

    /// Sets what batch normalisations add to the variance.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Sets whether an existing file may be replaced.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }
}

/// What was folded.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoldReport {
    /// The folded layers, by name.
    pub layers: Vec<FoldedLayer>,
    /// Tensors written.
    pub tensors: usize,
    /// Bytes written.
    pub bytes: u64,
}

/// A folded layer, and how the check of its kernel came out.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoldedLayer {
    /// The layer's name.
    pub name: String,
    /// Its form.
    pub form: Form,
    /// The key of the folded kernel.
    pub key: String,
    /// `[O, n, M, N]`.
    pub weight_shape: [usize; 4],
    /// The element type of the kernel.
    #[serde(serialize_with = "as_text")]
    pub dtype: Dtype,
    /// Which slice of `D` went with which of `W`.
    #[serde(serialize_with = "as_pairing_name")]
    pub pairing: Pairing,
    /// The batch normalisation that was folded in.
    pub batch_norm: Option<String>,
    /// Trained parameters before and after, batch normalisation aside.
    pub parameters: [usize; 2],
    /// The difference, on a random input of the kernel's size, between the folded kernel's output and
    /// the same computed in `f64` from `D` and `W` by features; of the output nearest to its bound.
    pub difference: f64,
    /// That output's bound for rounding errors: `u·Σ|W'||x|` for the one rounding of the kernel, and
    /// those of `f64` sums.
    pub bound: f64,
}

fn as_text<S: Serializer>(dtype: &Dtype, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(dtype)
}

fn as_pairing_name<S: Serializer>(
    pairing: &Pairing,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(pairing.name())
}

/// The operation that errors of folding name.
pub(super) const FOLD: &str = "Checkpoint::fold";

impl Checkpoint {
    /// Writes a safetensors file in which every layer is a plain one: its kernel `[O, n, M, N]`,
    /// composed in `f64`, rounded once to the element type of `W` and checked against `D` and `W` on
    /// random input. All other tensors are copied, with the metadata. The same checkpoint gives the
    /// same bytes, whatever file it was read from and for any number of threads.
    ///
    /// # Errors
    /// As [`Checkpoint::layers`] and [`Checkpoint::save`]; [`ErrorKind::Config`] if there is no layer,
    /// or one of unknown kernel size or pairing, and for a batch normalisation or a key to rename that isn't
    /// there; [`ErrorKind::Format`] if two tensors came to have one name; [`ErrorKind::Value`] for a
    /// number that isn't finite, before or after, and if a check should fail. Nothing is written then.
    pub fn fold(&self, path: impl AsRef<Path>, options: &FoldOptions) -> Result<FoldReport> {
        self.fold_with(Some(path.as_ref()), options, &|_, _| ())
    }

    /// As [`Checkpoint::fold`], and calls `progress` with the bytes done and those of all tensors.
    /// Without a path it does the same work and writes nothing.
    ///
    /// # Errors
    /// As [`Checkpoint::fold`].
    pub fn fold_with(
        &self,
        path: Option<&Path>,
        options: &FoldOptions,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<FoldReport> {
        let layers = self.layers(&options.layers)?;
        if layers.is_empty() {
            let expected = "a DO-Conv layer of that framework";
            return Err(Error::new(ErrorKind::Config, FOLD, "layers", expected, "none"));
        }
        let pieces = self.pieces(&layers, options)?;
        let plan = Plan::new(
            FOLD,
            pieces
                .iter()
                .map(|(name, piece)| (name.as_str(), piece.dtype(), piece.shape()))
                .collect(),
            &self.folded_metadata(&layers, &options.layers),
        )?;
        let output = match path {
            Some(path) => Some(Output::create(FOLD, path, options.overwrite, &plan)?),
            None => None,
        };
        let sink = Sink {
            output: output.as_ref(),
            plan: &plan,
            done: 0.into(),
            progress,
            spare: Mutex::default(),
        };
        let mut folded = BTreeMap::new();
        let handle = sink.handle()?;
        let mut kernels = Vec::new();
        for entry in &plan.entries {
            let write = |bytes: &[u8], at| sink.write(handle.as_ref(), bytes, at);
            match &pieces[entry.name] {
                Piece::Copy(tensor) => copy(FOLD, entry, tensor, &write)?,
                Piece::Made(tensor) => copy(FOLD, entry, tensor, &write)?,
                Piece::Kernel(kernel) => kernels.push((entry, kernel)),
            }
        }
        // Each layer's parts while the next one's `D` is made ready, which doesn't spread well.
        let mut ready = kernels.first().map(|(_, kernel)| kernel.ready(self)).transpose()?;
        for (index, (entry, kernel)) in kernels.iter().enumerate() {
            let Some(now) = ready.take() else { break };
            let next = kernels.get(index + 1);
            let (worst, next) = rayon::join(
                || kernel.fold(&now, entry, &sink),
                || next.map(|(_, kernel)| kernel.ready(self)).transpose(),
            );
            let (layer, worst) = (kernel.layer, worst?);
            let report = FoldedLayer {
                name: layer.name.clone(),
                form: layer.form,
                key: entry.name.to_owned(),
                weight_shape: kernel.weight_shape(),
                dtype: layer.dtype,
                pairing: layer.known_pairing(FOLD)?,
                batch_norm: options.batch_norms.get(&layer.name).cloned(),
                parameters: layer.parameters(),
                difference: worst.difference,
                bound: worst.bound,
            };
            folded.insert(&layer.name, report);
            ready = next?;
        }
        if let Some(output) = output {
            output.persist()?;
        }
        Ok(FoldReport {
            layers: folded.into_values().collect(),
            tensors: plan.entries.len(),
            bytes: plan.head.len() as u64 + plan.data_len,
        })
    }

    /// What the folded checkpoint consists of.
    fn pieces<'a>(
        &'a self,
        layers: &'a [LayerInfo],
        options: &'a FoldOptions,
    ) -> Result<BTreeMap<String, Piece<'a>>> {
        let misnamed = |field, expected: &str, got: &str| {
            Err(Error::new(ErrorKind::Config, FOLD, field, expected, shown(got)))
        };
        if let Some(key) = options.rename.keys().find(|key| !["W", "bias"].contains(&&***key)) {
            return misnamed("rename", "W or bias", key);
        }
        let named = |name: &String| layers.iter().any(|layer| layer.name == *name);
        if let Some(name) = options.batch_norms.keys().find(|name| !named(name)) {
            return misnamed("batch_norms", "the name of a DO-Conv layer", name);
        }
        if !(options.eps >= 0.0 && options.eps.is_finite()) {
            return misnamed(
                "eps",
                "a finite number that is not negative",
                &options.eps.to_string(),
            );
        }
        let mut norms = BTreeSet::new();
        if let Some(name) = options.batch_norms.values().find(|name| !norms.insert(*name)) {
            return misnamed("batch_norms", "each batch normalisation once", name);
        }
        let renamed = |key: &str, default: &str| {
            options.rename.get(key).map_or(default, |renamed| renamed).to_owned()
        };

        let mut gone: BTreeSet<&str> = BTreeSet::new();
        let mut made = Vec::new();
        for layer in layers {
            layer.known_kernel_size(FOLD)?;
            layer.known_pairing(FOLD)?;
            gone.extend(layer.keys.trained());
            let prefix = &layer.keys.prefix;
            let batch_norm = match options.batch_norms.get(&layer.name) {
                Some(name) => Some(self.batch_norm(layer, name, options)?),
                None => None,
            };
            let bias = match (&layer.keys.bias, &batch_norm) {
                (_, Some(norm)) => Some(Piece::Made(self.shifted(layer, norm, options.eps)?)),
                (Some(key), None) => Some(Piece::Copy(&self.tensors[key])),
                (None, None) => None,
            };
            gone.extend(layer.keys.bias.as_deref());
            made.extend(bias.map(|bias| (format!("{prefix}{}", renamed("bias", "bias")), bias)));
            let scale = batch_norm.map(|norm| {
                gone.extend(norm.keys.iter().copied());
                let norm = norm.view(options.eps);
                (0..layer.out_channels).map(|channel| norm.scale(channel)).collect()
            });
            let kernel = Piece::Kernel(Kernel { layer, scale });
            made.push((format!("{prefix}{}", renamed("W", "weight")), kernel));
        }
        let kept = self.tensors.iter().filter(|(name, _)| !gone.contains(name.as_str()));
        let mut pieces: BTreeMap<_, _> =
            kept.map(|(name, tensor)| (name.clone(), Piece::Copy(tensor))).collect();
        for (name, piece) in made {
            if pieces.contains_key(&name) {
                let expected = "a name that no other tensor has, for what was folded";
                let got = "one that is taken";
                return Err(Error::new(ErrorKind::Format, FOLD, shown(&name), expected, got));
            }
            pieces.insert(name, piece);
        }
        Ok(pieces)
    }

    /// The metadata without what it says of layers that are no more.
    fn folded_metadata(
        &self,
        layers: &[LayerInfo],
        options: &LayerOptions,
    ) -> BTreeMap<String, String> {
        let mut metadata = self.metadata.clone();
        // A layer that stays as it is may need it.
        if options.skip.is_empty() {
            metadata.remove(FILE_PAIRING);
        }
        for layer in layers {
            metadata.remove(&format!("{KERNEL_SIZE}{}", layer.name));
            metadata.remove(&format!("{PAIRING}{}", layer.name));
        }
        metadata
    }

    /// A batch normalisation's numbers, checked against the layer before it.
    fn batch_norm(
        &self,
        layer: &LayerInfo,
        name: &str,
        options: &FoldOptions,
    ) -> Result<NormValues<'_>> {
        // As PyTorch, Keras and MXNet name them.
        let find_in = |separator: char, parts: &[&str]| {
            let keys = parts
                .iter()
                .flat_map(|part| ["", ":0"].map(|end| format!("{name}{separator}{part}{end}")));
            keys.into_iter().find_map(|key| self.tensors.get_key_value(&key)).map(|(key, _)| &**key)
        };
        let mean = ["running_mean", "moving_mean"];
        let separator = ['.', '/', '_'].into_iter().find(|&at| find_in(at, &mean).is_some());
        let find = |parts: &[&str]| find_in(separator.unwrap_or('.'), parts);
        let mut keys = Vec::new();
        let mut values = |parts: &[&str]| -> Result<Option<Vec<f64>>> {
            let Some(key) = find(parts) else { return Ok(None) };
            keys.push(key);
            let shape = self.tensors[key].shape();
            if shape != [layer.out_channels] {
                let expected = format!("shape [{}], a number a channel", layer.out_channels);
                let got = format!("{shape:?}");
                return Err(Error::new(ErrorKind::Format, FOLD, shown(key), expected, got));
            }
            let values = self.values_of(FOLD, key)?;
            expect_finite(key, &values, 0)?;
            Ok(Some(values))
        };
        let weight = values(&["weight", "gamma"])?;
        let bias = values(&["bias", "beta"])?;
        let mean = values(&mean)?;
        let var = values(&["running_var", "moving_variance", "moving_var"])?;
        keys.extend(find(&["num_batches_tracked"]));
        let (Some(running_mean), Some(running_var)) = (mean, var) else {
            let expected = "a batch normalisation with running_mean and running_var";
            return Err(Error::new(ErrorKind::Config, FOLD, "batch_norms", expected, shown(name)));
        };
        let values = NormValues { keys, weight, bias, running_mean, running_var };
        values.view(options.eps).validate(FOLD, layer.out_channels)?;
        Ok(values)
    }

    /// The bias of a layer with a batch normalisation folded in.
    fn shifted(&self, layer: &LayerInfo, norm: &NormValues, eps: f64) -> Result<Tensor> {
        let own = match &layer.keys.bias {
            Some(key) => self.values_of(FOLD, key)?,
            None => vec![0.0; layer.out_channels],
        };
        let norm = norm.view(eps);
        let mut values: Vec<_> =
            own.iter().enumerate().map(|(channel, &own)| norm.apply(channel, own)).collect();
        let float = layer.float();
        let mut bytes = vec![0; values.len() * float.size()];
        float.round(&mut values, &mut bytes);
        expect_finite(&format!("{}bias", layer.keys.prefix), &values, 0)?;
        Tensor::new(layer.dtype, &[values.len()], &bytes)
    }
}

/// A batch normalisation of a checkpoint.
struct NormValues<'a> {
    keys: Vec<&'a str>,
    weight: Option<Vec<f64>>,
    bias: Option<Vec<f64>>,
    running_mean: Vec<f64>,
    running_var: Vec<f64>,
}

impl NormValues<'_> {
    fn view(&self, eps: f64) -> BatchNorm<'_, f64> {
        BatchNorm {
            weight: self.weight.as_deref(),
            bias: self.bias.as_deref(),
            running_mean: &self.running_mean,
            running_var: &self.running_var,
            eps,
        }
    }
}

/// A tensor of the folded checkpoint.
enum Piece<'a> {
    Copy(&'a Tensor),
    Made(Tensor),
    Kernel(Kernel<'a>),
}

impl Piece<'_> {
    fn dtype(&self) -> Dtype {
        match self {
            Self::Copy(tensor) => tensor.dtype(),
            Self::Made(tensor) => tensor.dtype(),
            Self::Kernel(kernel) => kernel.layer.dtype,
        }
    }

    fn shape(&self) -> Vec<usize> {
        match self {
            Self::Copy(tensor) => tensor.shape().to_vec(),
            Self::Made(tensor) => tensor.shape().to_vec(),
            Self::Kernel(kernel) => kernel.weight_shape().to_vec(),
        }
    }
}
