//! Numbers that aren't finite, saved: refused by text formats before anything is written, kept bit for bit
//! by binary ones.

use do_conv::{
    Conv2d, Conv2dConfig, Conv2dGradients, DInit, DoConv2d, DoConv2dConfig, DoConv2dGradients,
    Init, Scalar,
};
use ndarray::{Array1, Array3, Array4};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The text of the refusal to write JSON; nothing may have been written by then.
#[track_caller]
fn refusal(value: &impl Serialize) -> String {
    let mut written = Vec::new();
    let error =
        serde_json::to_writer(&mut written, value).expect_err("a number that JSON hasn't got");
    assert!(written.is_empty(), "{}", String::from_utf8_lossy(&written));
    assert_eq!(serde_json::to_value(value).unwrap_err().to_string(), error.to_string());
    error.to_string()
}

fn text(operation: &str, field: &str, got: &str) -> String {
    format!(
        "{operation}::serialize: {field}: expected finite numbers, as text formats may hold no others \
         (binary ones keep them), got {got}"
    )
}

fn through_binary<T: Serialize + DeserializeOwned>(value: &T) -> T {
    rmp_serde::from_slice(&rmp_serde::to_vec(value).unwrap()).unwrap()
}

/// Not-a-numbers of other bits than the usual one, infinities, zeros of either sign and the smallest number.
fn singles() -> [f32; 6] {
    let bits = [0x7fc0_1234, 0xffc0_0001, 0x7f80_0000, 0xff80_0000, 0x8000_0000, 1];
    bits.map(f32::from_bits)
}

fn doubles() -> [f64; 6] {
    [0x7ff8_0000_dead_beef, 0xfff8_0000_0000_0001, 0x7ff0 << 48, 0xfff0 << 48, 1 << 63, 1]
        .map(f64::from_bits)
}

fn bits<'a, T: Scalar>(parameters: impl Iterator<Item = (&'static str, &'a [T])>) -> Vec<u64> {
    parameters.flat_map(|(_, values)| values).map(|value| value.widen().to_bits()).collect()
}

/// A layer of two to three channels by 2×2 taps.
fn layer<T: Scalar>() -> DoConv2d<T> {
    DoConv2dConfig::new(2, 3, [2, 2]).init(1).unwrap()
}

/// A layer with a value put at those places of one of its parameters.
fn diverged<T: Scalar>(name: &str, places: &[usize], value: T) -> DoConv2d<T> {
    let mut layer = layer();
    let (_, values) = layer.parameters_mut().find(|(found, _)| *found == name).unwrap();
    places.iter().for_each(|&place| values[place] = value);
    layer
}

#[test]
fn text_formats_name_the_first_number_of_a_layer_that_they_cannot_hold() {
    for (name, places, at) in [
        ("w", &[7, 13, 23][..], "at [0, 1, 3], the first of 3"),
        ("d_offset", &[31], "at [1, 3, 3], the first of 1"),
        ("bias", &[0, 2], "at [0], the first of 2"),
    ] {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let expected = text("DoConv2d", name, &format!("{value} {at}"));
            assert_eq!(refusal(&diverged(name, places, value)), expected);
            let value = f64::from(value);
            assert_eq!(refusal(&diverged(name, places, value)), expected);
        }
    }
    for (name, places, at) in [
        ("weight", &[9, 11][..], "at [1, 0, 0, 1], the first of 2"),
        ("bias", &[2], "at [2], the first of 1"),
    ] {
        let mut folded: Conv2d<f32> = layer().fold();
        let (_, values) = folded.parameters_mut().find(|(found, _)| *found == name).unwrap();
        places.iter().for_each(|&place| values[place] = f32::NAN);
        assert_eq!(refusal(&folded), text("Conv2d", name, &format!("NaN {at}")));
    }
    // The largest and the smallest numbers are as good as any.
    for value in [f32::MAX, f32::MIN, f32::from_bits(1), -0.0] {
        let layer = diverged("w", &[5], value);
        let json = serde_json::to_string(&layer).unwrap();
        assert!(serde_json::from_str::<DoConv2d<f32>>(&json).unwrap() == layer);
    }
}

/// Gradients of ones, with nothing that isn't finite.
fn gradients() -> DoConv2dGradients<f32> {
    DoConv2dGradients {
        x: Some(Array4::ones((1, 2, 3, 2))),
        w: Array3::ones((3, 2, 4)),
        d_offset: Some(Array3::ones((2, 4, 4))),
        bias: Some(Array1::ones(3)),
    }
}

#[test]
fn text_formats_name_the_gradient() {
    serde_json::to_string(&gradients()).unwrap();
    let nan = f32::NAN;
    let mut wrong = [(); 4].map(|()| gradients());
    wrong[0].x.as_mut().unwrap()[[0, 1, 2, 1]] = nan;
    wrong[1].w[[2, 0, 3]] = nan;
    wrong[2].d_offset.as_mut().unwrap()[[1, 0, 2]] = nan;
    wrong[3].bias.as_mut().unwrap()[1] = nan;
    for (wrong, (field, at)) in wrong.iter().zip([
        ("x", "[0, 1, 2, 1]"),
        ("w", "[2, 0, 3]"),
        ("d_offset", "[1, 0, 2]"),
        ("bias", "[1]"),
    ]) {
        let got = format!("NaN at {at}, the first of 1");
        assert_eq!(refusal(wrong), text("DoConv2dGradients", field, &got));
    }

    let plain = || Conv2dGradients {
        x: Some(Array4::<f64>::ones((1, 1, 2, 2))),
        weight: Array4::ones((1, 1, 2, 2)),
        bias: Some(Array1::ones(1)),
    };
    serde_json::to_string(&plain()).unwrap();
    let mut wrong = [(); 3].map(|()| plain());
    wrong[0].x.as_mut().unwrap().fill(f64::INFINITY);
    wrong[1].weight[[0, 0, 1, 0]] = f64::NEG_INFINITY;
    wrong[2].bias.as_mut().unwrap()[0] = f64::NAN;
    for (wrong, (field, got)) in wrong.iter().zip([
        ("x", "inf at [0, 0, 0, 0], the first of 4"),
        ("weight", "-inf at [0, 0, 1, 0], the first of 1"),
        ("bias", "NaN at [0], the first of 1"),
    ]) {
        assert_eq!(refusal(wrong), text("Conv2dGradients", field, got));
    }
}

/// An initialiser of every kind that has a number, with this one.
fn inits(number: f64) -> [Init; 5] {
    [
        Init::KaimingUniform { a: number },
        Init::KaimingNormal { a: number },
        Init::Uniform { bound: number },
        Init::Normal { std: number },
        Init::Constant { value: number },
    ]
}

#[test]
fn text_formats_name_the_initialiser() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let got = number.to_string();
        for init in inits(number) {
            let plain = || Conv2dConfig::new(2, 3, [2, 2]);
            let over = || DoConv2dConfig::new(2, 3, [2, 2]);
            for (operation, field, refused) in [
                ("Conv2dConfig", "w_init", refusal(&plain().w_init(init))),
                ("Conv2dConfig", "bias_init", refusal(&plain().bias_init(init))),
                ("DoConv2dConfig", "conv.w_init", refusal(&over().w_init(init))),
                ("DoConv2dConfig", "conv.bias_init", refusal(&over().bias_init(init))),
                ("DoConv2dConfig", "d_init", refusal(&over().d_init(DInit::Random(init)))),
            ] {
                assert_eq!(refused, text(operation, field, &got));
            }
            let error = serde_json::to_string(&init).unwrap_err();
            assert_eq!(error.to_string(), text("Init", "init", &got));
            assert_eq!(format!("{:?}", through_binary(&init)), format!("{init:?}"));
            let config = over().w_init(init).bias_init(init).d_init(DInit::Random(init));
            assert_eq!(format!("{:?}", through_binary(&config)), format!("{config:?}"));
        }
    }
    for init in inits(-1.5).into_iter().chain([Init::XavierUniform, Init::XavierNormal]) {
        let config = DoConv2dConfig::new(2, 3, [2, 2]).w_init(init).d_init(DInit::Random(init));
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<DoConv2dConfig>(&json).unwrap(), config);
        assert_eq!(through_binary(&config), config);
    }
}

/// Puts the values at the start of every parameter and asserts that a binary format keeps their bits.
fn binary_formats_keep<T: Scalar + Serialize + DeserializeOwned>(values: &[T]) {
    let mut layer = layer();
    for (_, parameters) in layer.parameters_mut() {
        parameters.iter_mut().zip(values).for_each(|(parameter, value)| *parameter = *value);
    }
    let loaded: DoConv2d<T> = through_binary(&layer);
    assert_eq!(loaded.config(), layer.config());
    assert_eq!(bits(loaded.parameters()), bits(layer.parameters()));

    let mut folded = layer.fold();
    for (_, parameters) in folded.parameters_mut() {
        parameters.iter_mut().zip(values).for_each(|(parameter, value)| *parameter = *value);
    }
    let loaded: Conv2d<T> = through_binary(&folded);
    assert_eq!(bits(loaded.parameters()), bits(folded.parameters()));

    let array = Array1::from(values.to_vec());
    let gradients = DoConv2dGradients {
        x: Some(array.clone().into_shape_with_order((1, 2, 1, 3)).unwrap()),
        w: array.clone().into_shape_with_order((3, 2, 1)).unwrap(),
        d_offset: None,
        bias: Some(array.clone()),
    };
    let loaded = through_binary(&gradients);
    let all = |gradients: &DoConv2dGradients<T>| {
        let DoConv2dGradients { x, w, d_offset, bias } = gradients;
        assert!(d_offset.is_none());
        let bias = bias.as_ref().unwrap();
        let all = x.as_ref().unwrap().iter().chain(w).chain(bias);
        all.map(|value| value.widen().to_bits()).collect::<Vec<u64>>()
    };
    assert_eq!(all(&loaded), all(&gradients));

    let gradients = Conv2dGradients {
        x: None,
        weight: array.clone().into_shape_with_order((1, 1, 3, 2)).unwrap(),
        bias: Some(array),
    };
    let loaded = through_binary(&gradients);
    let all = |gradients: &Conv2dGradients<T>| {
        assert!(gradients.x.is_none());
        let all = gradients.weight.iter().chain(gradients.bias.as_ref().unwrap());
        all.map(|value| value.widen().to_bits()).collect::<Vec<u64>>()
    };
    assert_eq!(all(&loaded), all(&gradients));
}

#[test]
fn binary_formats_keep_the_bits_of_every_number() {
    binary_formats_keep(&singles());
    binary_formats_keep(&doubles());
}
