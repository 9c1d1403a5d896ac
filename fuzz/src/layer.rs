//! What must hold for a layer and what it folds into.

use do_conv::{Composition, Conv2d, Conv2dGradientsMut, DoConv2d, DoConv2dGradientsMut, Scalar};
use ndarray::{Array1, Array3, Array4, Ix1, Ix3, Ix4};

use crate::case::Case;
use crate::lent::{Lent, expect_bits, expect_values, sevens, untouched};
use crate::nest::{Given, solve};

/// Parameters, an input and a gradient of the output.
struct Arrays<T> {
    x: Array4<T>,
    offset: Option<Array3<T>>,
    w: Array3<T>,
    bias: Option<Array1<T>>,
    dy: Array4<T>,
}

/// Makes the layer and uses it in every way.
pub fn check<T: Scalar>(case: &Case) {
    let (config, values) = (&case.config, case.values);
    let no_output = [case.input[0], config.conv.out_channels, 0, 0];
    if !case.is_small(no_output) {
        return;
    }
    let mut arrays = Arrays::<T> {
        x: values.array("x", 2, case.input),
        offset: case.has_depth().then(|| values.array("offset", 1, case.offset_shape())),
        w: values.array("w", 1, case.w_shape()),
        bias: config.conv.bias.then(|| values.array("bias", 3, [config.conv.out_channels])),
        dy: sevens(no_output),
    };
    let Arrays { offset, w, bias, .. } = &arrays;
    let make =
        |w: Array3<T>| DoConv2d::from_parameters(config.clone(), offset.clone(), w, bias.clone());
    let made = make(w.clone());
    assert_eq!(made.is_ok(), config.validate().is_ok());
    let Ok(layer) = made else { return };
    if let Some(shape) = case.wrong_shape(case.w_shape()) {
        assert!(make(sevens(shape)).is_err(), "a W of shape {shape:?}");
    }
    let conv = layer.fold();
    let output = layer.output_shape(case.input);
    assert_eq!(output.is_ok(), conv.output_shape(case.input).is_ok());
    let Ok(shape) = output else { return refused(&layer, &conv, &arrays) };
    if case.is_small(shape) {
        arrays.dy = values.array("dy", 2, shape);
        used(case, &layer, &conv, &arrays);
    }
}

/// An input that has no output is refused by every call, and nothing is written.
fn refused<T: Scalar>(layer: &DoConv2d<T>, conv: &Conv2d<T>, Arrays { x, dy, .. }: &Arrays<T>) {
    assert!(layer.forward(x).is_err() && conv.forward(x).is_err());
    assert!(layer.backward(x, dy).is_err() && conv.backward(x, dy).is_err());
    assert!(layer.check_fold(conv, x).is_err());
    let mut y = sevens((x.dim().0, layer.w().dim().0, 1, 2));
    assert!(layer.forward_into(x, &mut y).is_err() && conv.forward_into(x, &mut y).is_err());
    assert!(untouched(&y));
}

/// A layer that was used gives the bits of one that wasn't, wherever arrays lie.
fn used<T: Scalar>(case: &Case, layer: &DoConv2d<T>, conv: &Conv2d<T>, arrays: &Arrays<T>) {
    let Arrays { x, dy, .. } = arrays;
    // A clone has no buffers yet.
    let y = layer.clone().forward(x).expect("an output");
    let gradients = layer.clone().backward(x, dy).expect("gradients");
    let plain_y = conv.clone().forward(x).expect("an output");
    let plain = conv.clone().backward(x, dy).expect("gradients");
    assert_eq!(y.shape(), dy.shape());
    if case.is_exact::<T>(dy.dim().into()) {
        exact(case, layer, arrays);
    }
    spoil(case, layer, conv);

    let layouts = case.layouts;
    let (x, dy) = (Lent::of(layouts, x), Lent::of(layouts >> 9, dy));
    let (x, dy) = (x.view::<Ix4>(), dy.view::<Ix4>());
    let place = |index: usize, shape: &[usize]| Lent::<T>::new(layouts >> (18 + 9 * index), shape);
    for _ in 0..2 {
        let [mut into, mut plain_into] = [place(0, y.shape()), place(1, y.shape())];
        layer.forward_into(&x, &mut into.view_mut::<Ix4>()).expect("an output");
        conv.forward_into(&x, &mut plain_into.view_mut::<Ix4>()).expect("an output");
        expect_bits("y", &into.view::<Ix4>(), &y);
        expect_bits("y of the folded layer", &plain_into.view::<Ix4>(), &plain_y);
        [into, plain_into].into_iter().for_each(Lent::expect_nines);
    }
    for with_x in [true, false] {
        let mut dx = place(0, x.shape());
        let mut dw = place(1, gradients.w.shape());
        let mut doffset = gradients.d_offset.as_ref().map(|offset| place(2, offset.shape()));
        let mut dbias = gradients.bias.as_ref().map(|bias| place(3, bias.shape()));
        let places = DoConv2dGradientsMut {
            x: with_x.then(|| dx.view_mut()),
            w: Some(dw.view_mut()),
            d_offset: doffset.as_mut().map(|offset| offset.view_mut()),
            bias: dbias.as_mut().map(|bias| bias.view_mut()),
        };
        layer.backward_into(&x, &dy, places).expect("gradients");
        if with_x {
            let want = gradients.x.as_ref().expect("the gradient of x");
            expect_bits("dx", &dx.view::<Ix4>(), want);
        }
        expect_bits("dw", &dw.view::<Ix3>(), &gradients.w);
        if let (Some(got), Some(want)) = (&doffset, &gradients.d_offset) {
            expect_bits("dd_offset", &got.view::<Ix3>(), want);
        }
        if let (Some(got), Some(want)) = (&dbias, &gradients.bias) {
            expect_bits("dbias", &got.view::<Ix1>(), want);
        }
        let mut dweight = place(4, plain.weight.shape());
        let places = Conv2dGradientsMut {
            x: with_x.then(|| dx.view_mut()),
            weight: Some(dweight.view_mut()),
            bias: dbias.as_mut().map(|bias| bias.view_mut()),
        };
        conv.backward_into(&x, &dy, places).expect("gradients");
        if with_x {
            let want = plain.x.as_ref().expect("the gradient of x");
            expect_bits("dx of the folded layer", &dx.view::<Ix4>(), want);
        }
        expect_bits("dweight", &dweight.view::<Ix4>(), &plain.weight);
        let optional = [doffset, dbias].into_iter().flatten();
        [dx, dw, dweight].into_iter().chain(optional).for_each(Lent::expect_nines);
    }
    folded(case, layer, conv, arrays, &plain_y);
    wrong(case, layer, conv, arrays);
}

/// Sums of small integers are what the definition says.
fn exact<T: Scalar>(case: &Case, layer: &DoConv2d<T>, arrays: &Arrays<T>) {
    let Arrays { x, offset, w, bias, dy } = arrays;
    let given = Given {
        x: x.mapv(T::widen),
        offset: offset.as_ref().map(|offset| offset.mapv(T::widen)),
        w: w.mapv(T::widen),
        bias: bias.as_ref().map(|bias| bias.mapv(T::widen)),
        dy: dy.mapv(T::widen),
    };
    let found = solve(&case.config, &given);
    let y = layer.forward(x).expect("an output");
    let gradients = layer.backward(x, dy).expect("gradients");
    let plain = layer.fold().backward(x, dy).expect("gradients");
    expect_values("y", &y, &found.y);
    expect_values("weight", &layer.weight(), &found.weight);
    expect_values("dx", &gradients.x.expect("the gradient of x"), &found.dx);
    expect_values("dx of the folded layer", &plain.x.expect("the gradient of x"), &found.dx);
    expect_values("dw", &gradients.w, &found.dw);
    expect_values("dweight", &plain.weight, &found.dweight);
    if let Some(doffset) = &gradients.d_offset {
        expect_values("dd_offset", doffset, &found.doffset);
    }
    if let Some(dbias) = &gradients.bias {
        expect_values("dbias", dbias, &found.dbias);
    }
}

/// Leaves not-a-numbers in every buffer, for larger images and the same.
fn spoil<T: Scalar>(case: &Case, layer: &DoConv2d<T>, conv: &Conv2d<T>) {
    let [batch, channels, rows, cols] = case.input;
    for input in [[batch + 1, channels, rows + 3, cols + 5], case.input] {
        let Ok(output) = layer.output_shape(input) else { continue };
        if !case.is_small(output) {
            continue;
        }
        let [x, dy] = [input, output].map(|shape| Array4::from_elem(shape, T::nan()));
        layer.backward(&x, &dy).expect("gradients");
        conv.forward(&x).expect("an output");
        conv.backward(&x, &dy).expect("gradients");
    }
}

/// A folded layer is its source, and the way back leads there.
fn folded<T: Scalar>(
    case: &Case,
    layer: &DoConv2d<T>,
    conv: &Conv2d<T>,
    Arrays { x, .. }: &Arrays<T>,
    plain_y: &Array4<T>,
) {
    expect_bits("weight", &layer.weight(), &conv.weight());
    let mut kernel = layer.clone();
    kernel.set_composition(Composition::Kernel).expect("kernel composition");
    expect_bits("y by kernel composition", &kernel.forward(x).expect("an output"), plain_y);
    let found = layer.check_fold(conv, x).expect("a comparison");
    if case.values.are_finite() {
        assert!(found.within_bound && found.same_bits, "{found:?}");
    }
    let back = DoConv2d::from_conv2d(conv, case.config.d_mul).expect("the way back");
    if conv.weight().iter().all(|value| value.is_finite()) {
        assert_eq!(back.weight(), conv.weight());
    }
}

/// Arrays of another shape or rank are refused, and nothing is written.
fn wrong<T: Scalar>(
    case: &Case,
    layer: &DoConv2d<T>,
    conv: &Conv2d<T>,
    Arrays { x, dy, .. }: &Arrays<T>,
) {
    let x_of_rank_3 = sevens::<T, Ix3>([1, 2, 3]);
    assert!(layer.forward(&x_of_rank_3).is_err() && conv.forward(&x_of_rank_3).is_err());
    let gradients = || {
        let mut places = layer.gradients(Some(x.dim().into())).expect("small gradients");
        let seven = T::round_from(7.0);
        places.x.as_mut().expect("the gradient of x").fill(seven);
        places.w.fill(seven);
        places.d_offset.iter_mut().for_each(|offset| offset.fill(seven));
        places.bias.iter_mut().for_each(|bias| bias.fill(seven));
        places
    };
    let expect_refused = |dy: &Array4<T>, mut places: do_conv::DoConv2dGradients<T>| {
        assert!(layer.backward_into(x, dy, places.view_mut()).is_err());
        assert!(places.x.iter().all(|x| untouched(x)) && untouched(&places.w));
        assert!(places.d_offset.iter().all(|offset| untouched(offset)));
        assert!(places.bias.iter().all(|bias| untouched(bias)));
    };
    if let Some(shape) = case.wrong_shape(dy.dim().into()) {
        let mut y = sevens(shape);
        assert!(layer.forward_into(x, &mut y).is_err() && conv.forward_into(x, &mut y).is_err());
        assert!(untouched(&y));
        assert!(layer.backward(x, &y).is_err() && conv.backward(x, &y).is_err());
        expect_refused(&y, gradients());
    }
    if let Some(shape) = case.wrong_shape(case.w_shape()) {
        expect_refused(dy, do_conv::DoConv2dGradients { w: sevens(shape), ..gradients() });
    }
    if let Some(shape) = case.wrong_shape(x.dim().into()) {
        expect_refused(dy, do_conv::DoConv2dGradients { x: Some(sevens(shape)), ..gradients() });
    }
}
