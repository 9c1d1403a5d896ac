//! Files that tell how their layers are paired, folded by the core crate.

mod common;

use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Module, Result, Var};
use candle_nn::{VarBuilder, VarMap};
use common::core::oracle::kernel;
use common::core::{Inputs, Problem, table};
use common::{array, config, tensor};
use do_conv::ErrorKind;
use do_conv::checkpoint::{Checkpoint, FoldOptions, LayerOptions};
use do_conv_candle::{
    Algorithm, DoConv2d, DoConv2dConfig, Pairing, do_conv2d, do_conv2d_no_bias, save,
};
use tempfile::TempDir;

fn builder(variables: &VarMap, dtype: DType) -> VarBuilder<'static> {
    VarBuilder::from_varmap(variables, dtype, &Device::Cpu)
}

/// The problem's layer, of variables in the map.
fn layer(problem: &Problem, vb: VarBuilder) -> Result<DoConv2d> {
    let make = if problem.bias { do_conv2d } else { do_conv2d_no_bias };
    let [rows, columns] = problem.kernel_size;
    make(problem.in_channels, problem.out_channels, (rows, columns), config(problem), vb)
}

/// The same with the problem's parameters.
fn trained(problem: &Problem, inputs: &Inputs, vb: VarBuilder) -> Result<DoConv2d> {
    let layer = layer(problem, vb)?;
    for (name, variable) in layer.variables()? {
        let value = match name {
            "W" => tensor::<f32, _>(&inputs.w)?,
            "D" => tensor::<f32, _>(inputs.d_offset.as_ref().unwrap())?,
            _ => tensor::<f32, _>(inputs.bias.as_ref().unwrap())?,
        };
        variable.set(&value.to_dtype(variable.dtype())?)?;
    }
    Ok(layer)
}

/// What every path of the net has: layers of every pairing, and what belongs to none.
fn net(variables: &VarMap, dtype: DType) -> Result<Vec<DoConv2d>> {
    let vb = builder(variables, dtype);
    vb.get_with_hints((3, 5), "head.weight", candle_nn::init::DEFAULT_KAIMING_UNIFORM)?;
    table::paired().map(|(name, problem, inputs)| trained(&problem, &inputs, vb.pp(name))).collect()
}

/// Folds without any option; gives what was written.
fn fold(path: &Path) -> do_conv::Result<Checkpoint> {
    let folded = path.with_extension("folded.safetensors");
    Checkpoint::open(path)?.fold(&folded, &FoldOptions::default())?;
    Checkpoint::open(&folded)
}

#[test]
fn a_saved_net_is_folded_by_its_own_pairings_without_being_told() -> Result<()> {
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        let folder = TempDir::new()?;
        let path = folder.path().join("net.safetensors");
        let variables = VarMap::new();
        let layers = net(&variables, dtype)?;
        save(&variables, &layers, &path)?;

        let folded = fold(&path).unwrap();
        let mut seen = Vec::new();
        for ((name, problem, inputs), layer) in table::paired().zip(&layers) {
            let got = folded.values(&format!("{name}.weight")).unwrap();
            assert_eq!(got, kernel(&problem, &inputs), "{dtype:?} {name}");
            let own = layer.fold_for_cpu()?.weight().to_dtype(DType::F64)?;
            assert_eq!(got, array::<f64>(&own)?, "{dtype:?} {name}");
            let bias = folded.values(&format!("{name}.bias")).unwrap();
            assert_eq!(Some(bias), inputs.bias.map(|bias| bias.into_dyn()), "{dtype:?} {name}");
            seen.push(problem.pairing);
        }
        assert_eq!(seen.len(), 9);
        let head = variables.data().lock().unwrap()["head.weight"].to_dtype(DType::F64)?;
        assert_eq!(folded.values("head.weight").unwrap(), array::<f64>(&head)?);
        // Nothing is left that a reader of plain layers wouldn't expect.
        assert!(folded.metadata().is_empty(), "{:?}", folded.metadata());
        assert_eq!(folded.tensors().count(), 9 * 2 + 1);
    }
    Ok(())
}

#[test]
fn a_net_that_candle_saves_is_refused_where_the_pairing_matters() -> Result<()> {
    for (name, problem, inputs) in table::paired() {
        let folder = TempDir::new()?;
        let path = folder.path().join("net.safetensors");
        let variables = VarMap::new();
        let layer = trained(&problem, &inputs, builder(&variables, DType::F32).pp("conv"))?;
        variables.save(&path)?;
        let sides = LayerOptions::default().kernel_size("conv", problem.kernel_size);
        let options = FoldOptions::default().layers(sides);
        let error = Checkpoint::open(&path).unwrap().check_fold(&options).unwrap_err();
        assert_eq!((error.kind, &*error.field), (ErrorKind::Ambiguous, "conv"), "{name}: {error}");
        let choices = "--pairing input-channel, pytorch or tensorflow";
        assert!(error.expected.contains(choices), "{name}: {error}");

        save(&variables, [&layer], &path)?;
        let folded = fold(&path).unwrap().values("conv.weight").unwrap();
        assert_eq!(folded, kernel(&problem, &inputs), "{name}");
    }
    Ok(())
}

#[test]
fn a_saved_net_loads_as_any_other() -> Result<()> {
    let folder = TempDir::new()?;
    let path = folder.path().join("net.safetensors");
    let variables = VarMap::new();
    let layers = net(&variables, DType::F32)?;
    save(&variables, &layers, &path)?;

    let mut loaded = VarMap::new();
    let new: Vec<_> = table::paired()
        .map(|(name, problem, _)| layer(&problem, builder(&loaded, DType::F32).pp(name)))
        .collect::<Result<_>>()?;
    loaded.load(&path)?;
    let vb = VarBuilder::from_buffered_safetensors(fs::read(&path)?, DType::F32, &Device::Cpu)?;
    for (index, (name, problem, inputs)) in table::paired().enumerate() {
        let x = tensor::<f32, _>(&inputs.x)?;
        let expected = array::<f32>(&layers[index].forward(&x)?)?;
        assert_eq!(array::<f32>(&new[index].forward(&x)?)?, expected, "{name}");
        let read = layer(&problem, vb.pp(&name))?;
        assert_eq!(array::<f32>(&read.forward(&x)?)?, expected, "{name}");
    }
    Ok(())
}

/// Names without a prefix, with other separators, and two for one layer's variables.
#[test]
fn layers_are_known_by_the_names_of_their_variables() -> Result<()> {
    let (_, problem, inputs) = table::paired().nth(3).unwrap();
    for names in [&[""][..], &["a/b/"], &["a.b.", "c."]] {
        let folder = TempDir::new()?;
        let path = folder.path().join("net.safetensors");
        let layer = trained(&problem, &inputs, builder(&VarMap::new(), DType::F32))?;
        let variables = VarMap::new();
        for prefix in names {
            for (name, variable) in layer.variables()? {
                variables.data().lock().unwrap().insert(format!("{prefix}{name}"), variable);
            }
        }
        save(&variables, [&layer], &path)?;
        let folded = fold(&path).unwrap();
        for prefix in names {
            let got = folded.values(&format!("{prefix}weight")).unwrap();
            assert_eq!(got, kernel(&problem, &inputs), "{prefix}");
        }
    }
    Ok(())
}

const GROUPED: DoConv2dConfig = DoConv2dConfig {
    padding: [0, 0],
    stride: [1, 1],
    dilation: [1, 1],
    groups: 2,
    d_mul: None,
    pairing: Pairing::PyTorch,
    cpu_engine: true,
    algorithm: Algorithm::Direct,
    cudnn_fwd_algo: None,
};

/// Changes the variables of a layer by the name `conv`; what `save` says of them.
fn refusal(change: impl FnOnce(&VarMap, &mut Vec<DoConv2d>) -> Result<()>) -> Result<String> {
    let folder = TempDir::new()?;
    let path = folder.path().join("net.safetensors");
    let variables = VarMap::new();
    let vb = builder(&variables, DType::F32).pp("conv");
    let mut layers = vec![do_conv2d(4, 8, (2, 3), GROUPED, vb)?];
    save(&variables, &layers, &path)?;
    let before = fs::read(&path)?;
    change(&variables, &mut layers)?;
    let error = save(&variables, &layers, &path).unwrap_err().to_string();
    assert_eq!(fs::read(&path)?, before, "the old file is whole");
    assert_eq!(fs::read_dir(folder.path())?.count(), 1, "and alone");
    // Without what candle appends when it takes backtraces.
    Ok(error.lines().next().unwrap_or_default().to_owned())
}

fn rename(variables: &VarMap, from: &str, to: &str) {
    let mut variables = variables.data().lock().unwrap();
    let variable = variables.remove(from).unwrap();
    variables.insert(to.into(), variable);
}

fn insert(variables: &VarMap, name: &str, shape: &[usize]) -> Result<()> {
    let variable = Var::zeros(shape, DType::F32, &Device::Cpu)?;
    variables.data().lock().unwrap().insert(name.into(), variable);
    Ok(())
}

#[test]
fn what_cant_be_told_is_refused_and_leaves_the_old_file() -> Result<()> {
    let foreign = refusal(|_, layers| {
        let vb = builder(&VarMap::new(), DType::F32);
        layers.push(do_conv2d(4, 8, 3, GROUPED, vb)?);
        Ok(())
    })?;
    assert_eq!(
        foreign,
        "save: layers[1]: expected a layer of the variables, got one whose W, [8, 2, 9], isn't one of \
         them"
    );
    let forgotten = refusal(|variables, layers| {
        let vb = builder(variables, DType::F32).pp("other");
        do_conv2d(4, 8, 3, GROUPED, vb.clone())?;
        // One that has no D needs no pairing.
        layers.push(do_conv2d(4, 8, 1, GROUPED, vb.pp("pointwise"))?);
        Ok(())
    })?;
    assert_eq!(forgotten, "save: layers: expected the layer of other.W, got only others");
    let contradiction = refusal(|variables, layers| {
        let other = DoConv2dConfig { pairing: Pairing::InputChannel, ..GROUPED };
        let vb = builder(variables, DType::F32).pp("conv");
        layers.push(do_conv2d(4, 8, (2, 3), other, vb)?);
        Ok(())
    })?;
    assert_eq!(
        contradiction,
        "save: do_conv.pairing.conv: expected pytorch, as of another layer, got input_channel"
    );
    let renamed = refusal(|variables, _| {
        rename(variables, "conv.W", "conv_W");
        Ok(())
    })?;
    assert_eq!(
        renamed,
        "save: conv_W: expected W or a name that ends in .W, for a layer's W, got another"
    );
    for (part, shape) in [("D", &[4, 6, 6][..]), ("bias", &[8])] {
        let name = format!("conv.{part}");
        let gone = refusal(|variables, _| {
            rename(variables, &name, "elsewhere");
            Ok(())
        })?;
        assert_eq!(gone, format!("save: {name}: expected the layer's, got none"));
        let other = refusal(|variables, _| insert(variables, &name, shape))?;
        assert_eq!(other, format!("save: {name}: expected the layer's, got another one"));
    }
    let more = refusal(|variables, layers| {
        let vb = builder(variables, DType::F32).pp("more");
        layers.push(do_conv2d_no_bias(4, 8, 3, GROUPED, vb)?);
        insert(variables, "more.bias", &[8])
    })?;
    assert_eq!(more, "save: more.bias: expected none, as the layer has none, got one");
    Ok(())
}

/// A net without layers, and variables that look a little like one's.
#[test]
fn other_variables_need_no_layers() -> Result<()> {
    let folder = TempDir::new()?;
    let path = folder.path().join("net.safetensors");
    let variables = VarMap::new();
    for (name, shape) in [
        ("a.W", &[2, 3][..]),
        ("a.D", &[2, 3]),
        ("b.W", &[2, 3, 1]),
        ("cW", &[2, 3, 4]),
        ("cD", &[1]),
    ] {
        insert(&variables, name, shape)?;
    }
    save(&variables, [] as [&DoConv2d; 0], &path)?;
    assert_eq!(Checkpoint::open(&path).unwrap().tensors().count(), 5);
    Ok(())
}

#[test]
fn files_that_cant_be_written() -> Result<()> {
    let folder = TempDir::new()?;
    let variables = VarMap::new();
    let layer = do_conv2d(4, 8, 3, GROUPED, builder(&variables, DType::F32))?;
    fs::create_dir(folder.path().join("folder"))?;
    for name in ["folder", "none/net.safetensors"] {
        let path = folder.path().join(name);
        let error = save(&variables, [&layer], &path).unwrap_err().to_string();
        let expected =
            format!("save: {}: expected a file that can be written, got ", path.display());
        assert!(error.starts_with(&expected), "{error}");
        assert_eq!(fs::read_dir(folder.path())?.count(), 1);
    }
    Ok(())
}
