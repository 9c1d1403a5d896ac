//! The layers that are timed, and numbers for them.

use do_conv::DoConv2dConfig;
use ndarray::Array4;

/// Name, layer and input.
pub type Case = (&'static str, DoConv2dConfig, [usize; 4]);

/// Layers of ResNet, ResNeXt, MobileNet and DeepLab, without a bias.
#[allow(dead_code)] // Not every benchmark uses it.
pub fn layers() -> [Case; 11] {
    let dense = |inputs, outputs| DoConv2dConfig::new(inputs, outputs, [3, 3]).padding(1);
    let cases = [
        (
            "r18.conv1",
            DoConv2dConfig::new(3, 64, [7, 7]).stride([2, 2]).padding(3),
            [8, 3, 224, 224],
        ),
        ("r18.l1", dense(64, 64), [8, 64, 56, 56]),
        ("r18.l2", dense(128, 128), [8, 128, 28, 28]),
        ("r18.l3", dense(256, 256), [8, 256, 14, 14]),
        ("r18.l4", dense(512, 512), [8, 512, 7, 7]),
        ("r18.l2s", dense(64, 128).stride([2, 2]), [8, 64, 56, 56]),
        ("r50.1x1", DoConv2dConfig::new(256, 64, [1, 1]), [8, 256, 56, 56]),
        ("rx50.g32", dense(128, 128).groups(32), [8, 128, 56, 56]),
        ("mbv1.dw", dense(256, 256).groups(256), [8, 256, 28, 28]),
        (
            "mbv3.dw5",
            DoConv2dConfig::new(120, 120, [5, 5]).padding(2).groups(120),
            [8, 120, 28, 28],
        ),
        ("dl.aspp6", dense(256, 256).padding(6).dilation([6, 6]), [2, 256, 33, 33]),
    ];
    cases.map(|(name, config, input)| (name, config.bias(false), input))
}

/// Numbers without subnormals or repetition, the same every time.
#[allow(dead_code)]
pub fn image(shape: [usize; 4]) -> Array4<f32> {
    let mut index = 0u32;
    Array4::from_shape_simple_fn(shape, || {
        index = index.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (index >> 8) as f32 / (1 << 23) as f32 - 1.0
    })
}
