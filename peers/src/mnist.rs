//! Training of the MNIST example's net, ours beside PyTorch's.

use anyhow::Result;

use crate::contenders::{Call, Field, MnistNet, STEPS};
use crate::data;
use crate::race::{Contender, Plan, race};
use crate::table::{self, Column};

/// Batches of 32 in an epoch of the full set's 60,000 images.
const EPOCH: f64 = 1875.0;
/// How far losses may be apart, in parts: those of later steps are of parameters that have been rounded.
const TOLERANCE: f64 = 1e-4;

/// Prints the time of a step of training.
pub fn training(field: &Field, plan: &Plan) -> Result<()> {
    let (mut ours, mut torchs) = (Vec::new(), Vec::new());
    for net in MnistNet::ALL {
        eprintln!("MNIST net: {}", net.name());
        let mut own = net.ours()?;
        let losses = own.check()?;
        let mut contenders: Vec<Box<dyn Contender>> = vec![Box::new(own)];
        if let Some(torch) = &field.torch {
            let mut call = Call::mnist(torch, net);
            data::compare("torch", &losses, &call.check()?, TOLERANCE)?;
            contenders.push(Box::new(call));
        }
        let times = race(&mut contenders, plan)?;
        let step = |contender: usize| times.get(contender).map(|time| time / STEPS as f64);
        ours.push(step(0));
        torchs.push(step(1));
    }
    let ratios = ours.iter().zip(&torchs).map(|(&ours, &torch)| Some(ours? / torch?)).collect();
    let scaled = |times: &[Option<f64>], by: f64| {
        times.iter().map(|time| time.map(|time| by * time)).collect::<Vec<_>>()
    };
    let columns = [
        Column::new("ours / torch", 2, ratios),
        Column::new("ours, ms a step", 3, scaled(&ours, 1e3)),
        Column::new("torch, ms a step", 3, scaled(&torchs, 1e3)),
        Column::new("ours, s an epoch", 2, scaled(&ours, EPOCH)),
        Column::new("torch, s an epoch", 2, scaled(&torchs, EPOCH)),
    ];
    let names = MnistNet::ALL.map(|net| net.name().to_owned());
    table::print("MNIST net, training", &names, &columns, true);
    Ok(())
}
