//! What must hold for the operators, whose arrays are lent.

use do_conv::operator::{Compose, Conv2dGradientsMut, Convolve, DoConv2dGradientsMut, DoConvolve};
use do_conv::{Composition, Conv2d, DInit, DoConv2d, DoConv2dConfig, Scalar};
use ndarray::{Array1, Array3, Array4, Ix1, Ix3, Ix4};

use crate::case::Case;
use crate::lent::{Lent, expect_bits, sevens};

/// Makes the operators and compares them with layers.
pub fn check<T: Scalar>(case: &Case) {
    let conv = &case.config.conv;
    let no_output = [case.input[0], conv.out_channels, 0, 0];
    if !case.is_small(no_output) {
        return;
    }
    // How D starts is a layer's matter, and a kernel by itself has no order of composition.
    let config = case.config.clone().d_init(DInit::Identity);
    let of_kernel = config.clone().composition(Composition::Kernel);
    let compose = Compose::<T>::new(&case.config);
    assert_eq!(compose.is_ok(), of_kernel.validate().is_ok() && case.has_depth());
    if let Ok(compose) = compose {
        composed(case, &of_kernel, &compose);
    }
    let at_once = DoConvolve::<T>::new(&case.config);
    assert_eq!(at_once.is_ok(), config.validate().is_ok());
    if let Ok(at_once) = at_once
        && let Ok(shape) = at_once.output_shape(case.input)
        && case.is_small(shape)
    {
        convolved_at_once(case, &config, &at_once, shape);
    }
    let convolve = Convolve::<T>::new(conv);
    assert_eq!(convolve.is_ok(), conv.validate().is_ok());
    let Ok(convolve) = convolve else { return };
    match convolve.output_shape(case.input) {
        Ok(shape) if case.is_small(shape) => convolved(case, &convolve, shape),
        Ok(_) => {}
        Err(_) => {
            let x: Array4<T> = sevens(case.input);
            let weight: Array4<T> = sevens(case.weight_shape());
            let mut y = Lent::new(case.layouts, &[case.input[0], conv.out_channels, 1, 1]);
            let refused =
                convolve.forward_into(x.view(), weight.view(), None, y.view_mut()).is_err();
            assert!(refused && y.is_untouched());
        }
    }
}

fn composed<T: Scalar>(case: &Case, config: &DoConv2dConfig, compose: &Compose<T>) {
    let (values, layouts) = (case.values, case.layouts);
    let offset: Array3<T> = values.array("offset", 1, case.offset_shape());
    let w: Array3<T> = values.array("w", 1, case.w_shape());
    let bias = case.config.conv.bias.then(|| Array1::zeros(case.config.conv.out_channels));
    let layer = DoConv2d::from_parameters(config.clone(), Some(offset.clone()), w.clone(), bias)
        .expect("a layer");
    let weight = layer.weight();
    assert_eq!(weight.shape(), compose.weight_shape());
    let dweight: Array4<T> = values.array("dweight", 2, case.weight_shape());

    let (mut dd_offset, mut dw) = (sevens(offset.dim()), sevens(w.dim()));
    let places = (dd_offset.view_mut(), dw.view_mut());
    let fresh = compose.clone();
    fresh
        .backward_into(offset.view(), w.view(), dweight.view(), places.0, places.1)
        .expect("gradients");

    let [lent_offset, lent_w] = [Lent::of(layouts, &offset), Lent::of(layouts >> 7, &w)];
    let (offset, w) = (lent_offset.view::<Ix3>(), lent_w.view::<Ix3>());
    let lent_dweight = Lent::of(layouts >> 14, &dweight);
    for _ in 0..2 {
        let mut into = Lent::new(layouts >> 23, weight.shape());
        compose.forward_into(offset, w, into.view_mut::<Ix4>()).expect("a kernel");
        expect_bits("weight", &into.view::<Ix4>(), &weight);
        let mut offset_into = Lent::new(layouts >> 32, offset.shape());
        let mut w_into = Lent::new(layouts >> 39, w.shape());
        let places = (offset_into.view_mut::<Ix3>(), w_into.view_mut::<Ix3>());
        compose
            .backward_into(offset, w, lent_dweight.view::<Ix4>(), places.0, places.1)
            .expect("gradients");
        expect_bits("dd_offset", &offset_into.view::<Ix3>(), &dd_offset);
        expect_bits("dw", &w_into.view::<Ix3>(), &dw);
        [into, offset_into, w_into].into_iter().for_each(Lent::expect_nines);
    }
    if let Some(shape) = case.wrong_shape(case.w_shape()) {
        let mut into = Lent::new(layouts, weight.shape());
        let [wrong, mut w_into] = [Lent::new(0, &shape), Lent::new(layouts, &shape)];
        assert!(compose.forward_into(offset, wrong.view::<Ix3>(), into.view_mut::<Ix4>()).is_err());
        let mut offset_into = Lent::new(layouts, offset.shape());
        let places = (offset_into.view_mut::<Ix3>(), w_into.view_mut::<Ix3>());
        let result =
            compose.backward_into(offset, w, lent_dweight.view::<Ix4>(), places.0, places.1);
        assert!(result.is_err());
        assert!([into, offset_into, w_into].iter().all(Lent::is_untouched));
    }
}

fn convolved<T: Scalar>(case: &Case, convolve: &Convolve<T>, output: [usize; 4]) {
    let (conv, values, layouts) = (&case.config.conv, case.values, case.layouts);
    let x: Array4<T> = values.array("x", 2, case.input);
    let weight: Array4<T> = values.array("weight", 1, case.weight_shape());
    let bias: Option<Array1<T>> = conv.bias.then(|| values.array("bias", 3, [conv.out_channels]));
    let dy: Array4<T> = values.array("dy", 2, output);
    let layer = Conv2d::from_parameters(conv.clone(), weight.clone(), bias.clone());
    let layer = layer.expect("a layer");
    let y = layer.forward(&x).expect("an output");
    let gradients = layer.backward(&x, &dy).expect("gradients");
    let dx = gradients.x.expect("the gradient of x");

    let [lent_x, lent_dy] = [Lent::of(layouts, &x), Lent::of(layouts >> 9, &dy)];
    let (lent_weight, lent_bias) =
        (Lent::of(layouts >> 18, &weight), bias.map(|bias| Lent::of(layouts >> 27, &bias)));
    let (x, dy) = (lent_x.view::<Ix4>(), lent_dy.view::<Ix4>());
    let (weight, bias) = (lent_weight.view(), lent_bias.as_ref().map(|bias| bias.view::<Ix1>()));
    for wanted in 0..8 {
        let wants = |index: usize| wanted >> index & 1 == 1;
        let mut into = Lent::new(layouts >> 30, &output);
        convolve.forward_into(x, weight, bias, into.view_mut::<Ix4>()).expect("an output");
        expect_bits("y", &into.view::<Ix4>(), &y);
        let mut places = [x.shape(), weight.shape(), &[conv.out_channels]]
            .map(|shape| Lent::new(layouts >> 39, shape));
        let [x_into, weight_into, bias_into] = &mut places;
        let into_places = Conv2dGradientsMut {
            x: wants(0).then(|| x_into.view_mut()),
            weight: wants(1).then(|| weight_into.view_mut()),
            bias: wants(2).then(|| bias_into.view_mut()),
        };
        convolve.backward_into(x, weight, dy, into_places).expect("gradients");
        for (index, place) in places.iter().enumerate().filter(|(index, _)| !wants(*index)) {
            assert!(place.is_untouched(), "gradient {index} was not wanted");
        }
        let [x_into, weight_into, bias_into] = &places;
        if wants(0) {
            expect_bits("dx", &x_into.view::<Ix4>(), &dx);
        }
        if wants(1) {
            expect_bits("dweight", &weight_into.view::<Ix4>(), &gradients.weight);
        }
        if let (true, Some(dbias)) = (wants(2), &gradients.bias) {
            expect_bits("dbias", &bias_into.view::<Ix1>(), dbias);
        }
        places.into_iter().chain([into]).for_each(Lent::expect_nines);
    }
    if let Some(shape) = case.wrong_shape(output) {
        let mut y = Lent::<T>::new(layouts, &shape);
        let mut x_into = Lent::<T>::new(layouts, x.shape());
        assert!(convolve.forward_into(x, weight, bias, y.view_mut::<Ix4>()).is_err());
        let places = Conv2dGradientsMut { x: Some(x_into.view_mut()), weight: None, bias: None };
        assert!(convolve.backward_into(x, weight, y.view::<Ix4>(), places).is_err());
        assert!(y.is_untouched() && x_into.is_untouched());
    }
    if let Some(shape) = case.wrong_shape(case.weight_shape()) {
        let mut y = Lent::<T>::new(layouts, &output);
        let mut weight_into = Lent::<T>::new(layouts, &shape);
        let wrong = Lent::<T>::new(0, &shape);
        let wrong = wrong.view::<Ix4>();
        assert!(convolve.forward_into(x, wrong, bias, y.view_mut::<Ix4>()).is_err());
        let places =
            Conv2dGradientsMut { x: None, weight: Some(weight_into.view_mut()), bias: None };
        assert!(convolve.backward_into(x, weight, dy, places).is_err());
        assert!(y.is_untouched() && weight_into.is_untouched());
    }
}

/// Composition and convolution at once, in either order, asked for any of the gradients.
fn convolved_at_once<T: Scalar>(
    case: &Case,
    config: &DoConv2dConfig,
    at_once: &DoConvolve<T>,
    output: [usize; 4],
) {
    let (conv, values, layouts) = (&config.conv, case.values, case.layouts);
    let x: Array4<T> = values.array("x", 2, case.input);
    let offset = case.has_depth().then(|| values.array("offset", 1, case.offset_shape()));
    let offset: Option<Array3<T>> = offset;
    let w: Array3<T> = values.array("w", 1, case.w_shape());
    let bias: Option<Array1<T>> = conv.bias.then(|| values.array("bias", 3, [conv.out_channels]));
    let dy: Array4<T> = values.array("dy", 2, output);
    let layer = DoConv2d::from_parameters(config.clone(), offset.clone(), w.clone(), bias.clone());
    let layer = layer.expect("a layer");
    let y = layer.forward(&x).expect("an output");
    let gradients = layer.backward(&x, &dy).expect("gradients");
    let dx = gradients.x.expect("the gradient of x");

    let [lent_x, lent_dy] = [Lent::of(layouts, &x), Lent::of(layouts >> 9, &dy)];
    let lent_w = Lent::of(layouts >> 18, &w);
    let lent_offset = offset.map(|offset| Lent::of(layouts >> 27, &offset));
    let lent_bias = bias.map(|bias| Lent::of(layouts >> 36, &bias));
    let (x, dy, w) = (lent_x.view::<Ix4>(), lent_dy.view::<Ix4>(), lent_w.view::<Ix3>());
    let offset = lent_offset.as_ref().map(|offset| offset.view::<Ix3>());
    let bias = lent_bias.as_ref().map(|bias| bias.view::<Ix1>());
    for wanted in 0..16 {
        let wants = |index: usize| wanted >> index & 1 == 1;
        let mut into = Lent::new(layouts >> 30, &output);
        at_once.forward_into(x, offset, w, bias, into.view_mut::<Ix4>()).expect("an output");
        expect_bits("y", &into.view::<Ix4>(), &y);
        let mut dx_into = wants(0).then(|| Lent::new(layouts >> 37, dx.shape()));
        let mut dw_into = wants(1).then(|| Lent::new(layouts >> 46, w.shape()));
        let has_d = offset.is_some() && wants(2);
        let mut dd_into = has_d.then(|| Lent::new(layouts >> 51, &case.offset_shape()));
        let mut db_into = wants(3).then(|| Lent::new(layouts >> 55, &[conv.out_channels]));
        let places = DoConv2dGradientsMut {
            x: dx_into.as_mut().map(|dx| dx.view_mut()),
            w: dw_into.as_mut().map(|dw| dw.view_mut()),
            d_offset: dd_into.as_mut().map(|dd| dd.view_mut()),
            bias: db_into.as_mut().map(|db| db.view_mut()),
        };
        at_once.backward_into(x, offset, w, dy, places).expect("gradients");
        if let Some(into) = &dx_into {
            expect_bits("dx", &into.view::<Ix4>(), &dx);
        }
        if let Some(into) = &dw_into {
            expect_bits("dw", &into.view::<Ix3>(), &gradients.w);
        }
        if let (Some(into), Some(expected)) = (&dd_into, &gradients.d_offset) {
            expect_bits("dd_offset", &into.view::<Ix3>(), expected);
        }
        if let (Some(into), Some(expected)) = (&db_into, &gradients.bias) {
            expect_bits("dbias", &into.view::<Ix1>(), expected);
        }
    }
}
