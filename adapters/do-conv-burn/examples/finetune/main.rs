//! A pretrained plain net trained on with DO-Conv and shipped as a plain net: load, over-parameterize, train,
//! fold, save. The net's code knows nothing of DO-Conv, but imports this crate's `Conv2d` in the place of burn's.
//!
//! ```text
//! cargo run --release -p do-conv-burn --example finetune
//! cargo run --release -p do-conv-burn --example finetune -- pretrained.safetensors folded.safetensors
//! ```
//!
//! Files have the names and layouts of `torch.nn`, so either may be PyTorch's. Without a pretrained net the
//! program first trains one.

#[allow(dead_code)] // The example of MNIST needs more.
#[path = "../../../../examples/mnist/data.rs"]
mod data;

use std::error::Error;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::store::{BurnToPyTorchAdapter, ModuleSnapshot, PyTorchToBurnAdapter, SafetensorsStore};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};
use do_conv_burn::{Conv2d, Conv2dConfig, OverParameterize};

use data::{CLASSES, Data, Set};

/// A `torch.nn.Module` of the same attributes has its parameters by the same names.
#[derive(Module, Debug)]
struct Net {
    conv1: Conv2d,
    conv2: Conv2d,
    head: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        let conv = |channels| {
            let config = Conv2dConfig::new(channels, [3, 3]).with_stride([2, 2]);
            config.with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init(device)
        };
        let head = LinearConfig::new(32, CLASSES).init(device);
        Self { conv1: conv([1, 16]), conv2: conv([16, 32]), head }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = relu(self.conv2.forward(relu(self.conv1.forward(images))));
        self.head.forward(x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim(2))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let device = Device::flex().autodiff();
    device.seed(0);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/mnist/data");
    let data = Data::load(&folder)?;
    let temporary = tempfile::tempdir()?;
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let pretrained = match paths.next() {
        Some(path) => path,
        None => {
            let path = temporary.path().join("pretrained.safetensors");
            save(&train(Net::new(&device), &data.train, 3, &device)?, &path)?;
            path
        }
    };
    let folded = paths.next();
    let is_kept = folded.is_some();
    let folded = folded.unwrap_or_else(|| temporary.path().join("folded.safetensors"));

    // Load …
    let mut net = Net::new(&device);
    let mut store =
        SafetensorsStore::from_file(&pretrained).with_from_adapter(PyTorchToBurnAdapter);
    net.load_from(&mut store)?;
    report("pretrained", &net, &data.test)?;
    // … over-parameterize: the same function, with a D in front of each kernel …
    let over = OverParameterize::new(&net)?;
    let net = net.apply_reparameterization(over);
    // … train …
    let net = train(net, &data.train, 3, &device)?;
    report("fine-tuned", &net, &data.test)?;
    let trained = net.forward(batch(&data.test, 0..100, &device).0);
    // … fold: plain again, by the composed kernels …
    let net = net.materialize();
    report("folded", &net, &data.test)?;
    let logits = net.forward(batch(&data.test, 0..100, &device).0);
    if logits.try_into_data()?.as_bytes() != trained.try_into_data()?.as_bytes() {
        return Err("the fold changed bits of the logits".into());
    }
    // … and save.
    save(&net, &folded)?;
    println!("saved {}{}", folded.display(), if is_kept { "" } else { ", for this run" });
    Ok(())
}

/// Trains by burn's AdamW.
fn train(mut net: Net, set: &Set, epochs: usize, device: &Device) -> Result<Net, Box<dyn Error>> {
    const BATCH: usize = 32;
    let loss = CrossEntropyLossConfig::new().init(device);
    let mut optimizer = AdamWConfig::new().init();
    for epoch in 1..=epochs {
        let mut sum = 0.0;
        let starts = (0..set.len() / BATCH).map(|index| index * BATCH);
        for start in starts.clone() {
            let (images, labels) = batch(set, start..start + BATCH, device);
            let loss = loss.forward(net.forward(images), labels);
            sum += loss.clone().try_into_scalar::<f32>()?;
            let gradients = GradientsParams::from_grads(loss.backward(), &net);
            net = optimizer.step(0.01, net, gradients);
        }
        println!("  epoch {epoch}: loss {:.4}", sum / starts.len() as f32);
    }
    Ok(net)
}

fn batch(set: &Set, range: std::ops::Range<usize>, device: &Device) -> (Tensor<4>, Tensor<1, Int>) {
    let (images, labels) = set.batch(range);
    let shape = images.shape().to_vec();
    let labels: Vec<i32> = labels.into_iter().map(i32::from).collect();
    let images = TensorData::new(images.into_iter().collect::<Vec<f32>>(), shape);
    (Tensor::from_data(images, device), Tensor::from_data(labels.as_slice(), device))
}

fn report(what: &str, net: &Net, test: &Set) -> Result<(), Box<dyn Error>> {
    let net = net.clone().valid();
    let (images, labels) = batch(test, 0..test.len(), &Device::flex());
    let correct = net.forward(images).argmax(1).squeeze_dim::<1>(1).equal(labels).int().sum();
    let correct: i64 = correct.try_into_scalar()?;
    let percent = 100.0 * correct as f64 / test.len() as f64;
    println!("{what:<10} {:>5} parameters, {percent:.2} % of the test images", net.num_params());
    Ok(())
}

fn save(net: &Net, path: &Path) -> Result<(), Box<dyn Error>> {
    let store = SafetensorsStore::from_file(path).overwrite(true);
    Ok(net.save_into(&mut store.with_to_adapter(BurnToPyTorchAdapter))?)
}
