//! Batch normalisations that are found by their names: networks in which they follow convolutions.

use do_conv::checkpoint::{BatchNormSource, FoldOptions, Framework, LayerOptions};

use super::nets::{BURN, KERAS, Keys, Net, TORCH, auto, expect_auto, listed};

#[test]
fn resnet_18_with_do_conv_layers() {
    let mut net = Net::new(TORCH);
    net.conv("conv1", [4, 3, 7]);
    net.norm("bn1", 4);
    let mut inputs = 4;
    for (layer, outputs) in [(1, 4), (2, 6), (3, 8), (4, 10)] {
        for block in 0..2 {
            let name = format!("layer{layer}.{block}");
            net.do_conv(&format!("{name}.conv1"), [outputs, inputs]);
            net.do_conv(&format!("{name}.conv2"), [outputs, outputs]);
            net.norm(&format!("{name}.bn1"), outputs);
            net.norm(&format!("{name}.bn2"), outputs);
            if inputs != outputs {
                net.conv(&format!("{name}.downsample.0"), [outputs, inputs, 1]);
                net.norm(&format!("{name}.downsample.1"), outputs);
            }
            inputs = outputs;
        }
    }
    net.checkpoint.insert("fc.weight", super::tensor(&[5, 10], |index| index as f32));
    let expected = "
        conv1 bn1
        layer1.0.conv1 layer1.0.bn1
        layer1.0.conv2 layer1.0.bn2
        layer1.1.conv1 layer1.1.bn1
        layer1.1.conv2 layer1.1.bn2
        layer2.0.conv1 layer2.0.bn1
        layer2.0.conv2 layer2.0.bn2
        layer2.0.downsample.0 layer2.0.downsample.1
        layer2.1.conv1 layer2.1.bn1
        layer2.1.conv2 layer2.1.bn2
        layer3.0.conv1 layer3.0.bn1
        layer3.0.conv2 layer3.0.bn2
        layer3.0.downsample.0 layer3.0.downsample.1
        layer3.1.conv1 layer3.1.bn1
        layer3.1.conv2 layer3.1.bn2
        layer4.0.conv1 layer4.0.bn1
        layer4.0.conv2 layer4.0.bn2
        layer4.0.downsample.0 layer4.0.downsample.1
        layer4.1.conv1 layer4.1.bn1
        layer4.1.conv2 layer4.1.bn2";
    expect_auto(&net, expected, &[]);
}

#[test]
fn resnet_50() {
    let mut net = Net::new(TORCH);
    net.pairs(&[("conv1", "bn1", [2, 3, 7])]);
    let mut expected = "conv1 bn1\n".to_owned();
    let mut inputs = 2;
    for (layer, blocks, width) in [(1, 3, 2), (2, 4, 3), (3, 6, 4), (4, 3, 5)] {
        for block in 0..blocks {
            let name = format!("layer{layer}.{block}");
            let shapes = [
                [width, inputs, 1],
                [width, width, 3],
                [4 * width, width, 1],
                [4 * width, inputs, 1],
            ];
            for (index, (conv, bn)) in [
                ("conv1", "bn1"),
                ("conv2", "bn2"),
                ("conv3", "bn3"),
                ("downsample.0", "downsample.1"),
            ]
            .into_iter()
            .enumerate()
            .take(if block == 0 { 4 } else { 3 })
            {
                let (conv, bn) = (format!("{name}.{conv}"), format!("{name}.{bn}"));
                net.pairs(&[(&conv, &bn, shapes[index])]);
                expected.push_str(&format!("{conv} {bn}\n"));
            }
            inputs = 4 * width;
        }
    }
    assert_eq!(expected.lines().count(), 53);
    expect_auto(&net, &expected, &[]);
}

#[test]
fn mobilenet_v2_of_torchvision() {
    let mut net = Net::new(TORCH);
    net.pairs(&[
        ("features.0.0", "features.0.1", [4, 3, 3]),
        ("features.1.conv.0.0", "features.1.conv.0.1", [4, 1, 3]),
        ("features.1.conv.1", "features.1.conv.2", [2, 4, 1]),
        ("features.2.conv.0.0", "features.2.conv.0.1", [12, 2, 1]),
        ("features.2.conv.1.0", "features.2.conv.1.1", [12, 1, 3]),
        ("features.2.conv.2", "features.2.conv.3", [3, 12, 1]),
        ("features.18.0", "features.18.1", [20, 3, 1]),
    ]);
    net.checkpoint.insert("classifier.1.weight", super::tensor(&[5, 20], |index| index as f32));
    let expected = "
        features.0.0 features.0.1
        features.1.conv.0.0 features.1.conv.0.1
        features.1.conv.1 features.1.conv.2
        features.18.0 features.18.1
        features.2.conv.0.0 features.2.conv.0.1
        features.2.conv.1.0 features.2.conv.1.1
        features.2.conv.2 features.2.conv.3";
    expect_auto(&net, expected, &[]);
}

#[test]
fn vgg_with_biases_of_its_own() {
    let mut net = Net::new(TORCH);
    let mut inputs = 3;
    for (at, outputs) in [(0, 4), (3, 4), (7, 6), (10, 6), (14, 8)] {
        net.conv(&format!("features.{at}"), [outputs, inputs, 3]);
        net.bias(&format!("features.{at}"), outputs);
        net.norm(&format!("features.{}", at + 1), outputs);
        inputs = outputs;
    }
    let expected = "
        features.0 features.1
        features.3 features.4
        features.7 features.8
        features.10 features.11
        features.14 features.15";
    expect_auto(&net, expected, &[]);
}

#[test]
fn efficientnets_of_timm() {
    let mut net = Net::new(TORCH);
    net.pairs(&[
        ("conv_stem", "bn1", [4, 3, 3]),
        ("blocks.0.0.conv_dw", "blocks.0.0.bn1", [4, 1, 3]),
        ("blocks.0.0.conv_pw", "blocks.0.0.bn2", [2, 4, 1]),
        ("blocks.1.0.conv_pw", "blocks.1.0.bn1", [12, 2, 1]),
        ("blocks.1.0.conv_dw", "blocks.1.0.bn2", [12, 1, 5]),
        ("blocks.1.0.conv_pwl", "blocks.1.0.bn3", [3, 12, 1]),
        // Version 2 has these.
        ("blocks.2.0.conv", "blocks.2.0.bn1", [3, 3, 3]),
        ("blocks.3.0.conv_exp", "blocks.3.0.bn1", [12, 3, 3]),
        ("blocks.3.0.conv_pwl", "blocks.3.0.bn2", [5, 12, 1]),
        ("conv_head", "bn2", [20, 5, 1]),
    ]);
    for block in ["blocks.0.0", "blocks.1.0"] {
        for (name, shape) in [("conv_reduce", [1, 4, 1]), ("conv_expand", [4, 1, 1])] {
            net.conv(&format!("{block}.se.{name}"), shape);
            net.bias(&format!("{block}.se.{name}"), shape[0]);
        }
    }
    let expected = "
        blocks.0.0.conv_dw blocks.0.0.bn1
        blocks.0.0.conv_pw blocks.0.0.bn2
        blocks.1.0.conv_dw blocks.1.0.bn2
        blocks.1.0.conv_pw blocks.1.0.bn1
        blocks.1.0.conv_pwl blocks.1.0.bn3
        blocks.2.0.conv blocks.2.0.bn1
        blocks.3.0.conv_exp blocks.3.0.bn1
        blocks.3.0.conv_pwl blocks.3.0.bn2
        conv_head bn2
        conv_stem bn1";
    expect_auto(&net, expected, &[]);
}

#[test]
fn detectron_mmcv_res2net_and_resnet_d() {
    let mut net = Net::new(TORCH);
    net.pairs(&[
        ("backbone.stem.conv1", "backbone.stem.conv1.norm", [4, 3, 7]),
        ("backbone.res2.0.shortcut", "backbone.res2.0.shortcut.norm", [8, 4, 1]),
        ("neck.0.conv", "neck.0.bn", [6, 8, 3]),
        ("block.convs.0", "block.bns.0", [3, 3, 3]),
        ("block.convs.1", "block.bns.1", [3, 3, 3]),
        ("deep.conv1.0", "deep.conv1.1", [2, 3, 3]),
        ("deep.conv1.3", "deep.conv1.4", [2, 2, 3]),
    ]);
    // Whose follower has another name: it stays, and the report says so.
    net.conv("deep.conv1.6", [4, 2, 3]);
    net.norm("deep.bn1", 4);
    let expected = "
        backbone.res2.0.shortcut backbone.res2.0.shortcut.norm
        backbone.stem.conv1 backbone.stem.conv1.norm
        block.convs.0 block.bns.0
        block.convs.1 block.bns.1
        deep.conv1.0 deep.conv1.1
        deep.conv1.3 deep.conv1.4
        neck.0.conv neck.0.bn";
    expect_auto(&net, expected, &["deep.bn1"]);
}

#[test]
fn a_network_of_burn() {
    let mut net = Net::new(BURN);
    net.pairs(&[
        ("conv1", "norm1", [4, 1, 3]),
        ("blocks.0.conv", "blocks.0.norm", [6, 4, 3]),
        ("blocks.1.conv2", "blocks.1.bn2", [6, 6, 3]),
    ]);
    net.do_conv("head.conv", [5, 6]);
    net.norm("head.batch_norm", 5);
    let expected = "
        blocks.0.conv blocks.0.norm
        blocks.1.conv2 blocks.1.bn2
        conv1 norm1
        head.conv head.batch_norm";
    expect_auto(&net, expected, &[]);
}

#[test]
fn networks_of_keras() {
    let mut net = Net::new(KERAS);
    net.pairs(&[
        ("conv1_conv", "conv1_bn", [4, 3, 7]),
        ("conv2_block1_1_conv", "conv2_block1_1_bn", [2, 4, 1]),
        ("conv2_block1_0_conv", "conv2_block1_0_bn", [8, 4, 1]),
        ("block_1_expand", "block_1_expand_BN", [6, 2, 1]),
        ("Conv1", "bn_Conv1", [5, 3, 3]),
        ("Conv_1", "Conv_1_bn", [9, 6, 1]),
        ("res2a_branch2a", "bn2a_branch2a", [3, 4, 1]),
        ("stem_conv", "stem_bn", [5, 3, 3]),
        ("conv2d", "batch_normalization", [5, 3, 3]),
        ("conv2d_1", "batch_normalization_1", [7, 5, 3]),
        // As HDF5 files have them.
        ("top/top_conv/top_conv", "top/top_bn/top_bn", [7, 5, 1]),
    ]);
    net.bias("conv1_conv", 4);
    let expected = "
        Conv1 bn_Conv1
        Conv_1 Conv_1_bn
        block_1_expand block_1_expand_BN
        conv1_conv conv1_bn
        conv2_block1_0_conv conv2_block1_0_bn
        conv2_block1_1_conv conv2_block1_1_bn
        conv2d batch_normalization
        conv2d_1 batch_normalization_1
        res2a_branch2a bn2a_branch2a
        stem_conv stem_bn
        top/top_conv/top_conv top/top_bn/top_bn";
    expect_auto(&net, expected, &[]);
}

#[test]
fn depthwise_and_separable_kernels_of_keras() {
    let mut net = Net::new(Keys { kernel: "/depthwise_kernel:0", ..KERAS });
    net.kernel("block_1_depthwise", &[3, 3, 4, 1]);
    net.norm("block_1_depthwise_BN", 4);
    net.keys.axis = 2;
    let pair = FoldOptions::default().batch_norm("*", "*_BN");
    let report = net.fold(&pair).unwrap();
    assert_eq!(report.plain[0].key, "block_1_depthwise/depthwise_kernel:0");
    // Two outputs an input, which are two axes, and of a separable convolution those of its second kernel.
    let mut net = Net::new(Keys { kernel: "/depthwise_kernel:0", ..KERAS });
    net.kernel("sep", &[3, 3, 4, 2]);
    net.norm("sep_BN", 8);
    let (folded, _) = super::fold::fold(&net.checkpoint, &pair).unwrap();
    let [before, after] = [&net.checkpoint, &folded].map(|of| {
        of.values("sep/depthwise_kernel:0").unwrap().into_shape_with_order((9, 8)).unwrap()
    });
    let [gamma, var] = ["gamma", "moving_variance"]
        .map(|part| net.checkpoint.values(&format!("sep_BN/{part}:0")).unwrap());
    for ((tap, o), after) in after.indexed_iter() {
        let expected = before[[tap, o]] * gamma[o] / (var[o] + 1e-3).sqrt();
        assert!((after - expected).abs() <= 1e-7 * expected.abs(), "{tap} {o}");
    }
    net.keys.kernel = "/pointwise_kernel:0";
    net.kernel("sep", &[1, 1, 8, 8]);
    net.keys.axis = 3;
    let report = net.fold(&pair).unwrap();
    assert_eq!(report.plain[0].key, "sep/pointwise_kernel:0");
}

#[test]
fn kernels_of_one_and_three_dimensions_and_of_several_parts() {
    let mut net = Net::new(TORCH);
    net.kernel("conv1", &[6, 4, 5]);
    net.norm("bn1", 6);
    net.kernel("conv2", &[5, 6, 3, 3, 3]);
    net.norm("bn2", 5);
    // More than what is read at a time, and no whole rows of it.
    net.kernel("conv3", &[301, 333, 1, 1]);
    net.norm("bn3", 301);
    expect_auto(&net, "conv1 bn1\nconv2 bn2\nconv3 bn3", &[]);
    let mut net = Net::new(KERAS);
    net.kernel("conv", &[1, 1, 333, 301]);
    net.norm("bn", 301);
    expect_auto(&net, "conv bn", &[]);
}

#[test]
fn a_network_of_gluon() {
    let mut net = Net::new(Keys {
        kernel: "_weight",
        bias: "_bias",
        norm: ["_gamma", "_beta", "_running_mean", "_running_var"],
        axis: 0,
    });
    net.pairs(&[
        ("resnetv10_conv0", "resnetv10_batchnorm0", [4, 3, 7]),
        ("resnetv10_stage1_conv0", "resnetv10_stage1_batchnorm0", [4, 4, 3]),
        ("resnetv10_stage1_conv1", "resnetv10_stage1_batchnorm1", [6, 4, 3]),
    ]);
    let options = auto().layers(LayerOptions::default().framework(Framework::Gluon));
    let report = net.fold(&options).unwrap();
    let expected = [
        "resnetv10_conv0 resnetv10_batchnorm0",
        "resnetv10_stage1_conv0 resnetv10_stage1_batchnorm0",
        "resnetv10_stage1_conv1 resnetv10_stage1_batchnorm1",
    ];
    assert_eq!(listed(&report, BatchNormSource::Auto), expected);
}
