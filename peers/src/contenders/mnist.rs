//! Training of the net of this crate's MNIST example, by that example's own code.

#[path = "../../../examples/mnist/net.rs"]
#[allow(dead_code)] // What the example does besides training.
mod net;
#[path = "../../../examples/mnist/ops.rs"]
#[allow(dead_code)] // The same.
mod ops;
#[path = "../../../examples/mnist/trainer.rs"]
#[allow(dead_code)] // What the example says of its training.
mod trainer;
/// What `net` and `trainer` take from the example's own data.
mod data {
    pub const SIDE: usize = 28;
    pub const CLASSES: usize = 10;
}

use anyhow::Result;
use do_conv::{Algorithm, DInit, Layer};
use ndarray::Array4;

use self::data::{CLASSES, SIDE};
use self::net::{Form, Net, input_shape};
use self::trainer::{BATCH, Trainer};
use crate::data::values;
use crate::race::Local;

/// Steps of training in a call, each on a batch of its own.
pub const STEPS: usize = 20;

/// The seeds of arrays, which PyTorch's side has too: those of the images of each batch, and of the weights
/// and the bias of each layer, begin there.
const X: u64 = 100;
const WEIGHT: u64 = 10;
const BIAS: u64 = 20;

const FORM: Form = Form { algorithm: Algorithm::Direct, stride: 2 };

/// Which layers the net has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MnistNet {
    Plain,
    DoConv,
}

impl MnistNet {
    pub const ALL: [Self; 2] = [Self::Plain, Self::DoConv];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::DoConv => "DO-Conv",
        }
    }

    /// Ours; its results are the losses of its steps.
    pub fn ours(self) -> Result<Local> {
        match self {
            Self::Plain => {
                let mut net = Net::plain(0, FORM)?;
                for (index, layer) in net.layers.iter_mut().enumerate() {
                    layer.parameters_mut().for_each(|parameter| fill(index, parameter));
                }
                steps(net)
            }
            Self::DoConv => {
                let mut net = Net::do_conv(0, 9, DInit::Identity, FORM)?;
                for (index, layer) in net.layers.iter_mut().enumerate() {
                    layer.parameters_mut().for_each(|parameter| fill(index, parameter));
                }
                steps(net)
            }
        }
    }
}

/// Gives a parameter of a layer what it starts with. `D` stays the identity.
fn fill(layer: usize, (name, parameter): (&str, &mut [f32])) {
    let seed = match name {
        "d_offset" => return,
        "bias" => BIAS,
        _ => WEIGHT,
    };
    let [_, inputs, ..] = input_shape(layer, BATCH);
    let scale = 2.0 / ((9 * inputs) as f64).sqrt();
    parameter.copy_from_slice(&values(&[parameter.len()], (seed + layer as u64, scale)));
}

fn steps<L>(net: Net<L>) -> Result<Local>
where
    L: Layer<f32> + 'static,
{
    let mut trainer = Trainer::new(net)?;
    let batch = |index: usize| -> Result<(Array4<f32>, Vec<u8>)> {
        let shape = [BATCH, 1, SIDE, SIDE];
        let x = Array4::from_shape_vec(shape, values(&shape, (X + index as u64, 1.0)))?;
        let labels = (0..BATCH).map(|image| ((7 * image + index) % CLASSES) as u8);
        Ok((x, labels.collect()))
    };
    let batches = (0..STEPS).map(batch).collect::<Result<Vec<_>>>()?;
    Ok(Local::new(move |results| {
        for (x, labels) in &batches {
            results.show(&[trainer.step(x, labels)?]);
        }
        Ok(())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::race::Contender;

    #[test]
    fn both_nets_start_alike_and_train_apart() -> Result<()> {
        let [plain, over] = MnistNet::ALL.map(|net| net.ours().and_then(|mut net| net.check()));
        let (plain, over) = (plain?, over?);
        assert_eq!(plain.len(), STEPS);
        assert!((plain[0].sum - over[0].sum).abs() < 1e-6 * plain[0].size);
        assert_ne!(plain[STEPS - 1].sum, over[STEPS - 1].sum);
        Ok(())
    }
}
