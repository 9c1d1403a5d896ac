//! Inputs at the edge of what is possible, which must work. Most are made of small whole numbers,
//! whose sums are exact in `f32`, so results must equal the oracle's.

use do_conv::{
    Composition, Conv2d, Conv2dGradients, DoConv2d, DoConv2dConfig, DoConv2dGradients,
    DoConv2dGradientsMut, PaddingMode,
};
use ndarray::{Array, Array1, Array3, Array4, ArrayView, ArrayView3, Axis, Dimension, Slice, s};

use super::{MAX, SENTINEL};
use crate::common::{Numbers, Outputs, Problem, assert_within, oracle};

/// 2 images of 4 channels of 4×5 pixels to 6 channels by 3×2 taps in 2 groups.
fn grouped() -> Problem {
    Problem { groups: 2, image: [4, 5], kernel_size: [3, 2], d_mul: 7, ..Problem::DENSE }
}

/// The same in one group, in two, depthwise with and without a multiplier, and by a 1×1 kernel.
fn variants() -> [Problem; 5] {
    [
        Problem { groups: 1, ..grouped() },
        grouped(),
        Problem { groups: 4, out_channels: 8, ..grouped() },
        Problem { groups: 4, out_channels: 4, ..grouped() },
        Problem { kernel_size: [1, 1], d_mul: 1, ..grouped() },
    ]
}

/// Asserts that the crate solves `problem` exactly, plain and over-parameterized.
#[track_caller]
fn exact(problem: &Problem) {
    let mut numbers = Numbers::new(1);
    let inputs = problem.inputs(|| numbers.integer(3));
    let expected = oracle::solve(problem, &inputs);
    let check = |what: &str, got: &Outputs| {
        assert_within(&format!("{problem:?}, {what}"), got, &expected, &expected, |_| 0.0);
    };
    for composition in problem.compositions() {
        check("f32", &problem.solve::<f32>(&inputs, composition));
        check("f64", &problem.solve::<f64>(&inputs, composition));
    }

    // The plain layer, by the oracle's kernel; its kernel's gradient is the gradient of W under the
    // identity.
    let taps = problem.taps();
    let plain = Problem { d_mul: taps, ..problem.clone() };
    let mut inputs = plain.inputs(|| numbers.integer(3));
    if let Some(d_offset) = &mut inputs.d_offset {
        d_offset.fill(0.0);
    }
    let expected = oracle::solve(&plain, &inputs);
    let [rows, cols] = plain.kernel_size;
    let shape = (plain.out_channels, plain.group_inputs(), rows, cols);
    let weight = inputs.w.mapv(|w| w as f32).into_shape_with_order(shape).unwrap();
    let bias = inputs.bias.as_ref().map(|bias| bias.mapv(|b| b as f32));
    let config = plain.config(Composition::Kernel).conv;
    let conv = Conv2d::from_parameters(config, weight, bias).unwrap();
    let (x, dy) = (inputs.x.mapv(|x| x as f32), inputs.dy.mapv(|dy| dy as f32));
    let gradients = conv.backward(&x, &dy).unwrap();
    let wide = |array: Array4<f32>| array.mapv(f64::from);
    let dw = wide(gradients.weight).into_shape_with_order(inputs.w.raw_dim()).unwrap();
    let mut got = vec![
        ("y", wide(conv.forward(&x).unwrap()).into_dyn()),
        ("dx", wide(gradients.x.unwrap()).into_dyn()),
        ("dw", dw.into_dyn()),
    ];
    got.extend(gradients.bias.map(|db| ("dbias", db.mapv(f64::from).into_dyn())));
    let expected: Outputs =
        expected.into_iter().filter(|(name, _)| !matches!(*name, "kernel" | "dd_offset")).collect();
    assert_within(&format!("{plain:?}, plain"), &got, &expected, &expected, |_| 0.0);
}

#[test]
fn empty_batches() {
    let modes =
        [PaddingMode::Zeros, PaddingMode::Reflect, PaddingMode::Replicate, PaddingMode::Circular];
    for problem in variants() {
        for mode in modes {
            exact(&Problem { batch: 0, mode, padding: [[1, 2], [2, 1]], ..problem.clone() });
        }
    }
}

#[test]
fn images_without_rows_or_columns() {
    for problem in variants() {
        for image in [[0, 5], [4, 0], [0, 0]] {
            let problem = Problem { image, padding: [[2, 1], [1, 2]], ..problem.clone() };
            exact(&problem);
            let layer: DoConv2d<f32> = problem.config(Composition::Kernel).init(0).unwrap();
            let x = Array4::zeros((1, problem.in_channels, image[0], image[1]));
            let y = layer.forward(&x).unwrap();
            assert!(!y.is_empty());
            for ((_, o, ..), &y) in y.indexed_iter() {
                assert_eq!(y, layer.bias().unwrap()[o]);
            }
        }
    }
}

#[test]
fn outputs_made_of_padding() {
    for problem in variants() {
        for (padding, stride) in [
            ([[5, 4], [3, 6]], [1, 1]),
            ([[9, 0], [0, 0]], [1, 1]),
            // Every output but one column reads nothing else.
            ([[7, 9], [11, 8]], [20, 6]),
        ] {
            exact(&Problem { padding, stride, ..problem.clone() });
        }
    }
}

#[test]
fn strides_that_lead_past_the_end_or_leave_a_remainder() {
    for problem in variants() {
        for padding in [[[0, 0], [0, 0]], [[1, 0], [0, 2]]] {
            for stride in [[2, 2], [3, 2], [1, 4], [4, 5], [7, 9], [1, MAX], [MAX, MAX / 2]] {
                exact(&Problem { padding, stride, ..problem.clone() });
            }
        }
    }
}

#[test]
fn as_much_padding_as_a_mode_can_read() {
    for problem in variants() {
        for (mode, padding, image) in [
            (PaddingMode::Reflect, [[3, 3], [4, 4]], [4, 5]),
            (PaddingMode::Circular, [[4, 4], [5, 5]], [4, 5]),
            (PaddingMode::Replicate, [[7, 8], [9, 6]], [1, 1]),
            (PaddingMode::Reflect, [[0, 0], [1, 0]], [3, 2]),
            (PaddingMode::Circular, [[1, 1], [1, 1]], [1, 1]),
        ] {
            for stride in [[1, 1], [2, 3]] {
                exact(&Problem { mode, padding, image, stride, ..problem.clone() });
            }
        }
    }
}

#[test]
fn any_dilation_of_a_single_tap() {
    let problem = Problem { kernel_size: [1, 1], d_mul: 1, ..grouped() };
    let layer = |dilation: [usize; 2]| {
        let config = problem.config(Composition::Kernel).dilation(dilation);
        config.init::<f32>(0).unwrap()
    };
    let x = Array4::ones((1, 4, 4, 5));
    let y = layer([MAX, MAX]).forward(&x).unwrap();
    assert_eq!(y, layer([1, 1]).forward(&x).unwrap());
}

/// A 2×2 kernel with a pixel far in the padding on each axis: a 1×1 image, dilated by `far`.
#[test]
fn padding_and_dilation_of_half_the_address_space() {
    let far = isize::MAX as usize / 4;
    for (inputs, outputs, groups) in [(1, 1, 1), (2, 2, 2), (4, 2, 2)] {
        for composition in [Composition::Kernel, Composition::Feature] {
            for (mode, taps_read) in [(PaddingMode::Zeros, 1), (PaddingMode::Replicate, 4)] {
                let config = DoConv2dConfig::new(inputs, outputs, [2, 2])
                    .groups(groups)
                    .dilation([far, far])
                    .padding([[0, far], [0, far]])
                    .padding_mode(mode)
                    .composition(composition);
                let n = inputs / groups;
                // Taps 1, 2, 3 and 4, and the identity.
                let w = Array3::from_shape_fn((outputs, n, 4), |(_, _, s)| s as f32 + 1.0);
                let d_offset = Some(Array3::zeros((inputs, 4, 4)));
                let bias = Some(Array1::from_elem(outputs, 0.5));
                let layer = DoConv2d::from_parameters(config, d_offset, w, bias).unwrap();
                let x = Array4::from_elem((1, inputs, 1, 1), 2.0);
                let y = layer.forward(&x).unwrap();
                let sum: f32 = (1..=taps_read).map(|tap| tap as f32).sum();
                assert_eq!(y, Array4::from_elem((1, outputs, 1, 1), 0.5 + n as f32 * 2.0 * sum));

                let gradients = layer.backward(&x, &Array4::ones(y.raw_dim())).unwrap();
                let dx = sum * (outputs / groups) as f32;
                assert_eq!(gradients.x, Some(Array4::from_elem(x.raw_dim(), dx)));
                let dw = |(_, _, s)| if s < taps_read { 2.0 } else { 0.0 };
                assert_eq!(gradients.w, Array3::from_shape_fn(layer.w().raw_dim(), dw));
                assert_eq!(gradients.bias, Some(Array1::ones(outputs)));
                assert!(layer.check_fold(&layer.fold(), &x).unwrap().same_bits);
            }
        }
    }
}

/// Arrays equal to `array` that lie otherwise in memory: backwards, transposed, with gaps.
fn layouts<D: Dimension>(array: &Array<f32, D>) -> [Array<f32, D>; 3] {
    let ordered = |view: ArrayView<f32, D>| {
        Array::from_shape_vec(view.raw_dim(), view.iter().copied().collect()).unwrap()
    };
    let axes = || (0..array.ndim()).map(Axis);
    let mut mirrored = array.view();
    axes().for_each(|axis| mirrored.invert_axis(axis));
    let mut reversed = ordered(mirrored);
    axes().for_each(|axis| reversed.invert_axis(axis));

    let transposed = ordered(array.t()).reversed_axes();

    let last = Axis(array.ndim() - 1);
    let mut shape = array.raw_dim();
    shape[last.index()] *= 2;
    let mut spread = Array::from_elem(shape, f32::NAN);
    spread.slice_axis_inplace(last, Slice::new(0, None, 2));
    spread.assign(array);
    [reversed, transposed, spread]
}

fn bits<D: Dimension>(array: &Array<f32, D>) -> Array<u32, D> {
    array.mapv(f32::to_bits)
}

/// For each variant and composition: the layer, its inputs in `f32`, and its solution.
fn solved()
-> impl Iterator<Item = (DoConv2d<f32>, [Array4<f32>; 2], Array4<f32>, DoConv2dGradients<f32>)> {
    variants().into_iter().flat_map(|problem| {
        let mut numbers = Numbers::new(2);
        let inputs = problem.inputs(|| numbers.real());
        let [x, dy] = [&inputs.x, &inputs.dy].map(|array| array.mapv(|value| value as f32));
        problem.compositions().into_iter().map(move |composition| {
            let layer: DoConv2d<f32> = problem.layer(&inputs, composition);
            let y = layer.forward(&x).unwrap();
            let gradients = layer.backward(&x, &dy).unwrap();
            (layer, [x.clone(), dy.clone()], y, gradients)
        })
    })
}

#[test]
fn inputs_of_any_strides() {
    for (layer, [x, dy], y, gradients) in solved() {
        let conv = layer.fold();
        let plain = conv.forward(&x).unwrap();
        let plain_gradients = conv.backward(&x, &dy).unwrap();
        for (x, dy) in layouts(&x).into_iter().zip(layouts(&dy)) {
            assert_eq!(bits(&layer.forward(&x).unwrap()), bits(&y));
            assert_eq!(layer.backward(&x, &dy).unwrap(), gradients);
            assert!(layer.check_fold(&conv, &x).unwrap().same_bits);
            assert_eq!(bits(&conv.forward(&x).unwrap()), bits(&plain));
            assert_eq!(conv.backward(&x, &dy).unwrap(), plain_gradients);
        }
    }
}

#[test]
fn broadcast_inputs() {
    for (layer, [x, dy], ..) in solved() {
        let (image, gradient) = (x.slice(s![..1, .., ..1, ..]), dy.slice(s![..1, .., .., ..1]));
        let (x, dy) = (image.broadcast(x.dim()).unwrap(), gradient.broadcast(dy.dim()).unwrap());
        let (own_x, own_dy) = (x.to_owned(), dy.to_owned());
        let y = layer.forward(&x).unwrap();
        let own_y = layer.forward(&own_x).unwrap();
        assert_eq!(bits(&y), bits(&own_y));
        let own = layer.backward(&own_x, &own_dy).unwrap();
        assert_eq!(layer.backward(&x, &dy).unwrap(), own);
        let conv = layer.fold();
        assert_eq!(bits(&conv.forward(&x).unwrap()), bits(&conv.forward(&own_x).unwrap()));
        assert_eq!(conv.backward(&x, &dy).unwrap(), conv.backward(&own_x, &own_dy).unwrap());
    }
}

#[test]
fn outputs_and_gradients_of_any_strides() {
    for (layer, [x, dy], y, gradients) in solved() {
        let conv = layer.fold();
        let plain = conv.backward(&x, &dy).unwrap();
        let nan = |array: &Array4<f32>| Array4::from_elem(array.raw_dim(), f32::NAN);
        for (index, mut target) in layouts(&nan(&y)).into_iter().enumerate() {
            layer.forward_into(&x, &mut target).unwrap();
            assert_eq!(bits(&target), bits(&y));
            target.fill(f32::NAN);
            conv.forward_into(&x, &mut target).unwrap();
            assert_eq!(target, conv.forward(&x).unwrap());

            let zeros = layer.gradients(Some(x.dim().into())).unwrap();
            let mut target = layer.gradients(None).unwrap();
            target.x = Some(layouts(&nan(&x))[index].clone());
            target.w = layouts(&zeros.w)[index].clone();
            target.d_offset = zeros.d_offset.map(|d_offset| layouts(&d_offset)[index].clone());
            target.bias = zeros.bias.map(|bias| layouts(&bias)[index].clone());
            layer.backward_into(&x, &dy, target.view_mut()).unwrap();
            assert_eq!(target, gradients);

            let zeros = conv.gradients(Some(x.dim().into())).unwrap();
            let mut target = conv.gradients(None).unwrap();
            target.x = Some(layouts(&nan(&x))[index].clone());
            target.weight = layouts(&zeros.weight)[index].clone();
            target.bias = zeros.bias.map(|bias| layouts(&bias)[index].clone());
            conv.backward_into(&x, &dy, target.view_mut()).unwrap();
            assert_eq!(target, plain);
        }
    }
}

#[test]
fn nothing_is_written_between_the_elements_of_a_view() {
    for (layer, [x, _], y, _) in solved() {
        let (b, o, h, w) = y.dim();
        let mut wide = Array4::from_elem((b, o, h, 2 * w), SENTINEL);
        layer.forward_into(&x, &mut wide.slice_mut(s![.., .., .., ..;2])).unwrap();
        assert_eq!(wide.slice(s![.., .., .., ..;2]), y);
        assert!(wide.slice(s![.., .., .., 1..;2]).iter().all(|&gap| gap == SENTINEL));
    }
}

#[test]
fn gradients_of_the_parameters_alone() {
    for (layer, [x, dy], _, gradients) in solved() {
        let mut alone = layer.gradients(None).unwrap();
        layer.backward_into(&x, &dy, alone.view_mut()).unwrap();
        assert_eq!(alone, DoConv2dGradients { x: None, ..gradients });

        let conv = layer.fold();
        let mut alone = conv.gradients(None).unwrap();
        conv.backward_into(&x, &dy, alone.view_mut()).unwrap();
        let all = conv.backward(&x, &dy).unwrap();
        assert_eq!(alone, Conv2dGradients { x: None, ..all });
    }
}

#[test]
fn gradients_that_are_wanted_are_the_same_alone() {
    for (layer, [x, dy], _, gradients) in solved() {
        let d_shape = gradients.d_offset.as_ref().map(|d_offset| d_offset.raw_dim());
        for wanted in 0..16 {
            let wants = |bit: usize| wanted >> bit & 1 == 1;
            let mut dx = wants(0).then(|| Array4::from_elem(x.raw_dim(), SENTINEL));
            let mut dw = wants(1).then(|| Array3::from_elem(gradients.w.raw_dim(), SENTINEL));
            let dd = d_shape.filter(|_| wants(2));
            let mut dd = dd.map(|shape| Array3::from_elem(shape, SENTINEL));
            let db = gradients.bias.as_ref().filter(|_| wants(3));
            let mut db = db.map(|bias| Array1::from_elem(bias.raw_dim(), SENTINEL));
            let places = DoConv2dGradientsMut {
                x: dx.as_mut().map(|dx| dx.view_mut()),
                w: dw.as_mut().map(|dw| dw.view_mut()),
                d_offset: dd.as_mut().map(|dd| dd.view_mut()),
                bias: db.as_mut().map(|db| db.view_mut()),
            };
            layer.backward_into(&x, &dy, places).unwrap();
            assert!(dx.is_none() || dx == gradients.x);
            assert!(dw.is_none_or(|dw| dw == gradients.w));
            assert!(dd.is_none() || dd == gradients.d_offset);
            assert!(db.is_none() || db == gradients.bias);
        }
    }
}

#[test]
fn parameters_of_any_strides() {
    for (layer, [x, _], y, _) in solved() {
        let owned = |view: ArrayView3<f32>| view.to_owned();
        let (w, d_offset) = (owned(layer.w()), layer.d_offset().map(owned));
        let bias = layer.bias().map(|bias| bias.to_owned());
        for (index, w) in layouts(&w).into_iter().enumerate() {
            let d_offset = d_offset.as_ref().map(|d_offset| layouts(d_offset)[index].clone());
            let bias = bias.as_ref().map(|bias| layouts(bias)[index].clone());
            let config = layer.config().clone();
            let made = DoConv2d::from_parameters(config, d_offset, w, bias).unwrap();
            assert_eq!(made, layer);
            assert!(made.parameters().eq(layer.parameters()));
            assert_eq!(bits(&made.forward(&x).unwrap()), bits(&y));
        }
        let conv = layer.fold();
        for weight in layouts(&conv.weight().to_owned()) {
            let config = conv.config().clone();
            let bias = conv.bias().map(|bias| bias.to_owned());
            let made = Conv2d::from_parameters(config, weight, bias).unwrap();
            assert_eq!(made, conv);
            assert!(made.parameters().eq(conv.parameters()));
        }
    }
}
