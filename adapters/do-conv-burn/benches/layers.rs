//! Eleven layers on burn's CPU backend: burn's own plain convolution beside the DO-Conv layer and its fold, each
//! through burn's tensors and autodiff, and beside the core crate's layer, which has neither.
//!
//! A training step is a forward pass and every gradient, of the input too, where the output's is ones. Before
//! anything is timed, all contenders must have computed the same.
//!
//! ```text
//! cargo bench -p do-conv-burn -- --rounds 9
//! ```

#[path = "../../../benches/cases/layers.rs"]
mod layers;
#[path = "../../../benches/cases/race.rs"]
mod race;

use std::error::Error;

use burn::module::Param;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Gradients, Shape, Tensor, TensorData};
use do_conv::DoConv2dConfig;
use do_conv_burn::{Algorithm, DoConv2d};
use layers::{LAYERS, Layer, image};
use ndarray::Array4;
use race::{Plan, table};

fn main() -> Result<(), Box<dyn Error>> {
    let plan = Plan::from_arguments()?;
    let header = [
        "training step",
        "burn plain, ms",
        "DO-Conv, ms",
        "core, ms",
        "burn / DO-Conv",
        "DO-Conv / core",
    ];
    let (mut direct, mut winograd, mut forwards) = (Vec::new(), Vec::new(), Vec::new());
    for case in LAYERS {
        let contenders = Contenders::new(&case, Algorithm::Direct)?;
        direct.push((case.name.to_owned(), contenders.time_steps(&plan)?));
        forwards.push((case.name.to_owned(), contenders.time_forwards(&plan)?));
    }
    for case in LAYERS.into_iter().filter(Layer::has_winograd) {
        let contenders = Contenders::new(&case, Algorithm::Winograd4)?;
        winograd.push((format!("{}, winograd4", case.name), contenders.time_steps(&plan)?));
    }
    println!("{}\n", table(&header, &direct));
    println!("{}\n", table(&header, &winograd));
    let header = ["forward", "burn plain, ms", "folded for the CPU, ms", "burn / folded"];
    println!("{}", table(&header, &forwards));
    Ok(())
}

/// The same function in three libraries.
struct Contenders {
    burn: Conv2d,
    ours: DoConv2d,
    core: do_conv::DoConv2d<f32>,
    x: Array4<f32>,
}

impl Contenders {
    /// The layer, once all contenders have computed the same.
    fn new(case: &Layer, algorithm: Algorithm) -> Result<Self, Box<dyn Error>> {
        let config: DoConv2dConfig = case.do_config().algorithm(algorithm);
        let core = config.init::<f32>(1)?;
        let padding = case.padding;
        let plain = Conv2dConfig::new([case.inputs, case.outputs], [case.kernel; 2])
            .with_stride([case.stride; 2])
            .with_dilation([case.dilation; 2])
            .with_groups(case.groups)
            .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
            .with_bias(false)
            .init(&Device::flex().autodiff());
        let weight = Param::from_tensor(tensor(&core.weight()));
        let burn = Conv2d { weight, ..plain };
        let ours = DoConv2d::from_conv2d(&burn, None)?.with_algorithm(algorithm);
        let contenders = Self { burn, ours, core, x: image(case.input_shape()) };
        contenders.expect_same(case)?;
        Ok(contenders)
    }

    fn expect_same(&self, case: &Layer) -> Result<(), Box<dyn Error>> {
        let x = tensor(&self.x).require_grad();
        let dy = image(case.output_shape());
        let step = |y: Tensor<4>| (y.clone(), (y * tensor(&dy)).sum().backward());
        let (y, gradients) = step(self.burn.forward(x.clone()));
        let (our_y, our_gradients) = step(self.ours.forward(x.clone()));
        let dx = |gradients: &Gradients| x.grad(gradients).ok_or("no gradient of the input");
        expect_same(case.name, &y, &our_y)?;
        expect_same(case.name, &dx(&gradients)?, &dx(&our_gradients)?)?;
        let core_y = self.core.forward(&self.x)?;
        let core_dx = self.core.backward(&self.x, &dy)?.x.ok_or("no gradient of the input")?;
        expect_same(case.name, &our_y, &tensor(&core_y))?;
        expect_same(case.name, &dx(&our_gradients)?, &tensor(&core_dx).without_autodiff())?;
        Ok(())
    }

    /// Times of a training step and their ratios.
    fn time_steps(&self, plan: &Plan) -> Result<Vec<f64>, Box<dyn Error>> {
        let x = tensor(&self.x).require_grad();
        let ones = Array4::ones(self.core.output_shape(self.x.dim().into())?);
        let [burn, ours, core] = plan.race::<do_conv::Error, 3>([
            Box::new(|| {
                self.burn.forward(x.clone()).backward();
                Ok(())
            }),
            Box::new(|| {
                self.ours.forward(x.clone()).backward();
                Ok(())
            }),
            Box::new(|| {
                self.core.forward(&self.x)?;
                self.core.backward(&self.x, &ones).map(drop)
            }),
        ])?;
        Ok(vec![burn, ours, core, burn / ours, ours / core])
    }

    /// Times of a forward pass by burn's layer and by the fold, without autodiff, and their ratio.
    fn time_forwards(&self, plan: &Plan) -> Result<Vec<f64>, Box<dyn Error>> {
        use burn::module::Module;

        let (plain, folded) = (self.burn.clone().valid(), self.ours.fold_for_cpu().valid());
        let x = tensor(&self.x).without_autodiff();
        expect_same("the fold", &plain.forward(x.clone()), &folded.forward(x.clone()))?;
        let [burn, ours] = plan.race::<do_conv::Error, 2>([
            Box::new(|| {
                plain.forward(x.clone());
                Ok(())
            }),
            Box::new(|| folded.try_forward(x.clone()).map(drop)),
        ])?;
        Ok(vec![burn, ours, burn / ours])
    }
}

fn tensor(array: &Array4<f32>) -> Tensor<4> {
    let values: Vec<f32> = array.iter().copied().collect();
    let data = TensorData::new(values, Shape::from(array.shape().to_vec()));
    Tensor::from_data(data, &Device::flex().autodiff())
}

fn expect_same(layer: &str, a: &Tensor<4>, b: &Tensor<4>) -> Result<(), String> {
    let size: f32 = a.clone().abs().max().into_scalar();
    let difference: f32 = (a.clone() - b.clone()).abs().max().into_scalar();

    if difference.is_nan() || difference > 1e-4 * size {
        return Err(format!("{layer}: the contenders differ by {difference} of {size}"));
    }
    Ok(())
}
