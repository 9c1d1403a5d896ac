//! What each form of a layer costs, against figures worked out by hand, and how layers and costs
//! print.

use do_conv::{
    Composition, Conv2d, Conv2dConfig, Cost, DInit, DoConv2d, DoConv2dConfig, FormCost, Init,
    PaddingMode, Pairing, Scalar,
};
use ndarray::Array4;

use crate::common::Numbers;

fn form(parameters: u64, maccs: u64, training_maccs: u64, bytes: u64) -> FormCost {
    FormCost { parameters, maccs, training_maccs, bytes }
}

fn cost_of<T: Scalar>(config: DoConv2dConfig, input: [usize; 4]) -> Cost {
    config.init::<T>(0).unwrap().cost(input).unwrap()
}

/// 3 to 16 channels, 3×3; 2 · 16 · 16 = 512 output pixels.
fn do_conv() -> Cost {
    let config = DoConv2dConfig::new(3, 16, [3, 3]).stride([2, 2]).padding(1);
    cost_of::<f32>(config, [2, 3, 32, 32])
}

#[test]
fn of_do_conv() {
    // Images have 2·3·32² + 2·16·16² = 14336 elements; W has 432, D 243, W' 432, the bias 16.
    let cost = do_conv();
    assert_eq!(cost.input_shape, [2, 3, 32, 32]);
    assert_eq!(cost.output_shape, [2, 16, 16, 16]);
    // 16·3·9·512 MACCs; (14336 + 448)·4 bytes.
    assert_eq!(cost.plain, form(448, 221_184, 663_552, 59_136));
    // 16·3·9·9 = 3888 MACCs more; (14336 + 691 + 2·432)·4 bytes.
    assert_eq!(cost.kernel, form(691, 225_072, 675_216, 63_564));
    // 3·9·512·(9 + 16) MACCs; (14336 + 691)·4 bytes.
    assert_eq!(cost.feature, Some(form(691, 345_600, 1_036_800, 60_108)));
}

#[test]
fn of_do_gconv_without_bias() {
    // 2 to 3 channels in each of 4 groups, S = 10; 8·7 = 56 output pixels. Images have
    // 8·90 + 12·56 = 1392 elements; W has 240, D 720, W' 216.
    let config = DoConv2dConfig::new(8, 12, [3, 3]).groups(4).d_mul(10).bias(false);
    let cost = cost_of::<f64>(config.clone(), [1, 8, 10, 9]);
    // 12·2·9·56 MACCs; (1392 + 216)·8 bytes.
    assert_eq!(cost.plain, form(216, 12_096, 36_288, 12_864));
    // 12·2·9·10 = 2160 MACCs more; (1392 + 960 + 2·216)·8 bytes.
    assert_eq!(cost.kernel, form(960, 14_256, 42_768, 22_272));
    // 8·10·56·(9 + 3) MACCs; (1392 + 960)·8 bytes.
    assert_eq!(cost.feature, Some(form(960, 53_760, 161_280, 18_816)));

    for pairing in [Pairing::PyTorch, Pairing::TensorFlow] {
        let by_pairing = cost_of::<f64>(config.clone().pairing(pairing), [1, 8, 10, 9]);
        assert_eq!(by_pairing, Cost { feature: None, ..cost });
    }
}

#[test]
fn of_do_dconv() {
    // 16 channels each to itself; 4·49 = 196 output pixels. Images have 2·16·196 = 6272
    // elements; W and W' have 144, D 1296, the bias 16.
    let config = DoConv2dConfig::new(16, 16, [3, 3]).groups(16).padding(1);
    let cost = cost_of::<f32>(config, [4, 16, 7, 7]);
    // 16·9·196 MACCs; (6272 + 160)·4 bytes.
    assert_eq!(cost.plain, form(160, 28_224, 84_672, 25_728));
    // 16·9·9 = 1296 MACCs more; (6272 + 1456 + 2·144)·4 bytes.
    assert_eq!(cost.kernel, form(1_456, 29_520, 88_560, 32_064));
    // 16·9·196·(9 + 1) MACCs; (6272 + 1456)·4 bytes.
    assert_eq!(cost.feature, Some(form(1_456, 282_240, 846_720, 30_912)));
}

#[test]
fn of_a_pointwise_layer_is_the_same_in_every_form() {
    // 6·4·50 MACCs; 300 + 200 elements of images and 28 parameters.
    let cost = cost_of::<f32>(DoConv2dConfig::new(6, 4, [1, 1]), [2, 6, 5, 5]);
    assert_eq!(cost.plain, form(28, 1_200, 3_600, 2_112));
    assert_eq!((cost.kernel, cost.feature), (cost.plain, Some(cost.plain)));
}

#[test]
fn of_an_empty_batch_is_that_of_the_parameters() {
    let cost = cost_of::<f32>(DoConv2dConfig::new(3, 16, [3, 3]), [0, 3, 9, 9]);
    assert_eq!(cost.plain, form(448, 0, 0, 4 * 448));
    assert_eq!(cost.kernel, form(691, 3_888, 11_664, 4 * (691 + 864)));
    assert_eq!(cost.feature, Some(form(691, 0, 0, 4 * 691)));
}

#[test]
fn decides_the_automatic_composition() {
    // One group and S = MN: kernels are cheaper from as many output pixels on as there are
    // output channels.
    for (pixels, cheaper) in [(1, "feature"), (4, "feature"), (5, "kernel"), (9, "kernel")] {
        let composed = |composition| {
            let random = DInit::Random(Init::default());
            let config = DoConv2dConfig::new(2, 5, [2, 2]).d_init(random);
            config.composition(composition).init::<f32>(0).unwrap()
        };
        let mut numbers = Numbers::new(5);
        let x = Array4::from_shape_simple_fn((1, 2, 2, pixels + 1), || numbers.real() as f32);
        let layer = composed(Composition::Auto);
        let cost = layer.cost(x.dim().into()).unwrap();
        let feature = cost.feature.unwrap().maccs < cost.kernel.maccs;
        assert_eq!(feature, cheaper == "feature", "{pixels} pixels");

        let y = layer.forward(&x).unwrap();
        let [by_kernel, by_feature] = [Composition::Kernel, Composition::Feature]
            .map(|composition| composed(composition).forward(&x).unwrap());
        assert_ne!(by_kernel, by_feature);
        assert_eq!(y, if feature { by_feature } else { by_kernel });
    }
}

#[test]
fn of_any_layer_prints_as_a_table() {
    let table = "\
[2, 3, 32, 32] → [2, 16, 16, 16]
form                     parameters      MACCs forward         MACCs step    bytes forward
plain, folded                   448            221,184            663,552           59,136
kernel composition              691            225,072            675,216           63,564
feature composition             691            345,600          1,036,800           60,108";
    assert_eq!(do_conv().to_string(), table);

    let without_feature = Cost { feature: None, ..do_conv() };
    let (shorter, _) = table.rsplit_once('\n').unwrap();
    assert_eq!(without_feature.to_string(), shorter);
}

fn layer_prints(config: DoConv2dConfig, plain: &str, over: &str) {
    let layer: DoConv2d<f32> = config.init(0).unwrap();
    assert_eq!(layer.to_string(), over);
    assert_eq!(layer.fold().to_string(), plain);
}

#[test]
fn layers_show_sizes_and_costs() {
    layer_prints(
        DoConv2dConfig::new(3, 16, [3, 3]),
        "Conv2d(3 → 16, 3×3; 448 parameters; 432 MACCs per output pixel)",
        "DoConv2d(3 → 16, 3×3, d_mul 9; 691 parameters, 448 folded; 432 MACCs per output pixel, \
         3,888 more to compose, none folded)",
    );
    layer_prints(
        DoConv2dConfig::new(6, 4, [1, 1]),
        "Conv2d(6 → 4, 1×1; 28 parameters; 24 MACCs per output pixel)",
        "DoConv2d(6 → 4, 1×1; 28 parameters, 28 folded; 24 MACCs per output pixel)",
    );
    // A million parameters.
    layer_prints(
        DoConv2dConfig::new(1000, 1000, [1, 1]).bias(false),
        "Conv2d(1000 → 1000, 1×1, no bias; 1,000,000 parameters; 1,000,000 MACCs per output \
         pixel)",
        "DoConv2d(1000 → 1000, 1×1, no bias; 1,000,000 parameters, 1,000,000 folded; 1,000,000 \
         MACCs per output pixel)",
    );
}

#[test]
fn layers_show_every_setting_that_is_not_the_default() {
    layer_prints(
        DoConv2dConfig::new(8, 12, [3, 1])
            .stride([2, 2])
            .dilation([3, 3])
            .padding(1)
            .groups(4)
            .d_mul(5)
            .bias(false),
        "Conv2d(8 → 12, 3×1, stride 2, dilation 3, padding 1, groups 4, no bias; 72 parameters; \
         72 MACCs per output pixel)",
        "DoConv2d(8 → 12, 3×1, stride 2, dilation 3, padding 1, groups 4, no bias, d_mul 5; 240 \
         parameters, 72 folded; 72 MACCs per output pixel, 360 more to compose, none folded)",
    );
    layer_prints(
        DoConv2dConfig::new(1, 1, [2, 2])
            .stride([1, 2])
            .dilation([2, 1])
            .padding([1, 2])
            .padding_mode(PaddingMode::Replicate),
        "Conv2d(1 → 1, 2×2, stride 1×2, dilation 2×1, padding 1×2 replicate; 5 parameters; 4 \
         MACCs per output pixel)",
        "DoConv2d(1 → 1, 2×2, stride 1×2, dilation 2×1, padding 1×2 replicate, d_mul 4; 21 \
         parameters, 5 folded; 4 MACCs per output pixel, 16 more to compose, none folded)",
    );
    let sides = Conv2dConfig::new(1, 1, [1, 1]).padding([[0, 1], [2, 3]]);
    let conv: Conv2d<f64> = sides.padding_mode(PaddingMode::Circular).init(0).unwrap();
    let text = "Conv2d(1 → 1, 1×1, padding [[0, 1], [2, 3]] circular; 2 parameters; 1 MACCs per \
                output pixel)";
    assert_eq!(conv.to_string(), text);
    for sides in [[[1, 1], [2, 3]], [[1, 2], [3, 3]], [[1, 2], [1, 2]]] {
        let conv = Conv2dConfig::new(1, 1, [1, 1]).padding(sides).init::<f64>(0).unwrap();
        let text = conv.to_string();
        assert!(text.starts_with(&format!("Conv2d(1 → 1, 1×1, padding {sides:?}; ")), "{text}");
    }
}
