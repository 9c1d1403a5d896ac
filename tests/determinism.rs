//! Promises about bits: they depend neither on the number of threads, nor on the other images of a
//! batch, nor on how arrays lie in memory, nor on what output buffers held before.

mod common;

use common::{Inputs, Numbers, Problem, fill, fill_conv};
use do_conv::{Composition, Conv2d, Conv2dConfig, DoConv2d, DoConv2dGradients, PaddingMode};
use ndarray::{Array4, Axis, s};
use rayon::prelude::*;

fn dense() -> Problem {
    Problem {
        batch: 3,
        in_channels: 40,
        out_channels: 27,
        image: [15, 13],
        padding: [[1, 1], [1, 1]],
        ..Problem::DENSE
    }
}

/// Layers of every kind, large enough to be spread over threads and cut into several blocks.
fn problems() -> Vec<(&'static str, Problem)> {
    let dense = dense();
    vec![
        ("strided", Problem { stride: [2, 3], image: [31, 29], ..dense.clone() }),
        ("dilated", Problem { dilation: [2, 3], padding: [[2, 1], [3, 0]], ..dense.clone() }),
        ("small maps", Problem { batch: 9, image: [4, 4], in_channels: 64, ..dense.clone() }),
        ("over-complete", Problem { d_mul: 19, ..dense.clone() }),
        ("pointwise", Problem { kernel_size: [1, 1], d_mul: 1, in_channels: 300, ..dense.clone() }),
        ("grouped", Problem { groups: 4, out_channels: 56, image: [28, 30], ..dense.clone() }),
        // Blocks of the kernel's gradient are bounded by the channels of their strips.
        (
            "many channels",
            Problem { in_channels: 260, out_channels: 7, image: [20, 21], ..dense.clone() },
        ),
        (
            "depthwise",
            Problem { groups: 40, out_channels: 80, image: [40, 41], d_mul: 9, ..dense.clone() },
        ),
        (
            "reflected",
            Problem { mode: PaddingMode::Reflect, padding: [[2, 1], [0, 3]], ..dense.clone() },
        ),
        ("dense", dense),
    ]
}

fn inputs(problem: &Problem) -> Inputs {
    let mut numbers = Numbers::new(7);
    problem.inputs(|| numbers.real())
}

/// The bits of every output and gradient.
fn solution(problem: &Problem, inputs: &Inputs, composition: Composition) -> Vec<Vec<u64>> {
    let outputs = problem.solve::<f32>(inputs, composition);
    let bits = |values: ndarray::ArrayD<f64>| values.iter().map(|value| value.to_bits()).collect();
    outputs.into_iter().map(|(_, values)| bits(values)).collect()
}

#[test]
fn threads_do_not_change_bits() {
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let pools: Vec<_> = [1, 2, 3, 7].into_iter().map(pool).collect();
    for (name, problem) in problems() {
        let inputs = inputs(&problem);
        for composition in problem.compositions() {
            let solve = || solution(&problem, &inputs, composition);
            let mut solutions = pools.iter().map(|pool| pool.install(solve));
            let first = solutions.next().unwrap();
            for solution in solutions {
                assert!(solution == first, "{name}, {composition:?}");
            }
        }
    }
}

#[test]
fn an_image_alone_gives_the_same_bits_as_in_a_batch() {
    for (name, problem) in problems() {
        let inputs = inputs(&problem);
        for composition in problem.compositions() {
            let layer: DoConv2d<f32> = problem.layer(&inputs, composition);
            let (x, dy) = (inputs.x.mapv(|x| x as f32), inputs.dy.mapv(|dy| dy as f32));
            let y = layer.forward(&x).unwrap();
            let dx = layer.backward(&x, &dy).unwrap().x.unwrap();
            for image in 0..problem.batch {
                let alone = image..image + 1;
                let x = x.slice(s![alone.clone(), .., .., ..]);
                let y_alone = layer.forward(&x).unwrap();
                let dy = dy.slice(s![alone.clone(), .., .., ..]);
                let dx_alone = layer.backward(&x, &dy).unwrap().x.unwrap();
                let what = format!("{name}, {composition:?}, image {image}");
                assert!(y_alone == y.slice(s![alone.clone(), .., .., ..]), "y of {what}");
                assert!(dx_alone == dx.slice(s![alone, .., .., ..]), "dx of {what}");
            }
        }
    }
}

#[test]
fn a_folded_layer_gives_the_bits_of_kernel_composition() {
    for (name, problem) in problems() {
        let inputs = inputs(&problem);
        let layer: DoConv2d<f32> = problem.layer(&inputs, Composition::Kernel);
        let x = inputs.x.mapv(|x| x as f32);
        let (trained, folded) = (layer.forward(&x).unwrap(), layer.fold().forward(&x).unwrap());
        assert_eq!(layer.fold().weight(), layer.weight());
        for (trained, folded) in trained.iter().zip(&folded) {
            assert_eq!(trained.to_bits(), folded.to_bits(), "{name}");
        }
    }
}

#[test]
fn buffers_are_overwritten() {
    for (name, problem) in problems() {
        let inputs = inputs(&problem);
        for composition in problem.compositions() {
            let layer: DoConv2d<f32> = problem.layer(&inputs, composition);
            let (x, dy) = (inputs.x.mapv(|x| x as f32), inputs.dy.mapv(|dy| dy as f32));
            let y = layer.forward(&x).unwrap();
            let mut y_into = Array4::from_elem(y.raw_dim(), f32::NAN);
            layer.forward_into(&x, &mut y_into).unwrap();
            assert_eq!(y_into, y, "{name}, {composition:?}");

            let gradients = layer.backward(&x, &dy).unwrap();
            let mut into = layer.gradients(Some(x.dim().into())).unwrap();
            fill(&mut into, f32::NAN);
            layer.backward_into(&x, &dy, into.view_mut()).unwrap();
            assert_eq!(into, gradients, "{name}, {composition:?}");

            let folded = layer.fold();
            y_into.fill(f32::NAN);
            folded.forward_into(&x, &mut y_into).unwrap();
            let plain = folded.backward(&x, &dy).unwrap();
            let mut plain_into = folded.gradients(Some(x.dim().into())).unwrap();
            fill_conv(&mut plain_into, f32::NAN);
            folded.backward_into(&x, &dy, plain_into.view_mut()).unwrap();
            assert_eq!(plain_into, plain, "{name}");
            assert!(y_into.iter().all(|value| value.is_finite()), "{name}");
        }
    }
}

#[test]
fn without_the_gradient_of_the_input_the_others_are_the_same() {
    for (name, problem) in problems() {
        let inputs = inputs(&problem);
        for composition in problem.compositions() {
            let layer: DoConv2d<f32> = problem.layer(&inputs, composition);
            let (x, dy) = (inputs.x.mapv(|x| x as f32), inputs.dy.mapv(|dy| dy as f32));
            let all = layer.backward(&x, &dy).unwrap();
            let mut some = layer.gradients(None).unwrap();
            layer.backward_into(&x, &dy, some.view_mut()).unwrap();
            assert_eq!(some, DoConv2dGradients { x: None, ..all }, "{name}, {composition:?}");
        }
    }
}

#[test]
fn strides_do_not_change_bits() {
    for (name, problem) in problems() {
        let inputs = inputs(&problem);
        for composition in problem.compositions() {
            let layer: DoConv2d<f32> = problem.layer(&inputs, composition);
            let (x, dy) = (inputs.x.mapv(|x| x as f32), inputs.dy.mapv(|dy| dy as f32));
            let y = layer.forward(&x).unwrap();
            let gradients = layer.backward(&x, &dy).unwrap();

            // The same elements: channels last, rows and columns reversed, every second element.
            let mut channels_last =
                x.clone().permuted_axes([0, 2, 3, 1]).as_standard_layout().into_owned();
            channels_last = channels_last.permuted_axes([0, 3, 1, 2]);
            let mut reversed = x.slice(s![.., .., ..;-1, ..;-1]).as_standard_layout().into_owned();
            reversed.invert_axis(Axis(2));
            reversed.invert_axis(Axis(3));
            let [batch, channels, rows, cols] = x.dim().into();
            let mut sparse = Array4::from_elem((batch, channels, rows, 2 * cols), f32::NAN);
            sparse.slice_mut(s![.., .., .., ..;2]).assign(&x);
            let sparse = sparse.slice(s![.., .., .., ..;2]);
            for (layout, view) in [
                ("channels last", channels_last.view()),
                ("reversed", reversed.view()),
                ("sparse", sparse),
            ] {
                let what = format!("{name}, {composition:?}, {layout}");
                assert_eq!(view, x, "{what}");
                let y_view = layer.forward(&view).unwrap();
                assert_eq!(y_view, y, "{what}");
                let dy_view = dy.view().reversed_axes();
                let dy_view = dy_view.as_standard_layout().into_owned().reversed_axes();
                assert_eq!(layer.backward(&view, &dy_view).unwrap(), gradients, "{what}");
            }

            // Outputs of other strides.
            let mut wide = Array4::from_elem((y.dim().0, y.dim().1, y.dim().2, 2 * y.dim().3), 0.5);
            layer.forward_into(&x, &mut wide.slice_mut(s![.., .., .., ..;2])).unwrap();
            assert_eq!(wide.slice(s![.., .., .., ..;2]), y, "{name}, {composition:?}");
            let between = wide.slice(s![.., .., .., 1..;2]);
            assert!(between.iter().all(|&value| value == 0.5), "{name}, {composition:?}");
        }
    }
}

#[test]
fn one_layer_serves_many_threads_from_its_first_pass_on() {
    // Enough weights that they are packed by all threads, while these wait for them.
    let config = Conv2dConfig::new(256, 256, [3, 3]).padding(1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(8).build().unwrap();
    let x = Array4::<f32>::ones((1, 256, 2, 2));
    for seed in 0..100 {
        let conv: Conv2d<f32> = config.clone().init(seed).unwrap();
        let expected = conv.clone().forward(&x).unwrap();
        let outputs: Vec<_> =
            pool.install(|| (0..32).into_par_iter().map(|_| conv.forward(&x).unwrap()).collect());
        assert!(outputs.iter().all(|y| *y == expected));
    }
}
