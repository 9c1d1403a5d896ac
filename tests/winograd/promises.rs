//! Promises about bits, as `tests/determinism.rs` has them of the direct sum.

use do_conv::{Algorithm, Composition, Conv2d, Conv2dConfig, DoConv2d};
use ndarray::{Array4, Axis, s};

use crate::common::{Numbers, Problem, fill, fill_conv};
use crate::{WINOGRAD, inputs, layer, problems};

/// The bits of every output and gradient of a layer, then of its fold.
fn solution(layer: &DoConv2d<f32>, x: &Array4<f32>, dy: &Array4<f32>) -> Vec<Vec<u32>> {
    fn bits<'a>(values: impl IntoIterator<Item = &'a f32>) -> Vec<u32> {
        values.into_iter().map(|value| value.to_bits()).collect()
    }
    let (y, gradients) = (layer.forward(x).unwrap(), layer.backward(x, dy).unwrap());
    let mut all = vec![bits(&y), bits(&gradients.x.unwrap()), bits(&gradients.w)];
    all.extend(gradients.d_offset.iter().map(bits));
    let conv = layer.fold();
    let gradients = conv.backward(x, dy).unwrap();
    all.extend([bits(&conv.forward(x).unwrap()), bits(&gradients.weight)]);
    all.push(bits(&gradients.x.unwrap()));
    all
}

/// For each kind of layer and both algorithms, what `f` does with the layer, `x` and `dy`.
fn each(f: impl Fn(&str, &Problem, &DoConv2d<f32>, &Array4<f32>, &Array4<f32>)) {
    for (name, problem) in problems() {
        let inputs = inputs(&problem);
        let (x, dy) = (inputs.x.mapv(|x| x as f32), inputs.dy.mapv(|dy| dy as f32));
        for algorithm in WINOGRAD {
            let what = format!("{name}, {algorithm}");
            let layer = layer(&problem, &inputs, algorithm, Composition::Kernel);
            f(&what, &problem, &layer, &x, &dy);
        }
    }
}

#[test]
fn threads_do_not_change_bits() {
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let pools: Vec<_> = [1, 2, 3, 8].into_iter().map(pool).collect();
    each(|what, _, layer, x, dy| {
        let mut solutions = pools.iter().map(|pool| pool.install(|| solution(layer, x, dy)));
        let first = solutions.next().unwrap();
        for solution in solutions {
            assert!(solution == first, "{what}");
        }
    });
}

#[test]
fn an_image_alone_gives_the_same_bits_as_in_a_batch() {
    each(|what, problem, layer, x, dy| {
        let conv = layer.fold();
        let (y, dx) = (conv.forward(x).unwrap(), conv.backward(x, dy).unwrap().x.unwrap());
        for image in 0..problem.batch {
            let alone = s![image..image + 1, .., .., ..];
            let (x, dy) = (x.slice(alone), dy.slice(alone));
            for (y_alone, dx_alone) in [
                (layer.forward(&x).unwrap(), layer.backward(&x, &dy).unwrap().x.unwrap()),
                (conv.forward(&x).unwrap(), conv.backward(&x, &dy).unwrap().x.unwrap()),
            ] {
                assert!(y_alone == y.slice(alone), "y of {what}, image {image}");
                assert!(dx_alone == dx.slice(alone), "dx of {what}, image {image}");
            }
        }
    });
}

#[test]
fn a_folded_layer_has_its_sources_bits_and_gradients_are_those_of_both_compositions() {
    each(|what, problem, layer, x, dy| {
        let conv = layer.fold();
        let y = layer.forward(x).unwrap();
        let gradients = layer.backward(x, dy).unwrap();
        let bits = |array: &Array4<f32>| array.mapv(f32::to_bits);
        assert_eq!(bits(&conv.forward(x).unwrap()), bits(&y), "{what}");
        let of_fold = conv.backward(x, dy).unwrap();
        assert_eq!(of_fold.x, gradients.x, "{what}");
        if problem.has_feature_composition() {
            let mut by_feature = layer.clone();
            by_feature.set_composition(Composition::Feature).unwrap();
            assert_eq!(by_feature.backward(x, dy).unwrap(), gradients, "{what}");
            // Features are summed directly.
            let algorithm = by_feature.algorithm(x.dim().into()).unwrap();
            assert_eq!(algorithm, Algorithm::Direct, "{what}");
            let direct = problem.config(Composition::Feature).algorithm(Algorithm::Direct);
            let (d_offset, w) = (layer.d_offset().map(|d| d.to_owned()), layer.w().to_owned());
            let bias = layer.bias().map(|bias| bias.to_owned());
            let direct = DoConv2d::from_parameters(direct, d_offset, w, bias).unwrap();
            assert_eq!(by_feature.forward(x).unwrap(), direct.forward(x).unwrap(), "{what}");
        }
    });
}

#[test]
fn buffers_are_overwritten_whatever_they_held() {
    each(|what, _, layer, x, dy| {
        let conv = layer.fold();
        let (y, gradients) = (layer.forward(x).unwrap(), layer.backward(x, dy).unwrap());
        let of_fold = conv.backward(x, dy).unwrap();
        // Not-a-numbers in all buffers that the layers keep.
        let (bad_x, bad_dy) = (x.mapv(|_| f32::NAN), dy.mapv(|_| f32::NAN));
        for layer in [&layer.clone(), layer] {
            layer.forward(&bad_x).unwrap();
            layer.backward(&bad_x, &bad_dy).unwrap();
            let mut y_into = Array4::from_elem(y.raw_dim(), f32::NAN);
            layer.forward_into(x, &mut y_into).unwrap();
            assert_eq!(y_into, y, "{what}");
            let mut into = layer.gradients(Some(x.dim().into())).unwrap();
            fill(&mut into, f32::NAN);
            layer.backward_into(x, dy, into.view_mut()).unwrap();
            assert_eq!(into, gradients, "{what}");
        }
        conv.forward(&bad_x).unwrap();
        conv.backward(&bad_x, &bad_dy).unwrap();
        let mut y_into = Array4::from_elem(y.raw_dim(), f32::NAN);
        conv.forward_into(x, &mut y_into).unwrap();
        assert_eq!(y_into, y, "{what}");
        let mut into = conv.gradients(Some(x.dim().into())).unwrap();
        fill_conv(&mut into, f32::NAN);
        conv.backward_into(x, dy, into.view_mut()).unwrap();
        assert_eq!(into, of_fold, "{what}");
        let mut some = layer.gradients(None).unwrap();
        layer.backward_into(x, dy, some.view_mut()).unwrap();
        assert_eq!((some.w, some.d_offset), (gradients.w, gradients.d_offset), "{what}");
    });
}

#[test]
fn strides_do_not_change_bits() {
    each(|what, _, layer, x, dy| {
        let (y, gradients) = (layer.forward(x).unwrap(), layer.backward(x, dy).unwrap());
        let mut reversed = x.slice(s![.., .., ..;-1, ..;-1]).as_standard_layout().into_owned();
        reversed.invert_axis(Axis(2));
        reversed.invert_axis(Axis(3));
        let turned = dy.view().reversed_axes().as_standard_layout().into_owned().reversed_axes();
        assert_eq!(layer.forward(&reversed).unwrap(), y, "{what}");
        assert_eq!(layer.backward(&reversed, &turned).unwrap(), gradients, "{what}");
    });
}

#[test]
fn images_that_are_too_small_are_direct_and_leave_others_as_they_were() {
    for algorithm in WINOGRAD {
        let config = Conv2dConfig::new(24, 32, [3, 3]).padding(1).algorithm(algorithm);
        let used: Conv2d<f32> = config.clone().init(4).unwrap();
        let direct: Conv2d<f32> = config.algorithm(Algorithm::Direct).init(4).unwrap();
        let mut numbers = Numbers::new(9);
        // Either kind first.
        for (used, sizes) in [
            (&used, [[9, 8], [1, 8], [6, 1], [9, 8], [1, 1], [2, 2]]),
            (&used.clone(), [[1, 8], [9, 8], [2, 2], [1, 8], [7, 5], [6, 1]]),
        ] {
            for [rows, cols] in sizes {
                let x = Array4::from_shape_simple_fn([2, 24, rows, cols], || numbers.real() as f32);
                let is_tiny = rows.min(cols) == 1;
                let expected = if is_tiny { Algorithm::Direct } else { algorithm };
                assert_eq!(used.algorithm(x.dim().into()).unwrap(), expected);
                let fresh = if is_tiny { direct.clone() } else { used.clone() };
                let y = used.forward(&x).unwrap();
                assert_eq!(y, fresh.forward(&x).unwrap(), "{rows}×{cols}");
                let (got, expected) =
                    (used.backward(&x, &y).unwrap(), fresh.backward(&x, &y).unwrap());
                assert_eq!(got, expected, "{rows}×{cols}");
            }
        }
    }
}

#[test]
fn an_empty_batch_has_no_outputs_and_gradients_of_zero() {
    for (name, problem) in problems() {
        let empty = Problem { batch: 0, ..problem.clone() };
        let inputs = inputs(&empty);
        let (x, dy) = (inputs.x.mapv(|x| x as f32), inputs.dy.mapv(|dy| dy as f32));
        for algorithm in WINOGRAD {
            let layer = layer::<f32>(&empty, &inputs, algorithm, Composition::Kernel);
            assert_eq!(layer.forward(&x).unwrap().dim(), dy.dim(), "{name}");
            let gradients = layer.fold().backward(&x, &dy).unwrap();
            assert_eq!(gradients.x.unwrap().dim(), x.dim(), "{name}");
            assert!(gradients.weight.iter().all(|&value| value == 0.0), "{name}");
        }
    }
}
