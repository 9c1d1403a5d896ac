//! A pretrained plain net trained on with DO-Conv and shipped as a plain net: load, over-parameterize, train,
//! fold, save.
//!
//! ```text
//! cargo run --release -p do-conv-candle --example finetune
//! cargo run --release -p do-conv-candle --example finetune -- pretrained.safetensors folded.safetensors
//! ```
//!
//! Files have the names and layouts of `torch.nn`, so either may be PyTorch's. Without a pretrained net the
//! program first trains one.

#[allow(dead_code)] // The example of MNIST needs more.
#[path = "../../../../examples/mnist/data.rs"]
mod data;

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Module, Tensor, Var, safetensors};
use candle_nn::{AdamW, Conv2dConfig, Linear, Optimizer, VarBuilder, VarMap, loss};
use do_conv_candle::DoConv2d;

use data::{CLASSES, Data, Set};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Of candle's layers, of DO-Conv layers, or of folded ones.
struct Net<C> {
    conv1: C,
    conv2: C,
    head: Linear,
}

impl<C: Module> Module for Net<C> {
    fn forward(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        let x = self.conv1.forward(images)?.relu()?;
        self.head.forward(&self.conv2.forward(&x)?.relu()?.mean((2, 3))?)
    }
}

impl<C> Net<C> {
    fn map<D>(&self, change: impl Fn(&C) -> candle_core::Result<D>) -> candle_core::Result<Net<D>> {
        let (conv1, conv2) = (change(&self.conv1)?, change(&self.conv2)?);
        Ok(Net { conv1, conv2, head: self.head.clone() })
    }
}

impl Net<candle_nn::Conv2d> {
    fn new(vb: VarBuilder) -> candle_core::Result<Self> {
        let config = Conv2dConfig { stride: 2, padding: 1, ..Default::default() };
        Ok(Self {
            conv1: candle_nn::conv2d(1, 16, 3, config, vb.pp("conv1"))?,
            conv2: candle_nn::conv2d(16, 32, 3, config, vb.pp("conv2"))?,
            head: candle_nn::linear(32, CLASSES, vb.pp("head"))?,
        })
    }

    /// The net's tensors by the names that `torch.nn` has for them.
    fn tensors(&self) -> HashMap<String, Tensor> {
        let parts = [
            ("conv1", self.conv1.weight(), self.conv1.bias()),
            ("conv2", self.conv2.weight(), self.conv2.bias()),
            ("head", self.head.weight(), self.head.bias()),
        ];
        let mut tensors = HashMap::new();
        for (name, weight, bias) in parts {
            tensors.insert(format!("{name}.weight"), weight.clone());
            tensors.extend(bias.map(|bias| (format!("{name}.bias"), bias.clone())));
        }
        tensors
    }
}

fn main() -> Result<()> {
    // In the pool of threads that candle keeps for the CPU.
    Device::Cpu.with_context(|| run().map_err(|error| error.to_string()))?;
    Ok(())
}

fn run() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/mnist/data");
    let data = Data::load(&folder)?;
    let temporary = tempfile::tempdir()?;
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let pretrained = match paths.next() {
        Some(path) => path,
        None => {
            let path = temporary.path().join("pretrained.safetensors");
            let variables = VarMap::new();
            let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
            let net = Net::new(vb)?;
            train(&net, variables.all_vars(), &data.train, 3)?;
            variables.save(&path)?;
            path
        }
    };
    let folded = paths.next();
    let is_kept = folded.is_some();
    let folded = folded.unwrap_or_else(|| temporary.path().join("folded.safetensors"));

    // Load …
    let tensors = safetensors::load(&pretrained, &Device::Cpu)?;
    let net = Net::new(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))?;
    report("pretrained", &net, &data.test)?;
    // … over-parameterize: the same function, with a D in front of each kernel, all of it variables …
    let mut net = net.map(|conv| DoConv2d::from_conv2d(conv, None))?;
    let mut variables = Vec::new();
    for layer in [&net.conv1, &net.conv2] {
        variables.extend(layer.variables()?.into_iter().map(|(_, variable)| variable));
    }
    let weight = Var::from_tensor(net.head.weight())?;
    let bias = net.head.bias().map(Var::from_tensor).transpose()?;
    net.head = Linear::new(weight.as_tensor().clone(), bias.as_deref().cloned());
    variables.extend([weight].into_iter().chain(bias));
    // … train …
    train(&net, variables, &data.train, 3)?;
    report("fine-tuned", &net, &data.test)?;
    // … fold: plain again, by the composed kernels …
    let fast = net.map(DoConv2d::fold_for_cpu)?;
    report("folded", &fast, &data.test)?;
    let (images, _) = batch(&data.test, 0..100)?;
    let bits = |logits: Tensor| logits.flatten_all()?.to_vec1::<f32>();
    if bits(fast.forward(&images)?)? != bits(net.forward(&images)?)? {
        return Err("the fold changed bits of the logits".into());
    }
    let plain = net.map(DoConv2d::fold)?; // candle's own layers
    report("in candle", &plain, &data.test)?;
    // … and save.
    safetensors::save(&plain.tensors(), &folded)?;
    println!("saved {}{}", folded.display(), if is_kept { "" } else { ", for this run" });
    Ok(())
}

/// Trains by candle's AdamW.
fn train(net: &impl Module, variables: Vec<Var>, set: &Set, epochs: usize) -> Result<()> {
    const BATCH: usize = 32;
    let mut optimizer = AdamW::new_lr(variables, 0.01)?;
    for epoch in 1..=epochs {
        let mut sum = 0.0;
        let starts = (0..set.len() / BATCH).map(|index| index * BATCH);
        for start in starts.clone() {
            let (images, labels) = batch(set, start..start + BATCH)?;
            let loss = loss::cross_entropy(&net.forward(&images)?, &labels)?;
            optimizer.backward_step(&loss)?;
            sum += loss.to_scalar::<f32>()?;
        }
        println!("  epoch {epoch}: loss {:.4}", sum / starts.len() as f32);
    }
    Ok(())
}

fn batch(set: &Set, range: std::ops::Range<usize>) -> candle_core::Result<(Tensor, Tensor)> {
    let (images, labels) = set.batch(range);
    let shape = images.shape().to_vec();
    let labels: Vec<u32> = labels.into_iter().map(u32::from).collect();
    let images = Tensor::from_vec(images.into_raw_vec_and_offset().0, shape, &Device::Cpu)?;
    Ok((images, Tensor::new(labels, &Device::Cpu)?))
}

fn report(what: &str, net: &impl Module, test: &Set) -> Result<()> {
    let (images, labels) = batch(test, 0..test.len())?;
    let right = net.forward(&images)?.argmax(1)?.eq(&labels)?.to_dtype(DType::F32)?.mean_all()?;
    println!("{what:<10}  {:.2} % of the test images", 100.0 * right.to_scalar::<f32>()?);
    Ok(())
}
