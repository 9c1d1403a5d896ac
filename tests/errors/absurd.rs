//! Whatever the numbers, a layer is made or refused, and an image is convolved or refused. Nothing
//! panics.

use std::iter::once;

use do_conv::{
    Composition, Conv2d, Conv2dConfig, DInit, DoConv2d, DoConv2dConfig, Init, Padding, PaddingMode,
    Pairing,
};
use ndarray::Array4;
use proptest::prelude::*;

const COMPOSITIONS: [Composition; 3] =
    [Composition::Kernel, Composition::Feature, Composition::Auto];
const MODES: [PaddingMode; 4] =
    [PaddingMode::Zeros, PaddingMode::Reflect, PaddingMode::Replicate, PaddingMode::Circular];

const CASES: u32 = 5000;

/// Mostly a small number, sometimes an absurd one.
fn number() -> impl Strategy<Value = usize> {
    let bits = usize::BITS;
    let absurd = vec![0, 1 << (bits / 8 * 5), 1 << (bits - 5), usize::MAX / 2, usize::MAX];
    prop_oneof![12 => 1usize..4, 1 => proptest::sample::select(absurd)]
}

fn pair() -> impl Strategy<Value = [usize; 2]> {
    [number(), number()]
}

fn padding() -> impl Strategy<Value = Padding> {
    let side = || prop_oneof![8 => 0usize..4, 1 => number()];
    let explicit = [[side(), side()], [side(), side()]].prop_map(Padding::Explicit);
    prop_oneof![1 => Just(Padding::Valid), 1 => Just(Padding::Same), 4 => explicit]
}

fn init() -> impl Strategy<Value = Init> {
    let value = prop_oneof![
        8 => -2.0..2.0,
        1 => proptest::sample::select(vec![f64::NAN, f64::INFINITY, f64::MAX, -f64::MAX, 0.0]),
    ];
    (value, 0..7).prop_map(|(value, kind)| match kind {
        0 => Init::KaimingUniform { a: value },
        1 => Init::KaimingNormal { a: value },
        2 => Init::XavierUniform,
        3 => Init::XavierNormal,
        4 => Init::Uniform { bound: value },
        5 => Init::Normal { std: value },
        _ => Init::Constant { value },
    })
}

fn conv_config() -> impl Strategy<Value = Conv2dConfig> {
    let sizes = (number(), number(), number(), pair(), pair(), pair());
    let settings = (padding(), proptest::sample::select(MODES.to_vec()), any::<bool>());
    (sizes, settings, init(), init()).prop_map(|(sizes, settings, w_init, bias_init)| {
        let (in_channels, out_channels, groups, kernel_size, stride, dilation) = sizes;
        let (padding, mode, bias) = settings;
        // Numbers drawn alone seldom divide each other.
        let multiple = |channels: usize| channels.checked_mul(groups).unwrap_or(channels);
        Conv2dConfig::new(multiple(in_channels), multiple(out_channels), kernel_size)
            .stride(stride)
            .dilation(dilation)
            .padding(padding)
            .padding_mode(mode)
            .groups(groups)
            .bias(bias)
            .w_init(w_init)
            .bias_init(bias_init)
    })
}

fn config() -> impl Strategy<Value = DoConv2dConfig> {
    let d_mul = prop_oneof![
        4 => Just(None),
        2 => (0usize..20).prop_map(Some),
        1 => number().prop_map(Some),
    ];
    let d_init = prop_oneof![Just(DInit::Identity), init().prop_map(DInit::Random)];
    let settings = (
        proptest::sample::select(COMPOSITIONS.to_vec()),
        proptest::sample::select(Pairing::ALL.to_vec()),
    );
    (conv_config(), d_mul, d_init, settings).prop_map(|(conv, d_mul, d_init, settings)| {
        let config = DoConv2dConfig::from(conv).d_init(d_init).composition(settings.0);
        let config = config.pairing(settings.1);
        match d_mul {
            None => config,
            Some(d_mul) => config.d_mul(d_mul),
        }
    })
}

/// The elements of an array of that shape; empty extents don't count.
fn elements(shape: &[usize]) -> u128 {
    let extents = shape.iter().filter(|&&extent| extent > 0);
    extents.fold(1, |product, &extent| product.saturating_mul(extent as u128))
}

/// Whether an array of that shape takes a few megabytes.
fn is_small(shape: &[usize]) -> bool {
    elements(shape) < 1 << 20
}

/// Whether an array of that shape takes a few megabytes, or more than any machine has.
fn is_harmless(shape: &[usize]) -> bool {
    is_small(shape) || elements(shape) >= 1 << (usize::BITS - 5)
}

/// Whether all arrays that the layer and its passes are made of are [`is_harmless`].
fn modest(config: &DoConv2dConfig, input: [usize; 4]) -> bool {
    let conv = &config.conv;
    let n = conv.in_channels / conv.groups.max(1);
    let [m, k] = conv.kernel_size;
    let taps = m.saturating_mul(k);
    let d_mul = config.d_mul.unwrap_or(taps);
    let padded = |axis: usize| {
        let sides = match conv.padding {
            Padding::Valid => [0, 0],
            Padding::Explicit(sides) => sides[axis],
            Padding::Same => [conv.kernel_size[axis].saturating_mul(conv.dilation[axis]), 0],
        };
        sides.into_iter().fold(input[axis + 2], usize::saturating_add)
    };
    let arrays: [&[usize]; 5] = [
        &input,
        &[conv.out_channels, n, taps],
        &[conv.out_channels, n, d_mul],
        &[conv.in_channels, taps, d_mul],
        &[conv.in_channels, padded(0), padded(1)],
    ];
    arrays.into_iter().all(is_harmless)
}

/// Everything that a plain layer does.
fn use_conv(conv: &Conv2d<f32>, input: [usize; 4]) {
    let _ = conv.to_string();
    let Ok(shape) = conv.output_shape(input) else { return };
    if !is_harmless(&shape) || !is_small(&input) {
        return;
    }
    let x = Array4::ones(input);
    let Ok(y) = conv.forward(&x) else { return };
    conv.forward_into(&x, &mut y.clone()).unwrap();
    conv.backward(&x, &y).unwrap();
    for d_mul in once(None).chain([4, 9, usize::MAX].map(Some)) {
        let _ = DoConv2d::from_conv2d(conv, d_mul);
    }
}

/// Everything that a DO-Conv layer does.
fn use_layer(layer: &DoConv2d<f32>, input: [usize; 4]) {
    let _ = layer.to_string();
    let _ = layer.cost(input).map(|cost| cost.to_string());
    let folded = layer.fold();
    use_conv(&folded, input);
    let Ok(shape) = layer.output_shape(input) else { return };
    if !is_harmless(&shape) || !is_small(&input) {
        return;
    }
    let x = Array4::ones(input);
    let Ok(y) = layer.forward(&x) else { return };
    layer.forward_into(&x, &mut y.clone()).unwrap();
    layer.backward(&x, &y).unwrap();
    layer.check_fold_random(&folded, input, 0).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: CASES,
        max_global_rejects: CASES,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn no_numbers_make_anything_panic(
        config in config(),
        batch in 0usize..3,
        image in [0usize..6, 0usize..6],
        other_input in [number(), number(), number(), number()],
    ) {
        let input = [batch, config.conv.in_channels, image[0], image[1]];
        prop_assume!(modest(&config, input));
        if let Ok(conv) = config.conv.clone().init(0) {
            use_conv(&conv, input);
            use_conv(&conv, other_input);
        }
        if let Ok(layer) = config.init(0) {
            use_layer(&layer, input);
            use_layer(&layer, other_input);
        }
    }
}

#[test]
fn a_stride_and_a_dilation_beyond_any_memory() {
    let far = 1 << (usize::BITS - 4);
    let conv = Conv2dConfig::new(1, 1, [1, 2])
        .dilation([1, far])
        .stride([1, usize::MAX])
        .padding([[0, 0], [far, far]]);
    let conv: Conv2d<f32> = conv.bias(false).init(0).unwrap();
    let x = Array4::ones((1, 1, 1, 1));
    let y = conv.forward(&x).unwrap();
    assert_eq!(y, Array4::from_elem((1, 1, 1, 1), conv.weight()[[0, 0, 0, 1]]));
    conv.backward(&x, &y).unwrap();

    let conv = Conv2dConfig::new(1, 8, [1, 1]).stride([far, 1]).padding([[far, far], [0, 0]]);
    let conv: Conv2d<f32> = conv.bias(false).init(0).unwrap();
    let x = Array4::ones((8, 1, 1, 5));
    let y = conv.forward(&x).unwrap();
    assert_eq!(y.dim(), (8, 8, 3, 5));
    conv.backward(&x, &y).unwrap();
}
