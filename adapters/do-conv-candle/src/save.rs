//! Files of variables that say what a reader needs to fold their layers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::PoisonError;

use candle_core::{Error, Result, Tensor, Var};
use candle_nn::VarMap;
use safetensors::tensor::{TensorView, serialize_to_file};

use crate::DoConv2d;

/// Writes all variables to a safetensors file, as [`VarMap::save`] does, and the pairing and the kernel
/// size of the layers into its metadata, which `do-conv fold` then needs no options for. `layers` are all
/// the DO-Conv layers of the variables, in any order; their names are those of their variables.
///
/// The file loads as any other, by [`VarMap::load`] and
/// [`VarBuilder::from_mmaped_safetensors`](candle_nn::VarBuilder::from_mmaped_safetensors). It is written
/// beside `path` and then takes that name, so that an older one stays whole until the new one is. Until
/// then the variables are in memory twice.
///
/// ```
/// # use candle_core::{DType, Device, Result};
/// # use candle_nn::{VarBuilder, VarMap};
/// # use do_conv_candle::{DoConv2dConfig, do_conv2d};
/// # fn main() -> Result<()> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("trained.safetensors");
/// let variables = VarMap::new();
/// let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
/// let grouped = DoConv2dConfig { groups: 4, ..Default::default() };
/// let conv1 = do_conv2d(3, 8, 3, DoConv2dConfig::default(), vb.pp("conv1"))?;
/// let conv2 = do_conv2d(8, 16, 3, grouped, vb.pp("conv2"))?;
/// // … train them …
/// do_conv_candle::save(&variables, [&conv1, &conv2], &path)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// For a layer whose tensors aren't variables of that map, by names of one prefix and `W`, `D` and `bias`;
/// for a `W` of rank 3 beside a `D` that is of none of the layers; for one variable in layers of several
/// pairings or kernel sizes; for what can't be read from the device or written. The file is then as it was.
pub fn save<'a>(
    variables: &VarMap,
    layers: impl IntoIterator<Item = &'a DoConv2d>,
    path: impl AsRef<Path>,
) -> Result<()> {
    let variables = variables.data().lock().unwrap_or_else(PoisonError::into_inner);
    let variables: BTreeMap<&str, &Var> =
        variables.iter().map(|(name, variable)| (name.as_str(), variable)).collect();
    let metadata = metadata(&variables, layers)?;
    // Read before anything is written: the writer has no errors for what can't be.
    let bytes = variables.values().map(|variable| {
        let mut bytes = Vec::new();
        variable.write_bytes(&mut bytes).map(|()| bytes)
    });
    let bytes = bytes.collect::<Result<Vec<_>>>()?;
    let views = variables.iter().zip(&bytes).map(|((name, variable), bytes)| {
        let view = TensorView::new(variable.dtype().into(), variable.dims().to_vec(), bytes)?;
        Ok((*name, view))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    let path = path.as_ref();
    serialize_to_file(views, Some(metadata), path).map_err(|error| {
        let path = path.display();
        Error::msg(format!("save: {path}: expected a file that can be written, got {error}"))
    })
}

/// What the tensors don't show of the layers, once every layer of the variables is known.
fn metadata<'a>(
    variables: &BTreeMap<&str, &Var>,
    layers: impl IntoIterator<Item = &'a DoConv2d>,
) -> Result<HashMap<String, String>> {
    let mut metadata: HashMap<String, String> = HashMap::new();
    let mut known = HashSet::new();
    for (index, layer) in layers.into_iter().enumerate() {
        let names = variables.iter().filter(|(_, w)| w.id() == layer.w().id());
        let mut names = names.map(|(name, _)| *name).peekable();
        if names.peek().is_none() {
            candle_core::bail!(
                "save: layers[{index}]: expected a layer of the variables, got one whose W, {:?}, \
                 isn't one of them",
                layer.w().dims()
            );
        }
        for name in names {
            let Some(prefix) = prefix_of(name) else {
                candle_core::bail!(
                    "save: {name}: expected W or a name that ends in .W, for a layer's W, got another"
                );
            };
            expect_tensor(variables, &format!("{prefix}D"), layer.d_offset())?;
            expect_tensor(variables, &format!("{prefix}bias"), layer.bias())?;
            let layer_name = prefix.strip_suffix(['.', '/']).unwrap_or(prefix);
            for (key, text) in layer.metadata(layer_name)? {
                match metadata.insert(key.clone(), text.clone()) {
                    Some(other) if other != text => {
                        candle_core::bail!(
                            "save: {key}: expected {other}, as of another layer, got {text}"
                        )
                    }
                    _ => {}
                }
            }
            known.insert(name);
        }
    }
    let forgotten = variables.iter().find(|(name, variable)| {
        let has_d = |prefix| variables.contains_key(format!("{prefix}D").as_str());
        variable.rank() == 3 && !known.contains(**name) && prefix_of(name).is_some_and(has_d)
    });
    match forgotten {
        Some((name, _)) => {
            candle_core::bail!("save: layers: expected the layer of {name}, got only others")
        }
        None => Ok(metadata),
    }
}

/// What comes before `W` in the name of a layer's.
fn prefix_of(w: &str) -> Option<&str> {
    let prefix = w.strip_suffix('W')?;
    (prefix.is_empty() || prefix.ends_with(['.', '/'])).then_some(prefix)
}

/// Refuses variables of which the one by that name isn't a layer's, or is where the layer has none.
fn expect_tensor(
    variables: &BTreeMap<&str, &Var>,
    name: &str,
    tensor: Option<&Tensor>,
) -> Result<()> {
    let (expected, got) = match (tensor, variables.get(name)) {
        (Some(tensor), Some(variable)) if variable.id() == tensor.id() => return Ok(()),
        (None, None) => return Ok(()),
        (Some(_), Some(_)) => ("the layer's", "another one"),
        (Some(_), None) => ("the layer's", "none"),
        (None, Some(_)) => ("none, as the layer has none", "one"),
    };
    candle_core::bail!("save: {name}: expected {expected}, got {got}")
}
