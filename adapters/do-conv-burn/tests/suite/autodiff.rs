//! The engine's operations in burn's autodiff: which gradients are computed, from tensors however they lie, with
//! and without checkpoints of the graph.

use std::thread;

use crate::common::{array, device};
use burn::module::{Module, Param};
use burn::nn::PaddingConfig2d;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Gradients, Shape, Tensor, TensorData};
use do_conv_burn::{Algorithm, Conv2d, Conv2dConfig, DoConv2d, DoConv2dConfig};
use ndarray::ArrayD;

/// Numbers between -1 and 1, the same every time.
fn wave<const N: usize>(shape: [usize; N], device: &Device) -> Tensor<N> {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|index| (index as f32 * 1.7).sin()).collect();
    Tensor::from_data(TensorData::new(values, Shape::from(shape)), device)
}

fn parameter<const N: usize>(shape: [usize; N], device: &Device) -> Param<Tensor<N>> {
    Param::from_tensor(wave(shape, device) * 0.3)
}

fn layer(device: &Device) -> DoConv2d {
    let config = DoConv2dConfig::new([4, 6], [3, 2]).with_groups(2).with_d_mul(Some(7));
    let mut layer = config.with_padding(PaddingConfig2d::Same).init(device);
    layer.W = parameter([6, 2, 7], device);
    layer.D = Some(parameter([4, 6, 7], device));
    layer.bias = Some(parameter([6], device));
    layer
}

fn head(device: &Device) -> Conv2d {
    let mut head = Conv2dConfig::new([6, 4], [1, 1]).with_bias(false).init(device);
    head.weight = parameter([4, 6, 1, 1], device);
    head
}

/// The gradients of `W`, `D` and the bias, those that there are.
fn of_parameters(layer: &DoConv2d, gradients: &Gradients) -> [Option<ArrayD<f64>>; 3] {
    let d_offset = layer.D.as_ref().unwrap().val();
    let bias = layer.bias.as_ref().unwrap().val();
    [
        layer.W.val().grad(gradients).as_ref().map(array),
        d_offset.grad(gradients).as_ref().map(array),
        bias.grad(gradients).as_ref().map(array),
    ]
}

/// Each alone has the bits that it has with the others.
#[test]
fn frozen_parameters_have_no_gradient_and_others_keep_theirs() {
    let layer = layer(&device());
    let x = wave([2, 4, 7, 6], &device());
    let dy = wave([2, 6, 7, 6], &device());
    let all = (layer.forward(x.clone()) * dy.clone()).sum().backward();
    let all = of_parameters(&layer, &all);
    assert!(all.iter().all(Option::is_some));
    for trained in 0..8 {
        let is_trained = |index: usize| trained >> index & 1 == 1;
        let mut some = layer.clone();
        some.W = some.W.set_require_grad(is_trained(0));
        some.D = some.D.map(|d_offset| d_offset.set_require_grad(is_trained(1)));
        some.bias = some.bias.map(|bias| bias.set_require_grad(is_trained(2)));
        for with_x in [true, false] {
            if !with_x && trained == 0 {
                continue;
            }
            let x = x.clone().detach().set_require_grad(with_x);
            let gradients = (some.forward(x.clone()) * dy.clone()).sum().backward();
            assert_eq!(x.grad(&gradients).is_some(), with_x);
            let got = of_parameters(&some, &gradients);
            for (index, (got, all)) in got.iter().zip(&all).enumerate() {
                let expected = all.as_ref().filter(|_| is_trained(index));
                assert_eq!(got.as_ref(), expected, "trained {trained:b}, parameter {index}");
            }
        }
    }
}

#[test]
fn nothing_is_tracked_without_autodiff() {
    let layer = layer(&device());
    let x = wave([2, 4, 7, 6], &device());
    let y = layer.forward(x.clone());
    let valid = layer.valid();
    let plain = valid.forward(x.clone().without_autodiff());
    assert!(!plain.is_autodiff());
    assert_eq!(array(&plain), array(&y));
    assert_eq!(array(&valid.fold_for_cpu().forward(x.without_autodiff())), array(&y));
}

/// Autodiff may be on for the images alone, or for the parameters alone.
#[test]
fn images_and_parameters_may_differ_in_autodiff() {
    let trained = layer(&device());
    let frozen = trained.clone().valid();
    let x = wave([2, 4, 7, 6], &device());
    let tracked = x.clone().require_grad();
    let y = trained.forward(x.clone());
    let of_plain_images = trained.forward(x.clone().without_autodiff());
    assert_eq!(array(&of_plain_images), array(&y));
    let gradients = of_plain_images.sum().backward();
    assert!(of_parameters(&trained, &gradients).iter().all(Option::is_some));
    let of_plain_parameters = frozen.forward(tracked.clone());
    assert_eq!(array(&of_plain_parameters), array(&y));
    let gradients = of_plain_parameters.sum().backward();
    assert!(tracked.grad(&gradients).is_some());
}

/// A net of two layers and one that is used twice, so that gradients add up.
fn outputs_and_gradients(layer: &DoConv2d, head: &Conv2d, x: Tensor<4>) -> Vec<ArrayD<f64>> {
    let x = x.require_grad();
    let hidden = relu(head.forward(relu(layer.forward(x.clone()))));
    let y = layer.forward(hidden) + layer.forward(x.clone() * 0.5);
    let gradients = y.clone().square().mean().backward();
    let mut all = vec![array(&y), array(&x.grad(&gradients).unwrap())];
    all.extend(of_parameters(layer, &gradients).into_iter().flatten());
    all.push(array(&head.weight.val().grad(&gradients).unwrap()));
    all
}

#[test]
fn a_checkpointed_graph_gives_the_same_bits() {
    let solve = |device: &Device| {
        outputs_and_gradients(&layer(device), &head(device), wave([2, 4, 7, 6], device))
    };
    let plain = solve(&device());
    assert_eq!(plain.len(), 6);
    assert_eq!(solve(&device().gradient_checkpointing()), plain);
}

/// Views of other tensors have the bits of copies of them.
#[test]
fn tensors_may_lie_in_any_order() {
    let device = device();
    let mut layer = layer(&device);
    let w = wave([7, 2, 6], &device).permute([2, 1, 0]);
    layer.W = Param::from_tensor(w);
    let d_offset = wave([8, 6, 7], &device).slice([2..6, 0..6, 0..7]);
    layer.D = Some(Param::from_tensor(d_offset));
    let permuted = wave([2, 7, 6, 4], &device).permute([0, 3, 1, 2]);
    let part = wave([3, 5, 9, 6], &device).slice([1..3, 1..5, 1..8, 0..6]);
    let flipped = wave([2, 4, 7, 6], &device).flip([3]);
    let broadcast = wave([1, 4, 7, 1], &device).expand([2, 4, 7, 6]);
    for (what, x) in
        [("permuted", permuted), ("part", part), ("flipped", flipped), ("broadcast", broadcast)]
    {
        // As it is after a layer that ends in a permutation.
        let dy = wave([2, 6, 7, 6], &device).permute([0, 3, 2, 1]);
        let solve = |x: Tensor<4>, dy: Tensor<4>| {
            let x = x.detach().require_grad();
            let y = layer.forward(x.clone());
            let gradients = (y.clone() * dy).sum().backward();
            let mut all = vec![array(&y), array(&x.grad(&gradients).unwrap())];
            all.extend(of_parameters(&layer, &gradients).into_iter().flatten());
            all
        };
        let copy = |tensor: &Tensor<4>| Tensor::from_data(tensor.to_data(), &device);
        assert_eq!(solve(x.clone(), dy.clone()), solve(copy(&x), copy(&dy)), "{what}");
    }
}

/// A gradient of all ones is one number, repeated.
#[test]
fn gradients_that_are_broadcast() {
    let device = device();
    let layer = layer(&device);
    let x = wave([2, 4, 7, 6], &device).require_grad();
    let gradients = layer.forward(x.clone()).sum().backward();
    let ones = (layer.forward(x.clone()) * Tensor::ones([2, 6, 7, 6], &device)).sum().backward();
    assert_eq!(of_parameters(&layer, &gradients), of_parameters(&layer, &ones));
    assert_eq!(array(&x.grad(&gradients).unwrap()), array(&x.grad(&ones).unwrap()));
}

/// burn's `Same` depends on the image where there is a stride: one layer sees images of several sizes, in
/// turn, and from several threads.
#[test]
fn images_of_any_size_and_several_threads_at_once() {
    let device = device();
    let config = DoConv2dConfig::new([4, 6], [3, 2]).with_stride([2, 3]);
    let config = config.with_padding(PaddingConfig2d::Same).with_algorithm(Algorithm::Winograd4);
    let layer = config.init(&device);
    let solve = |size: usize| {
        let x = wave([2, 4, size, size + 1], &device);
        array(&layer.forward(x))
    };
    let expected: Vec<_> = (5..9).map(solve).collect();
    let burns =
        config.with_cpu_engine(false).init(&device).load_record(layer.clone().into_record());
    for (size, expected) in (5..9).zip(&expected) {
        let y = array(&burns.forward(wave([2, 4, size, size + 1], &device)));
        let apart = (y - expected).mapv(f64::abs);
        assert!(apart.iter().all(|&apart| apart < 1e-5), "{size}");
    }
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (solve, expected) = (&solve, &expected);
                scope.spawn(move || {
                    for round in 0..20 {
                        let index = (thread + round) % 4;
                        assert_eq!(solve(5 + index), expected[index]);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn nothing_comes_of_no_images() {
    let device = device();
    let layer = layer(&device);
    let x = wave([0, 4, 7, 6], &device).require_grad();
    let y = layer.forward(x.clone());
    assert_eq!(y.dims(), [0, 6, 7, 6]);
    let gradients = y.sum().backward();
    assert_eq!(x.grad(&gradients).unwrap().dims(), [0, 4, 7, 6]);
    let of_parameters = of_parameters(&layer, &gradients);
    let zeros = of_parameters.iter().flatten().flatten().all(|&value| value == 0.0);
    assert!(zeros && of_parameters.iter().all(Option::is_some));
}
