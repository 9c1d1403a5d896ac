//! The operators compute what the layers do, with parameters that are lent.

mod common;

use common::{Inputs, Numbers, Problem, strategy, table};
use do_conv::operator::{Compose, Conv2dGradientsMut, Convolve, DoConv2dGradientsMut, DoConvolve};
use do_conv::{
    Algorithm, Composition, Conv2dConfig, DInit, DoConv2d, DoConv2dConfig, ErrorKind, Init,
    Pairing, Scalar,
};
use ndarray::{Array1, Array3, Array4, ShapeBuilder};
use proptest::prelude::*;

/// The outputs of the operators one after the other, in arrays whose axes lie in the other order.
struct Solution<T> {
    weight: Array4<T>,
    y: Array4<T>,
    dx: Array4<T>,
    dw: Array3<T>,
    dd_offset: Option<Array3<T>>,
    bias: Array1<T>,
}

fn solve<T: Scalar>(problem: &Problem, inputs: &Inputs) -> Solution<T> {
    let config = problem.config(Composition::Kernel);
    let convolve = Convolve::new(&config.conv).unwrap();
    let compose = (problem.taps() > 1).then(|| Compose::new(&config).unwrap());
    let (x, dy) = (inputs.x.mapv(T::round_from), inputs.dy.mapv(T::round_from));
    let w = inputs.w.mapv(T::round_from);
    let d_offset = inputs.d_offset.as_ref().map(|d_offset| d_offset.mapv(T::round_from));
    let bias = inputs.bias.as_ref().map(|bias| bias.mapv(T::round_from));

    let [rows, columns] = problem.kernel_size;
    let kernel = (problem.out_channels, problem.group_inputs(), rows, columns);
    let mut weight = Array4::from_elem(kernel.f(), T::nan());
    match (&compose, &d_offset) {
        (Some(compose), Some(d_offset)) => {
            assert_eq!(compose.weight_shape(), [kernel.0, kernel.1, kernel.2, kernel.3]);
            compose.forward_into(d_offset.view(), w.view(), weight.view_mut()).unwrap();
        }
        _ => weight.assign(&w.view().into_shape_with_order(kernel).unwrap()),
    }
    let shape = convolve.output_shape(x.dim().into()).unwrap();
    let mut y = Array4::from_elem(shape.f(), T::nan());
    let lent = bias.as_ref().map(|bias| bias.view());
    convolve.forward_into(x.view(), weight.view(), lent, y.view_mut()).unwrap();

    let mut dx = Array4::from_elem(x.raw_dim().f(), T::nan());
    let mut dweight = Array4::from_elem(weight.raw_dim().f(), T::nan());
    let mut db = Array1::from_elem(problem.out_channels, T::nan());
    let gradients = Conv2dGradientsMut {
        x: Some(dx.view_mut()),
        weight: Some(dweight.view_mut()),
        bias: Some(db.view_mut()),
    };
    convolve.backward_into(x.view(), weight.view(), dy.view(), gradients).unwrap();
    let mut dw = Array3::from_elem(w.raw_dim().f(), T::nan());
    let dd_offset = match (&compose, &d_offset) {
        (Some(compose), Some(d_offset)) => {
            let mut dd_offset = Array3::from_elem(d_offset.raw_dim().f(), T::nan());
            let (d_offset, w, dweight) = (d_offset.view(), w.view(), dweight.view());
            let (to_d, to_w) = (dd_offset.view_mut(), dw.view_mut());
            compose.backward_into(d_offset, w, dweight, to_d, to_w).unwrap();
            Some(dd_offset)
        }
        _ => {
            dw.assign(&dweight.as_standard_layout().into_shape_with_order(w.raw_dim()).unwrap());
            None
        }
    };
    Solution { weight, y, dx, dw, dd_offset, bias: db }
}

/// The same by the operator that is both at once, in the order of that composition.
fn solve_at_once<T: Scalar>(
    problem: &Problem,
    inputs: &Inputs,
    composition: Composition,
) -> Solution<T> {
    let both = DoConvolve::new(&problem.config(composition)).unwrap();
    // Axes in the other order.
    let (x, dy) = (inputs.x.mapv(T::round_from), inputs.dy.mapv(T::round_from));
    let reversed = |array: Array3<f64>| {
        let mut lent = Array3::from_elem(array.raw_dim().f(), T::nan());
        lent.assign(&array.mapv(T::round_from));
        lent
    };
    let w = reversed(inputs.w.clone());
    let d_offset = inputs.d_offset.clone().map(reversed);
    let lent = || d_offset.as_ref().map(|d_offset| d_offset.view());
    let bias = inputs.bias.as_ref().map(|bias| bias.mapv(T::round_from));
    let shape = both.output_shape(x.dim().into()).unwrap();
    let mut y = Array4::from_elem(shape.f(), T::nan());
    let lent_bias = bias.as_ref().map(|bias| bias.view());
    both.forward_into(x.view(), lent(), w.view(), lent_bias, y.view_mut()).unwrap();

    let mut dx = Array4::from_elem(x.raw_dim().f(), T::nan());
    let mut dw = Array3::from_elem(w.raw_dim().f(), T::nan());
    let mut dd_offset = d_offset.as_ref().map(|d| Array3::from_elem(d.raw_dim().f(), T::nan()));
    let mut bias = Array1::from_elem(problem.out_channels, T::nan());
    let gradients = DoConv2dGradientsMut {
        x: Some(dx.view_mut()),
        w: Some(dw.view_mut()),
        d_offset: dd_offset.as_mut().map(|dd_offset| dd_offset.view_mut()),
        bias: Some(bias.view_mut()),
    };
    both.backward_into(x.view(), lent(), w.view(), dy.view(), gradients).unwrap();
    // One at a time, it's the same.
    let mut alone = Array3::from_elem(w.raw_dim(), T::nan());
    let gradients =
        DoConv2dGradientsMut { x: None, w: Some(alone.view_mut()), d_offset: None, bias: None };
    both.backward_into(x.view(), lent(), w.view(), dy.view(), gradients).unwrap();
    assert_eq!(alone, dw);
    let weight = Array4::zeros((0, 0, 0, 0));
    Solution { weight, y, dx, dw, dd_offset, bias }
}

fn equals_the_layer<T: Scalar>(problem: &Problem, seed: u64) {
    let mut numbers = Numbers::new(seed);
    let inputs = problem.inputs(|| numbers.real());
    let mut layer = problem.layer::<T>(&inputs, Composition::Kernel);
    let x = inputs.x.mapv(T::round_from);
    let gradients = layer.backward(&x, &inputs.dy.mapv(T::round_from)).unwrap();
    let chained = solve::<T>(problem, &inputs);
    assert_eq!(chained.weight, layer.weight());
    let mut solutions = vec![(Composition::Kernel, chained)];
    for composition in problem.compositions().into_iter().chain([Composition::Auto]) {
        solutions.push((composition, solve_at_once::<T>(problem, &inputs, composition)));
    }
    // By features or by the kernel, the gradients are those of the kernel.
    for (composition, got) in solutions {
        layer.set_composition(composition).unwrap();
        assert_eq!(got.y, layer.forward(&x).unwrap(), "{composition:?}");
        assert_eq!(Some(&got.dx), gradients.x.as_ref(), "{composition:?}");
        assert_eq!(got.dw, gradients.w, "{composition:?}");
        assert_eq!(got.dd_offset, gradients.d_offset, "{composition:?}");
        if problem.bias {
            assert_eq!(Some(&got.bias), gradients.bias.as_ref(), "{composition:?}");
        }
    }
}

#[test]
fn the_table_has_the_values_of_the_layers() {
    for (seed, (name, problem)) in table::problems().into_iter().enumerate() {
        println!("{name}");
        equals_the_layer::<f32>(&problem, seed as u64);
        equals_the_layer::<f64>(&problem, seed as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_problem_has_the_values_of_the_layer(problem in strategy::problem(), seed: u64) {
        equals_the_layer::<f32>(&problem, seed);
    }
}

#[test]
fn gradients_that_arent_wanted_arent_needed() {
    let convolve: Convolve<f32> = Convolve::new(&Conv2dConfig::new(2, 3, [2, 2])).unwrap();
    let (x, weight) = (Array4::ones((1, 2, 4, 4)), Array4::ones((3, 2, 2, 2)));
    let dy = Array4::ones((1, 3, 3, 3));
    let none = Conv2dGradientsMut { x: None, weight: None, bias: None };
    convolve.backward_into(x.view(), weight.view(), dy.view(), none).unwrap();
    let mut db = Array1::zeros(3);
    let bias = Conv2dGradientsMut { x: None, weight: None, bias: Some(db.view_mut()) };
    convolve.backward_into(x.view(), weight.view(), dy.view(), bias).unwrap();
    assert_eq!(db, Array1::from_elem(3, 9.0));
}

#[test]
fn arrays_of_other_shapes_are_refused_and_nothing_is_written() {
    let config = DoConv2dConfig::new(2, 4, [2, 2]).groups(2);
    let convolve: Convolve<f32> = Convolve::new(&config.conv).unwrap();
    let x = Array4::ones((1, 2, 4, 4));
    let weight = Array4::ones((4, 1, 2, 2));
    let mut y = Array4::from_elem((1, 4, 3, 3), 7.0);
    let four = |shape| Array4::<f32>::ones(shape);
    let forward = |x: &Array4<f32>, weight: &Array4<f32>, bias: usize, y: &mut Array4<f32>| {
        let bias = Array1::ones(bias);
        let result =
            convolve.forward_into(x.view(), weight.view(), Some(bias.view()), y.view_mut());
        let error = result.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Shape);
        error.to_string()
    };
    let wrong = four((4, 2, 2, 2));
    assert_eq!(
        forward(&x, &wrong, 4, &mut y),
        "Convolve::forward_into: weight: expected [4, 1, 2, 2], got [4, 2, 2, 2]"
    );
    assert_eq!(
        forward(&four((1, 3, 4, 4)), &weight, 4, &mut y),
        "Convolve::forward_into: x: expected [1, 2, 4, 4], got [1, 3, 4, 4]"
    );
    assert_eq!(
        forward(&x, &weight, 3, &mut y),
        "Convolve::forward_into: bias: expected [4], got [3]"
    );
    assert_eq!(
        forward(&x, &weight, 4, &mut four((1, 4, 3, 2))),
        "Convolve::forward_into: y: expected [1, 4, 3, 3], got [1, 4, 3, 2]"
    );
    assert!(y.iter().all(|&value| value == 7.0));

    let (mut dx, mut dweight) = (x.clone(), four((4, 1, 2, 1)));
    let gradients =
        Conv2dGradientsMut { x: Some(dx.view_mut()), weight: Some(dweight.view_mut()), bias: None };
    let error = convolve.backward_into(x.view(), weight.view(), y.view(), gradients).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Convolve::backward_into: gradients.weight: expected [4, 1, 2, 2], got [4, 1, 2, 1]"
    );
    assert_eq!(dx, x);

    let compose: Compose<f32> = Compose::new(&config).unwrap();
    let (d_offset, w) = (Array3::zeros((2, 4, 4)), Array3::ones((4, 1, 4)));
    let mut kernel = Array4::from_elem((4, 1, 2, 2), 7.0);
    let narrow = Array3::ones((4, 1, 3));
    let error =
        compose.forward_into(d_offset.view(), narrow.view(), kernel.view_mut()).unwrap_err();
    assert_eq!(error.to_string(), "Compose::forward_into: w: expected [4, 1, 4], got [4, 1, 3]");
    let (mut dd_offset, mut dw) = (Array3::from_elem((2, 4, 4), 7.0), narrow.clone());
    let error = compose.backward_into(
        d_offset.view(),
        w.view(),
        kernel.view(),
        dd_offset.view_mut(),
        dw.view_mut(),
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "Compose::backward_into: dw: expected [4, 1, 4], got [4, 1, 3]"
    );
    assert!(kernel.iter().chain(&dd_offset).all(|&value| value == 7.0));
}

#[test]
fn factors_of_other_shapes_are_refused_and_nothing_is_written() {
    let both: DoConvolve<f32> = DoConvolve::new(&DoConv2dConfig::new(2, 4, [2, 2])).unwrap();
    let x = Array4::ones((1, 2, 4, 4));
    let (w, d_offset) = (Array3::ones((4, 2, 4)), Array3::zeros((2, 4, 4)));
    let mut y = Array4::from_elem((1, 4, 3, 3), 7.0);
    let mut forward = |d_offset: Option<&Array3<f32>>, w: &Array3<f32>, bias: usize| {
        let bias = Array1::ones(bias);
        let d_offset = d_offset.map(|d_offset| d_offset.view());
        let result =
            both.forward_into(x.view(), d_offset, w.view(), Some(bias.view()), y.view_mut());
        let error = result.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Shape);
        assert!(y.iter().all(|&value| value == 7.0));
        error.to_string()
    };
    let refused = |text: &str| format!("DoConvolve::forward_into: {text}");
    assert_eq!(forward(None, &w, 4), refused("d_offset: expected [2, 4, 4], got none"));
    let other = Array3::zeros((2, 4, 5));
    assert_eq!(
        forward(Some(&other), &w, 4),
        refused("d_offset: expected [2, 4, 4], got [2, 4, 5]")
    );
    assert_eq!(
        forward(Some(&d_offset), &other, 4),
        refused("w: expected [4, 2, 4], got [2, 4, 5]")
    );
    assert_eq!(forward(Some(&d_offset), &w, 3), refused("bias: expected [4], got [3]"));

    let (mut dx, mut dw) = (x.clone(), other.clone());
    let gradients = DoConv2dGradientsMut {
        x: Some(dx.view_mut()),
        w: Some(dw.view_mut()),
        d_offset: None,
        bias: None,
    };
    let dy = Array4::ones((1, 4, 3, 3));
    let error = both.backward_into(x.view(), Some(d_offset.view()), w.view(), dy.view(), gradients);
    assert_eq!(
        error.unwrap_err().to_string(),
        "DoConvolve::backward_into: gradients.w: expected [4, 2, 4], got [2, 4, 5]"
    );
    assert_eq!(dx, x);

    // A 1×1 kernel has no D.
    let both: DoConvolve<f32> = DoConvolve::new(&DoConv2dConfig::new(2, 4, [1, 1])).unwrap();
    let (w, d_offset) = (Array3::ones((4, 2, 1)), Array3::zeros((2, 1, 1)));
    let mut y = Array4::zeros((1, 4, 4, 4));
    let d_offset = Some(d_offset.view());
    let error = both.forward_into(x.view(), d_offset, w.view(), None, y.view_mut()).unwrap_err();
    assert_eq!(error.to_string(), refused("d_offset: expected none, got [2, 1, 1]"));
    both.forward_into(x.view(), None, w.view(), None, y.view_mut()).unwrap();
    assert_eq!(y, Array4::from_elem((1, 4, 4, 4), 2.0));
}

/// Compositions round differently, so bits tell which one ran.
#[test]
fn an_image_goes_through_the_composition_that_was_chosen() {
    let problem = Problem { in_channels: 32, out_channels: 32, bias: false, ..Problem::DENSE };
    // Features take fewer multiply-accumulates for few pixels.
    for (image, by_auto) in [([5, 6], Composition::Feature), ([9, 10], Composition::Kernel)] {
        let problem = Problem { image, ..problem.clone() };
        let mut numbers = Numbers::new(3);
        let inputs = problem.inputs(|| numbers.real());
        let y = |composition| solve_at_once::<f32>(&problem, &inputs, composition).y;
        assert_ne!(y(Composition::Kernel), y(Composition::Feature));
        assert_eq!(y(Composition::Auto), y(by_auto));

        let input = inputs.x.dim().into();
        for composition in [Composition::Kernel, Composition::Feature, Composition::Auto] {
            let config = problem.config(composition).algorithm(Algorithm::Winograd4);
            let operator: DoConvolve<f32> = DoConvolve::new(&config).unwrap();
            let layer: DoConv2d<f32> = config.init(0).unwrap();
            let algorithm = operator.algorithm(input).unwrap();
            assert_eq!(algorithm, layer.algorithm(input).unwrap());
            let chosen = if composition == Composition::Auto { by_auto } else { composition };
            let by_feature = chosen == Composition::Feature;
            assert_eq!(algorithm == Algorithm::Direct, by_feature, "{composition:?}, {image:?}");
        }
    }
}

#[test]
fn feature_composition_is_refused_where_the_layer_refuses_it() {
    let config = DoConv2dConfig::new(4, 4, [3, 3]).groups(2).pairing(Pairing::PyTorch);
    assert!(DoConvolve::<f32>::new(&config.clone().composition(Composition::Auto)).is_ok());
    let config = config.composition(Composition::Feature);
    let mut expected = config.validate().unwrap_err();
    expected.operation = "DoConvolve::new";
    assert_eq!(DoConvolve::<f32>::new(&config).unwrap_err(), expected);
    assert_eq!((expected.kind, &*expected.field), (ErrorKind::Config, "composition"));
    // Where there is but the kernel, there is no order.
    assert!(Compose::<f32>::new(&config).is_ok());
}

/// They are lent.
#[test]
fn how_parameters_start_doesnt_matter() {
    let config = DoConv2dConfig::new(4, 4, [3, 3]);
    let config = config.d_init(DInit::Random(Init::Uniform { bound: -1.0 }));
    assert!(config.validate().is_err());
    assert!(Compose::<f32>::new(&config).is_ok() && DoConvolve::<f32>::new(&config).is_ok());
}

#[test]
fn a_pointwise_kernel_has_nothing_to_compose() {
    let error = Compose::<f32>::new(&DoConv2dConfig::new(2, 4, [1, 1])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Compose::new: kernel_size: expected more than one tap: a 1×1 kernel has no D, got [1, 1]"
    );
    assert!(Convolve::<f32>::new(&Conv2dConfig::new(2, 3, [1, 1]).groups(2)).is_err());
    assert!(DoConv2dConfig::new(2, 4, [3, 3]).d_mul(8).validate().is_err());
    assert!(Conv2dConfig::new(2, 4, [3, 3]).groups(2).validate().is_ok());
}
