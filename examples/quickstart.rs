//! Build a layer, take one training step, fold it.

use do_conv::{DoConv2dConfig, Error};
use ndarray::Array4;

fn main() -> Result<(), Error> {
    let mut layer = DoConv2dConfig::new(3, 8, [3, 3]).padding(1).init(0)?;
    let x = Array4::from_shape_fn((4, 3, 16, 16), |(b, c, i, j)| ((b + c) * (i + j) % 7) as f32);

    // One step of gradient descent on the loss Σ y²/2, whose gradient dy is y.
    let y = layer.forward(&x)?;
    let gradients = layer.backward(&x, &y)?;
    for (_, parameter, gradient) in layer.parameters_with_gradients(&gradients)? {
        for (p, g) in parameter.iter_mut().zip(gradient) {
            *p -= 1e-6 * g;
        }
    }

    // What is shipped is a plain convolution, with the output of the trained layer.
    let conv = layer.fold();
    println!("{layer}\n{conv}\noutputs equal: {}", layer.forward(&x)? == conv.forward(&x)?);
    Ok(())
}
