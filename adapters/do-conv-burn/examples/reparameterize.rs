//! burn's layers turned into DO-Conv for the training, and back: the model's type stays as it is.
//!
//! ```text
//! cargo run --release -p do-conv-burn --example reparameterize
//! ```

use std::error::Error;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Distribution, Tensor};
use do_conv_burn::OverParameterize;

/// Any model of burn's layers; nothing in it knows of DO-Conv.
#[derive(Module, Debug)]
struct Model {
    first: Conv2d,
    second: Conv2d,
}

impl Model {
    fn new(device: &Device) -> Self {
        let layer = |channels| Conv2dConfig::new(channels, [3, 3]).init(device);
        Self { first: layer([3, 8]), second: layer([8, 4]) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.second.forward(relu(self.first.forward(x)))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let device = Device::flex().autodiff();
    device.seed(0);
    let random =
        |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
    let (x, target) = (random([16, 3, 12, 12]), random([16, 4, 8, 8]));

    let model = Model::new(&device);
    println!("plain:    {} parameters", model.num_params());
    let over = OverParameterize::new(&model)?;
    let mut model = model.apply_reparameterization(over);
    println!("training: {} parameters", model.num_params());

    let mut optimizer = AdamConfig::new().init();
    for step in 1..=20 {
        let loss = (model.forward(x.clone()) - target.clone()).square().mean();
        if step % 5 == 0 {
            println!("  step {step:>2}: loss {:.4}", loss.clone().try_into_scalar::<f32>()?);
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(0.01, model, gradients);
    }

    let trained = model.forward(x.clone()).try_into_data()?;
    let model = model.materialize();
    println!("folded:   {} parameters", model.num_params());
    let folded = model.forward(x).try_into_data()?;
    assert!(folded.as_bytes() == trained.as_bytes(), "folding changed bits of the outputs");
    println!("all {} outputs have the bits that they had before", folded.num_elements());
    Ok(())
}
