//! Where a training stands, as a file.

use std::path::Path;

use do_conv::checkpoint::{Checkpoint, Dtype, FileFormat, LayerOptions, SaveOptions, Tensor};

use crate::agreement::Facts;
use crate::error::{Error, Result};
use crate::net::Unit;
use crate::state::State;

/// What names of the metadata begin with.
const PREFIX: &str = "training.";
const STEP: &str = "training.step";

/// Writes the state of a training with these facts: layers by the keys of the published PyTorch code, as `do-conv fold`
/// reads them, the scales of blocks, and `NAME.velocity` of each parameter. The file appears whole, or not at all.
///
/// # Errors
/// If the file can't be written, and for a name that asks for another format.
pub fn save(path: &Path, facts: &Facts, state: &mut State) -> Result<()> {
    write(path, facts, state).map_err(|error| named(path, error))
}

fn write(path: &Path, facts: &Facts, state: &mut State) -> Result<()> {
    if FileFormat::of_path(path)? != FileFormat::Safetensors {
        return Err(Error::local(
            "expected a name that ends in .safetensors: other formats have no texts",
        ));
    }
    let mut checkpoint = Checkpoint::new();
    for (name, unit) in state.net.units_mut() {
        match unit {
            Unit::Conv(conv) => checkpoint.insert_layer(&name, conv)?,
            Unit::Scale(scale) => {
                checkpoint.insert(name, tensor(std::slice::from_ref(scale))?);
            }
        }
    }
    let names = velocity_names(state);
    for (name, velocities) in names.into_iter().zip(&state.velocities.0) {
        checkpoint.insert(name, tensor(velocities)?);
    }
    let metadata = checkpoint.metadata_mut();
    metadata.insert(STEP.to_owned(), state.step.to_string());
    metadata.extend(facts.iter().map(|(name, value)| (format!("{PREFIX}{name}"), value.clone())));
    Ok(checkpoint.save(path, &SaveOptions::default().overwrite(true))?)
}

/// Reads the state of a training with the same facts into one of the same net.
///
/// # Errors
/// If the file can't be read, is of another training (which fact differs, both values), or has parameters that aren't
/// finite.
pub fn load(path: &Path, facts: &Facts, state: &mut State) -> Result<()> {
    read(path, facts, state).map_err(|error| named(path, error))
}

fn named(path: &Path, error: Error) -> Error {
    Error::local(format!("{}: {error}", path.display()))
}

fn read(path: &Path, facts: &Facts, state: &mut State) -> Result<()> {
    let refused = |what: &str, expected: &str, got: &str| {
        Error::local(format!("{what}: expected {expected}, got {got}"))
    };
    let checkpoint = Checkpoint::open(path)?;
    let found = |name: &str| checkpoint.metadata().get(name).map_or("nothing", String::as_str);
    for (name, expected) in facts {
        let got = found(&format!("{PREFIX}{name}"));
        if got != expected {
            return Err(refused(name, expected, got));
        }
    }
    let step = found(STEP);
    let step = step.parse().map_err(|_| refused(STEP, "a number of steps", step))?;

    let layers = checkpoint.layers(&LayerOptions::default())?;
    for (name, unit) in state.net.units_mut() {
        match unit {
            Unit::Conv(conv) => {
                let layer = layers.iter().find(|layer| layer.name() == name);
                let layer = layer.ok_or_else(|| refused(&name, "a layer", "none"))?;
                *conv = checkpoint.layer(layer, conv.config().clone())?;
            }
            Unit::Scale(scale) => *scale = values(&checkpoint, &name, 1)?[0],
        }
    }
    let names = velocity_names(state);
    for (name, velocities) in names.into_iter().zip(&mut state.velocities.0) {
        *velocities = values(&checkpoint, &name, velocities.len())?;
    }
    state.step = step;
    state.expect_finite().map_err(Error::local)
}

fn velocity_names(state: &mut State) -> Vec<String> {
    let mut names = Vec::new();
    state.net.parameters(|unit, parameter, _| {
        let name =
            if parameter.is_empty() { unit.to_owned() } else { format!("{unit}.{parameter}") };
        names.push(format!("{name}.velocity"));
    });
    names
}

fn tensor(values: &[f32]) -> Result<Tensor> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Ok(Tensor::new(Dtype::F32, &[values.len()], &bytes)?)
}

fn values(checkpoint: &Checkpoint, name: &str, count: usize) -> Result<Vec<f32>> {
    let values: Vec<f32> = checkpoint.values(name)?.iter().map(|&value| value as f32).collect();
    match values.len() == count {
        true => Ok(values),
        false => {
            Err(Error::local(format!("{name}: expected {count} values, got {}", values.len())))
        }
    }
}
