//! Where there is no room for what a call needs, it says so, and writes nothing.

use std::alloc::System;

use cap::Cap;
use do_conv::operator::{Compose, Convolve};
use do_conv::{
    Algorithm, Composition, Conv2dGradientsMut, DoConv2d, DoConv2dConfig, DoConv2dGradientsMut,
    ErrorKind, PaddingMode, Pairing, Result,
};
use ndarray::{Array4, ArrayBase, ArrayD, ArrayViewMut, Dimension, Ix4, RawData};
use rayon::ThreadPoolBuilder;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Bytes that lists of a few elements may take, and messages of errors.
const FLOOR: usize = 24 << 10;
const STEP: usize = 6 << 10;
/// What stands in an array before a call.
const UNTOUCHED: f32 = 12_345.0;

/// What `call` gives with `room` bytes left.
fn within<R>(room: usize, call: impl FnOnce() -> R) -> R {
    ALLOCATOR.set_limit(ALLOCATOR.allocated() + room).unwrap();
    let result = call();
    ALLOCATOR.set_limit(usize::MAX).unwrap();
    result
}

/// Writes to arrays.
type Call<'a> = Box<dyn FnOnce(&mut [ArrayD<f32>]) -> Result<()> + 'a>;

/// Calls with more and more room until there is enough; gives how often there wasn't. Each of what
/// `make` gives writes to arrays of these shapes, and has no buffers yet.
fn refusals<'a>(what: &str, make: &dyn Fn() -> Call<'a>, shapes: &[&[usize]]) -> usize {
    let untouched = |targets: &[ArrayD<f32>]| {
        targets.iter().flatten().filter(|&&value| value == UNTOUCHED).count()
    };
    let mut targets: Vec<_> =
        shapes.iter().map(|&shape| ArrayD::from_elem(shape, UNTOUCHED)).collect();
    let all = untouched(&targets);
    let mut count = 0;
    loop {
        let call = make();
        let outcome = within(FLOOR + count * STEP, || call(&mut targets));
        let Err(error) = outcome else { break };
        assert_eq!(error.kind, ErrorKind::Memory, "{what}");
        assert!(error.expected.starts_with("room for "), "{what}: {error}");
        assert_eq!(untouched(&targets), all, "{what}: {error}");
        count += 1;
    }
    assert_eq!(untouched(&targets), 0, "{what}");
    count
}

/// The array as one of its own rank.
fn view<D: Dimension>(array: &mut ArrayD<f32>) -> ArrayViewMut<'_, f32, D> {
    array.view_mut().into_dimensionality().unwrap()
}

fn layers() -> Vec<(DoConv2dConfig, [usize; 4])> {
    let layer = DoConv2dConfig::new;
    vec![
        (layer(24, 32, [3, 3]).padding(1), [2, 24, 20, 20]),
        (layer(24, 32, [3, 3]).padding(1).d_mul(12).stride([2, 2]), [2, 24, 20, 20]),
        (layer(12, 24, [3, 3]).padding(1).padding_mode(PaddingMode::Reflect), [2, 12, 20, 20]),
        (layer(48, 48, [3, 3]).padding(1).groups(48), [1, 48, 40, 40]),
        (
            layer(16, 32, [3, 3]).groups(16).padding(1).padding_mode(PaddingMode::Circular),
            [1, 16, 40, 40],
        ),
        (layer(32, 64, [3, 3]).groups(4).pairing(Pairing::PyTorch), [1, 32, 20, 20]),
        (layer(48, 64, [1, 1]), [2, 48, 16, 16]),
        (layer(2, 32, [7, 7]).padding(3), [2, 2, 40, 40]),
        (layer(32, 32, [3, 3]).padding(1), [30, 32, 2, 2]),
        (layer(24, 32, [3, 3]).padding(1).algorithm(Algorithm::Winograd2), [2, 24, 12, 11]),
        (layer(24, 32, [3, 3]).padding(1).algorithm(Algorithm::Winograd4), [2, 24, 20, 20]),
        (
            layer(32, 32, [3, 3])
                .padding(2)
                .dilation([2, 1])
                .padding_mode(PaddingMode::Reflect)
                .algorithm(Algorithm::Winograd4),
            [2, 32, 12, 13],
        ),
        // The transformed kernel never exists as a whole.
        (layer(176, 176, [3, 3]).padding(1).algorithm(Algorithm::Winograd4), [1, 176, 6, 6]),
    ]
}

#[test]
fn a_call_without_room_writes_nothing() {
    let pool = ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    // Threads have lists of their own, which are made once.
    pool.broadcast(|_| ());
    pool.install(refuse_without_room);
}

fn refuse_without_room() {
    let mut refused = [0; 8];
    for (config, input) in layers() {
        let what = format!("{config:?} {input:?}");
        let x = &Array4::<f32>::ones(input);
        let layer: &DoConv2d<f32> = &config.clone().init(1).unwrap();
        let conv = &layer.fold();
        let output = conv.output_shape(input).unwrap();
        let dy = &Array4::<f32>::ones(output);
        let bias = [config.conv.out_channels];
        let (weight, w, d_offset) = (conv.weight(), layer.w(), layer.d_offset());
        let d_shape = d_offset.as_ref().map_or(&[0][..], |d_offset| d_offset.shape());

        let forward = || -> Call {
            let conv = conv.clone();
            Box::new(move |y| conv.forward_into(x, &mut y[0]))
        };
        refused[0] += refusals(&what, &forward, &[&output]);
        let backward = || -> Call {
            let conv = conv.clone();
            Box::new(move |gradients| {
                let [dx, weight, bias] = gradients else { unreachable!() };
                let (x_gradient, bias) = (Some(view(dx)), Some(view(bias)));
                let gradients =
                    Conv2dGradientsMut { x: x_gradient, weight: Some(view(weight)), bias };
                conv.backward_into(x, dy, gradients)
            })
        };
        refused[1] += refusals(&what, &backward, &[&input, weight.shape(), &bias]);

        for (index, composition) in [(2, Composition::Kernel), (3, Composition::Feature)] {
            let mut layer = layer.clone();
            if layer.set_composition(composition).is_ok() {
                let forward = || -> Call {
                    let layer = layer.clone();
                    Box::new(move |y| layer.forward_into(x, &mut y[0]))
                };
                refused[index] += refusals(&what, &forward, &[&output]);
            }
        }
        let images = x;
        let backward = || -> Call {
            let layer = layer.clone();
            Box::new(move |gradients| {
                let [dx, w, d_offset, bias] = gradients else { unreachable!() };
                let (x, bias) = (Some(view(dx)), Some(view(bias)));
                let d_offset = layer.d_offset().map(|_| view(d_offset));
                let w = Some(view(w));
                layer.backward_into(images, dy, DoConv2dGradientsMut { x, w, d_offset, bias })
            })
        };
        refused[4] += refusals(&what, &backward, &[&input, w.shape(), d_shape, &bias]);

        // Arrays of the caller that don't lie in order are copied.
        let convolve: &Convolve<f32> = &Convolve::new(&config.conv).unwrap();
        let turned = |array: &Array4<f32>| {
            let turned = array.clone().permuted_axes([0, 1, 3, 2]);
            turned.as_standard_layout().into_owned()
        };
        let (x, dy) = (&turned(x), &turned(dy));
        let backward = || -> Call {
            let convolve = convolve.clone();
            Box::new(move |gradients| {
                let [dx, dweight] = gradients else { unreachable!() };
                let [dx, dweight] = [dx, dweight].map(|array| Some(turn(view(array))));
                let gradients = Conv2dGradientsMut { x: dx, weight: dweight, bias: None };
                convolve.backward_into(turn(x.view()), weight, turn(dy.view()), gradients)
            })
        };
        let turned = |[a, b, c, d]: [usize; 4]| [a, b, d, c];
        refused[5] += refusals(&what, &backward, &[&turned(input), &turned(weight.dim().into())]);

        let Some(d_offset) = d_offset else { continue };
        let compose: &Compose<f32> = &Compose::new(&config).unwrap();
        let forward = || -> Call {
            let compose = compose.clone();
            Box::new(move |composed| compose.forward_into(d_offset, w, view(&mut composed[0])))
        };
        refused[6] += refusals(&what, &forward, &[weight.shape()]);
        let backward = || -> Call {
            let compose = compose.clone();
            Box::new(move |gradients| {
                let [dd_offset, dw] = gradients else { unreachable!() };
                compose.backward_into(d_offset, w, weight, view(dd_offset), view(dw))
            })
        };
        refused[7] += refusals(&what, &backward, &[d_shape, w.shape()]);
    }
    println!("refused until there was room: {refused:?}");
    assert!(refused.iter().all(|&count| count > 0), "{refused:?}");
}

/// The same images with rows and columns exchanged.
fn turn<S: RawData>(images: ArrayBase<S, Ix4>) -> ArrayBase<S, Ix4> {
    images.permuted_axes([0, 1, 3, 2])
}
