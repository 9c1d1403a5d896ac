//! Files that tell how their layers are paired, folded by the core crate.

use std::path::Path;

use crate::common::core::oracle::kernel;
use crate::common::core::{Inputs, Problem, table};
use crate::common::{array, config, device, layer, tensor};
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::store::{ModuleSnapshot, SafetensorsStore};
use do_conv::ErrorKind;
use do_conv::checkpoint::{Checkpoint, FoldOptions, LayerOptions};
use do_conv_burn::{DoConv2d, Pairing};
use tempfile::TempDir;

/// Layers, and what belongs to none.
#[derive(Module, Debug)]
struct Net {
    layers: Vec<DoConv2d>,
    head: Linear,
}

impl Net {
    fn new(layers: impl Iterator<Item = DoConv2d>) -> Self {
        Self { layers: layers.collect(), head: LinearConfig::new(5, 3).init(&device()) }
    }

    /// With the cases' parameters.
    fn trained(cases: &[(String, Problem, Inputs)]) -> Self {
        Self::new(cases.iter().map(|(_, problem, inputs)| layer(problem, inputs)))
    }
}

fn cases(wanted: impl Fn(&Problem) -> bool) -> Vec<(String, Problem, Inputs)> {
    table::paired().filter(|(_, problem, _)| wanted(problem)).collect()
}

/// Folds without any option; gives what was written.
fn fold(path: &Path) -> do_conv::Result<Checkpoint> {
    let folded = path.with_extension("folded.safetensors");
    Checkpoint::open(path)?.fold(&folded, &FoldOptions::default())?;
    Checkpoint::open(&folded)
}

fn assert_folded(folded: &Checkpoint, net: &Net, cases: &[(String, Problem, Inputs)]) {
    assert_eq!(net.layers.len(), cases.len());
    for (index, (name, problem, inputs)) in cases.iter().enumerate() {
        let got = folded.values(&format!("layers.{index}.weight")).unwrap();
        assert_eq!(got, kernel(problem, inputs), "{name}");
        assert_eq!(got, array(&net.layers[index].fold().weight.val()), "{name}");
        let bias = folded.values(&format!("layers.{index}.bias")).unwrap();
        assert_eq!(Some(bias), inputs.bias.clone().map(|bias| bias.into_dyn()), "{name}");
    }
    let head = array(&net.head.weight.val());
    assert_eq!(folded.values("head.weight").unwrap(), head);
    let left = folded.metadata().keys().find(|key| key.starts_with("do_conv"));
    assert_eq!(left, None);
}

#[test]
fn a_net_with_its_layers_metadata_is_folded_without_being_told() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("net.safetensors");
    let cases = cases(|_| true);
    assert_eq!(cases.len(), 9);
    let net = Net::trained(&cases);
    let mut store = SafetensorsStore::from_file(&path);
    for (index, layer) in net.layers.iter().enumerate() {
        for (key, text) in layer.metadata(&format!("layers.{index}")) {
            store = store.metadata(key, text);
        }
    }
    net.save_into(&mut store).unwrap();
    assert_folded(&fold(&path).unwrap(), &net, &cases);

    // It loads as any other.
    let mut loaded = Net::new(cases.iter().map(|(_, problem, _)| config(problem).init(&device())));
    loaded.load_from(&mut SafetensorsStore::from_file(&path)).unwrap();
    for (index, (name, _, inputs)) in cases.iter().enumerate() {
        let y = |net: &Net| array(&net.layers[index].forward(tensor(&inputs.x)));
        assert_eq!(y(&loaded), y(&net), "{name}");
    }
}

/// The one line of a net whose layers are all paired alike, with square kernels.
#[test]
fn a_net_of_one_pairing_tells_it_once() {
    for pairing in [Pairing::InputChannel, Pairing::PyTorch, Pairing::TensorFlow] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("net.safetensors");
        let cases = cases(|problem| problem.pairing == pairing && problem.taps() == 9);
        assert_eq!(cases.len(), 2);
        let net = Net::trained(&cases);
        let mut store =
            SafetensorsStore::from_file(&path).metadata(Pairing::METADATA_KEY, pairing.name());
        net.save_into(&mut store).unwrap();
        assert_folded(&fold(&path).unwrap(), &net, &cases);
    }
}

#[test]
fn a_net_saved_without_metadata_is_refused_where_the_pairing_matters() {
    let cases = cases(|_| true);
    assert_eq!(cases.len(), 9);
    for case in cases {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("net.safetensors");
        let net = Net::trained(std::slice::from_ref(&case));
        net.save_into(&mut SafetensorsStore::from_file(&path)).unwrap();
        let (name, problem, _) = case;
        let sides = LayerOptions::default().kernel_size("layers.0", problem.kernel_size);
        let options = FoldOptions::default().layers(sides);
        let error = Checkpoint::open(&path).unwrap().check_fold(&options).unwrap_err();
        assert_eq!(
            (error.kind, &*error.field),
            (ErrorKind::Ambiguous, "layers.0"),
            "{name}: {error}"
        );
        let choices = "--pairing input-channel, pytorch or tensorflow";
        assert!(error.expected.contains(choices), "{name}: {error}");
    }
}
