//! Checkpoints that the published PyTorch code wrote, through burn's stores.

use std::path::Path;

use crate::common::core::reference::{Checkpoint, EPS, Layer, Net};
use crate::common::core::{assert_within, gamma, golden, oracle};
use crate::common::{array, config, tensor};
use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::store::{ModuleSnapshot, PyTorchToBurnAdapter, PytorchStore, SafetensorsStore};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use do_conv_burn::{DoConv2d, Pairing};

/// The net of `mixed`, with the names of its checkpoint.
#[derive(Module, Debug)]
struct Mixed {
    stem: DoConv2d,
    bn1: BatchNorm,
    dw: DoConv2d,
    pw: DoConv2d,
    group: DoConv2d,
    bn2: BatchNorm,
    over: DoConv2d,
    mult: DoConv2d,
    head: Linear,
}

/// The net of `mnist_tutorial`, whose checkpoint has numbers for names: those of a sequence in which
/// every other module is a ReLU.
#[derive(Module, Debug)]
struct Tutorial {
    layers: Vec<DoConv2d>,
}

/// A layer as the checkpoint's geometry has it, with parameters to be loaded.
fn layer(checkpoint: &Checkpoint, name: &str) -> DoConv2d {
    let problem = checkpoint.layer(name).problem;
    assert_eq!(problem.pairing, Pairing::PyTorch);
    config(&problem).init(&device())
}

/// Without autodiff: batch norms use their running statistics.
fn device() -> Device {
    Device::flex()
}

impl Mixed {
    fn new() -> Self {
        let checkpoint = Checkpoint::read("mixed");
        let layer = |name| layer(&checkpoint, name);
        let norm = |channels| BatchNormConfig::new(channels).with_epsilon(EPS).init(&device());
        Self {
            stem: layer("stem"),
            bn1: norm(16),
            dw: layer("dw"),
            pw: layer("pw"),
            group: layer("group"),
            bn2: norm(32),
            over: layer("over"),
            mult: layer("mult"),
            head: LinearConfig::new(40, 10).init(&device()),
        }
    }
}

impl Reference for Mixed {
    fn logits(
        &self,
        forward: impl Fn(&DoConv2d, Tensor<4>) -> Tensor<4>,
        x: Tensor<4>,
    ) -> Tensor<2> {
        let x = relu(self.bn1.forward(forward(&self.stem, x)));
        let x = relu(forward(&self.dw, x));
        let x = relu(forward(&self.pw, x));
        let x = relu(self.bn2.forward(forward(&self.group, x)));
        let x = relu(forward(&self.over, x));
        let x = relu(forward(&self.mult, x));
        self.head.forward(mean(x))
    }

    fn layers(&self) -> Vec<(&'static str, &DoConv2d)> {
        let Self { stem, dw, pw, group, over, mult, .. } = self;
        vec![
            ("stem", stem),
            ("dw", dw),
            ("pw", pw),
            ("group", group),
            ("over", over),
            ("mult", mult),
        ]
    }
}

impl Tutorial {
    fn new() -> Self {
        let checkpoint = Checkpoint::read("mnist_tutorial");
        Self { layers: ["0", "2", "4"].map(|name| layer(&checkpoint, name)).into() }
    }
}

impl Reference for Tutorial {
    fn layers(&self) -> Vec<(&'static str, &DoConv2d)> {
        ["0", "2", "4"].into_iter().zip(&self.layers).collect()
    }

    fn logits(
        &self,
        forward: impl Fn(&DoConv2d, Tensor<4>) -> Tensor<4>,
        x: Tensor<4>,
    ) -> Tensor<2> {
        mean(self.layers.iter().fold(x, |x, layer| relu(forward(layer, x))))
    }
}

/// The mean of each channel's pixels.
fn mean(x: Tensor<4>) -> Tensor<2> {
    x.mean_dim(3).mean_dim(2).flatten(1, 3)
}

/// Loads both files of a checkpoint, each into a net of its own. Every parameter must be there, and
/// nothing but the stored identity and the counters of batch norms may be left over.
fn load<M: ModuleSnapshot>(name: &str, make: impl Fn() -> M) -> [M; 2] {
    let path = |format| golden::path(&format!("reference_checkpoints/{name}.{format}"));
    let (mut from_pth, mut from_safetensors) = (make(), make());
    let mut pth = PytorchStore::from_file(path("pth"));
    let mut safetensors =
        SafetensorsStore::from_file(path("safetensors")).with_from_adapter(PyTorchToBurnAdapter);
    if name == "mnist_tutorial" {
        pth = pth.with_key_remapping(r"^(\d)\.", "layers.$1.");
        safetensors =
            safetensors.with_key_remapping(r"^(\d)\.", "layers.$1.").map_indices_contiguous(true);
    }
    let results = [
        from_pth.load_from(&mut pth).expect("a checkpoint that loads"),
        from_safetensors.load_from(&mut safetensors).expect("a checkpoint that loads"),
    ];
    for result in results {
        assert!(result.missing.is_empty() && result.errors.is_empty(), "{result}");
        for unused in result.unused {
            let leaf = Path::new(&unused).extension().unwrap();
            assert!(leaf == "d_diag" || leaf == "num_batches_tracked", "{unused}");
        }
    }
    [from_pth, from_safetensors]
}

fn assert_gives_the_stored(layer: &DoConv2d, stored: &Layer) {
    let Layer { name, problem, inputs, kernel, y, .. } = stored;
    let got = vec![
        ("kernel", array(&layer.weight())),
        ("y", array(&layer.forward(plain(tensor(&inputs.x))))),
    ];
    let expected = vec![("kernel", kernel.clone().into_dyn()), ("y", y.clone().into_dyn())];
    let sums = oracle::absolute_sums(problem, inputs);
    let bound = |output: &str| 2.0 * gamma::<f32>(problem.roundings(output));
    assert_within(name, &got, &expected, &sums, bound);
}

fn plain(tensor: Tensor<4>) -> Tensor<4> {
    tensor.without_autodiff()
}

/// What both nets are asked for.
trait Reference: ModuleSnapshot {
    fn layers(&self) -> Vec<(&'static str, &DoConv2d)>;

    /// Runs the net with each layer by `forward`.
    fn logits(
        &self,
        forward: impl Fn(&DoConv2d, Tensor<4>) -> Tensor<4>,
        x: Tensor<4>,
    ) -> Tensor<2>;
}

/// Checks every layer and the logits of a net from both files.
fn check<M: Reference>(name: &str, net: &Net, make: impl Fn() -> M) {
    let checkpoint = Checkpoint::read(name);
    let mut computed = Vec::new();
    for loaded in load(name, make) {
        for (layer_name, layer) in loaded.layers() {
            assert_gives_the_stored(layer, &checkpoint.layer(layer_name));
        }
        let x = plain(tensor(&net.x));
        let unfolded = array(&loaded.logits(|layer, x| layer.forward(x), x.clone()));
        let folded = array(&loaded.logits(|layer, x| layer.fold_for_cpu().forward(x), x.clone()));
        assert_eq!(unfolded, folded);
        let by_burn = array(&loaded.logits(|layer, x| layer.fold().forward(x), x));
        for (form, logits) in [("loaded", unfolded), ("folded into burn's", by_burn)] {
            computed.push((form, logits.into_dimensionality().unwrap()));
        }
    }
    net.assert_logits(&computed);
}

#[test]
fn the_mixed_net() {
    check("mixed", &Net::mixed(), Mixed::new);
}

#[test]
fn the_mnist_net() {
    check("mnist_tutorial", &Net::mnist_tutorial(), Tutorial::new);
}
