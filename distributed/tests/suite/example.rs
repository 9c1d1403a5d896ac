//! The MNIST example's own training as what a distributed one has to come to: it knows neither leaves nor ranks, and
//! asks DO-Conv layers for their gradients.

use do_conv::{Algorithm, DInit, DoConv2d, Result};

use super::processes::{alone, job, printed};

#[path = "../../../examples/mnist/data.rs"]
#[allow(dead_code, reason = "all of an example")]
mod data;
#[path = "../../../examples/mnist/net.rs"]
#[allow(dead_code, reason = "all of an example")]
mod net;
#[path = "../../../examples/mnist/ops.rs"]
#[allow(dead_code, reason = "all of an example")]
mod ops;
#[path = "../../../examples/mnist/order.rs"]
mod order;
#[path = "../../../examples/mnist/trainer.rs"]
#[allow(dead_code, reason = "all of an example")]
mod trainer;

const STEPS: usize = 60;

fn example() -> Result<Vec<f32>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/mnist/data");
    let data = data::Data::load(folder.as_ref()).expect("the example's data");
    let form = net::Form { algorithm: Algorithm::Direct, stride: 2 };
    let net: net::Net<DoConv2d<f32>> = net::Net::do_conv(0, 9, DInit::Identity, form)?;
    let mut trainer = trainer::Trainer::new(net)?;
    let order = order::shuffled(data.train.len(), 0, 1);
    let steps = order.chunks_exact(trainer::BATCH).take(STEPS);
    steps
        .map(|images| {
            let (x, labels) = data.train.batch(images.iter().copied());
            trainer.step(&x, &labels)
        })
        .collect()
}

fn losses(lines: &str) -> Vec<f32> {
    let losses = lines.lines().filter_map(|line| line.split_once("loss "));
    losses.map(|(_, loss)| loss.parse().expect("a number")).collect()
}

/// With the batch as its only leaf a training sums in the layers' own order.
#[test]
fn one_leaf_gives_the_bits_of_layers_by_themselves() -> Result<()> {
    let words = format!("train --report 1 --steps {STEPS} --leaf 32");
    assert_eq!(losses(&printed(alone(&words))), example()?);
    Ok(())
}

/// With other leaves a step differs by rounding, and rounding grows from step to step: to less than 1e-5 of the loss in
/// sixty.
#[test]
fn leaves_give_the_same_training_but_for_rounding() -> Result<()> {
    let expected = example()?;
    for leaf in [1, 8] {
        let words = format!("train --report 1 --steps {STEPS} --leaf {leaf}");
        let losses = losses(&printed(job(2, &words)));
        assert_eq!(losses.len(), STEPS);
        for (loss, expected) in losses.iter().zip(&expected) {
            assert!((loss - expected).abs() <= 1e-5 * expected, "{loss} {expected}");
        }
    }
    Ok(())
}
