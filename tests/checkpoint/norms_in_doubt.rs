//! Batch normalisations that names don't tell, and pairs by patterns.

use do_conv::ErrorKind;
use do_conv::checkpoint::{BatchNormSource, FoldOptions};

use super::nets::{BURN, KERAS, Net, TORCH, auto, listed, refused_auto};
use crate::common::refused;

/// Torchvision's DenseNet: normalisations come before convolutions, but for the first. In the third layer
/// that before `conv1` has as many channels as `conv1` has outputs.
fn densenet() -> Net {
    let mut net = Net::new(TORCH);
    net.pairs(&[("features.conv0", "features.norm0", [8, 3, 7])]);
    let (growth, mut inputs) = (4, 8);
    for layer in 1..=3 {
        let name = format!("features.denseblock1.denselayer{layer}");
        net.norm(&format!("{name}.norm1"), inputs);
        net.conv(&format!("{name}.conv1"), [4 * growth, inputs, 1]);
        net.norm(&format!("{name}.norm2"), 4 * growth);
        net.conv(&format!("{name}.conv2"), [growth, 4 * growth, 3]);
        inputs += growth;
    }
    assert_eq!(inputs - growth, 4 * growth);
    net.norm("features.transition1.norm", inputs);
    net.conv("features.transition1.conv", [inputs / 2, inputs, 1]);
    net.norm("features.norm5", inputs / 2);
    net
}

#[test]
fn densenet_is_refused_by_names_and_folded_by_patterns() {
    let net = densenet();
    let got = |norm: &str| {
        format!(
            "{norm}, while others come before convolutions, or not where names say: \
             features.denseblock1.denselayer1.norm1 of 8 channels for the 16 outputs of \
             features.denseblock1.denselayer1.conv1; that many has \
             features.denseblock1.denselayer1.norm2"
        )
    };
    refused_auto(&net, &auto(), "features.conv0", &got("features.norm0"));
    // To skip where it shows doesn't make the rest right.
    let skip = ["features.conv0", "*denselayer1*", "*denselayer2*"];
    let options = skip.iter().fold(auto(), |options, skip| options.skip_batch_norm(*skip));
    let third = "features.denseblock1.denselayer3";
    refused_auto(&net, &options, &format!("{third}.conv1"), &got(&format!("{third}.norm1")));
    refused_auto(
        &net,
        &options.skip_batch_norm("*denselayer3*"),
        "features.transition1.conv",
        "features.transition1.norm of 20 channels for the 10 outputs of features.transition1.conv",
    );

    let options = FoldOptions::default()
        .batch_norm("*.conv1", "*.norm2")
        .batch_norm("features.conv0", "features.norm0");
    let report = net.fold(&options).unwrap();
    let pairs: Vec<_> =
        report.batch_norms.iter().map(|pair| (pair.layer.as_str(), pair.source)).collect();
    let (named, pattern) = (BatchNormSource::Named, BatchNormSource::Pattern);
    assert_eq!(
        pairs,
        [
            ("features.conv0", named),
            ("features.denseblock1.denselayer1.conv1", pattern),
            ("features.denseblock1.denselayer2.conv1", pattern),
            ("features.denseblock1.denselayer3.conv1", pattern),
        ]
    );
    assert_eq!(
        report.batch_norms_left,
        [
            "features.denseblock1.denselayer1.norm1",
            "features.denseblock1.denselayer2.norm1",
            "features.denseblock1.denselayer3.norm1",
            "features.norm5",
            "features.transition1.norm",
        ]
    );
    // With both, what patterns pair is out of doubt, and the rest is as doubtful.
    refused_auto(
        &net,
        &options.auto_batch_norms(true),
        "features.transition1.conv",
        "features.transition1.norm of 20 channels for the 10 outputs of features.transition1.conv",
    );
}

#[test]
fn a_pre_activation_resnet_is_refused() {
    let mut net = Net::new(TORCH);
    net.conv("conv1", [4, 3, 3]);
    let mut inputs = 4;
    for (layer, outputs) in [(1, 4), (2, 6)] {
        for block in 0..2 {
            let name = format!("layer{layer}.{block}");
            net.norm(&format!("{name}.bn1"), inputs);
            net.conv(&format!("{name}.conv1"), [outputs, inputs, 3]);
            net.norm(&format!("{name}.bn2"), outputs);
            net.conv(&format!("{name}.conv2"), [outputs, outputs, 3]);
            inputs = outputs;
        }
    }
    let got = "layer1.0.bn1, while others come before convolutions, or not where names say: layer2.0.bn1 of \
               4 channels for the 6 outputs of layer2.0.conv1; that many has layer2.0.bn2";
    refused_auto(&net, &auto(), "layer1.0.conv1", got);
    refused_auto(&net, &auto().batch_norm("layer2.0.conv1", "layer2.0.bn2"), "layer1.0.conv1", got);
    let report = net.fold(&FoldOptions::default().batch_norm("*.conv1", "*.bn2")).unwrap();
    assert_eq!(report.plain.len(), 4);
}

#[test]
fn a_network_whose_channels_tell_no_order() {
    let mut net = Net::new(TORCH);
    for block in 0..3 {
        let names = [1, 2].map(|n| [format!("b.{block}.conv{n}"), format!("b.{block}.bn{n}")]);
        names.iter().for_each(|[conv, bn]| net.pairs(&[(conv, bn, [4, 4, 3])]));
    }
    let got = "b.0.bn1, which may as well come before it: no convolution with other inputs than outputs \
               tells, that of a stem aside";
    refused_auto(&net, &auto(), "b.0.conv1", got);
    // The last normalisation of a pre-activation network has the channels of its stem.
    net.pairs(&[("conv1", "bn1", [4, 3, 3])]);
    refused_auto(&net, &auto(), "b.0.conv1", got);
    let report = net.fold(&FoldOptions::default().batch_norm("b.*.conv*", "b.*.bn*")).unwrap();
    let expected = [
        "b.0.conv1 b.0.bn1",
        "b.0.conv2 b.0.bn2",
        "b.1.conv1 b.1.bn1",
        "b.1.conv2 b.1.bn2",
        "b.2.conv1 b.2.bn1",
        "b.2.conv2 b.2.bn2",
    ];
    assert_eq!(listed(&report, BatchNormSource::Pattern), expected);
}

#[test]
fn several_candidates_and_several_convolutions() {
    let mut net = Net::new(BURN);
    net.pairs(&[("conv1", "bn1", [4, 3, 3])]);
    net.norm("norm1", 4);
    refused_auto(&net, &auto(), "conv1", "bn1 and norm1");
    // One of them is told.
    let report = net.fold(&auto().batch_norm("conv1", "norm1")).unwrap();
    assert_eq!(listed(&report, BatchNormSource::Named), ["conv1 norm1"]);
    assert_eq!(report.batch_norms_left, ["bn1"]);

    let mut net = Net::new(TORCH);
    net.pairs(&[("conv1", "bn1", [4, 3, 3])]);
    net.conv("dwconv1", [4, 1, 3]);
    refused_auto(&net, &auto(), "bn1", "conv1 and dwconv1");
    let report = net.fold(&auto().skip_batch_norm("conv*")).unwrap();
    assert_eq!(listed(&report, BatchNormSource::Auto), ["dwconv1 bn1"]);
}

#[test]
fn transposed_convolutions_and_sequences_that_are_none() {
    // Of Simple Baselines: the second fits by chance, and its outputs are on the other axis.
    let mut net = Net::new(TORCH);
    net.kernel("deconv_layers.0", &[8, 4, 4, 4]);
    net.norm("deconv_layers.1", 4);
    net.kernel("deconv_layers.3", &[4, 4, 4, 4]);
    net.norm("deconv_layers.4", 4);
    let misfit = "deconv_layers.1 of 4 channels for the 8 outputs of deconv_layers.0";
    refused_auto(&net, &auto(), "deconv_layers.0", misfit);
    let got = format!(
        "deconv_layers.4, while others come before convolutions, or not where names say: {misfit}"
    );
    refused_auto(&net, &auto().skip_batch_norm("deconv_layers.0"), "deconv_layers.3", &got);

    for (name, size) in [("up1.0", 2), ("deconv.0", 3), ("a.conv_transpose.0", 3), ("b.0", 4)] {
        let mut net = Net::new(TORCH);
        let norm = format!("{}1", &name[..name.len() - 1]);
        net.pairs(&[(name, &norm, [4, 4, size])]);
        let got = format!(
            "a kernel of as many inputs as outputs, of an even size or of a transposed one's name, for \
             {norm}"
        );
        refused_auto(&net, &auto(), name, &got);
        refused_auto(&net, &FoldOptions::default().batch_norm("*.0", "*.1"), name, &got);
        net.fold(&FoldOptions::default().batch_norm(name, norm)).unwrap();
    }
}

#[test]
fn numbers_of_keras_that_went_apart() {
    let mut net = Net::new(KERAS);
    net.pairs(&[
        ("conv2d", "batch_normalization", [4, 3, 3]),
        ("conv2d_1", "batch_normalization_1", [4, 4, 3]),
    ]);
    net.conv("conv2d_2", [4, 4, 3]);
    let got =
        "batch_normalization, while convolutions and batch normalisations aren't numbered alike";
    refused_auto(&net, &auto(), "conv2d", got);
    net.fold(&FoldOptions::default().batch_norm("conv2d*", "batch_normalization*")).unwrap();
    // A head without one, out of the count.
    net.checkpoint.remove("conv2d_2/kernel:0");
    net.conv("predictions", [4, 4, 3]);
    let report = net.fold(&auto()).unwrap();
    assert_eq!(report.plain.len(), 2);
}

#[test]
fn patterns_that_pair_nothing_or_too_much() {
    let mut net = Net::new(TORCH);
    net.pairs(&[("conv1", "bn1", [4, 3, 3]), ("conv2", "bn2", [4, 4, 3])]);
    let fold = |pairs: &[(&str, &str)]| {
        let options = pairs
            .iter()
            .fold(FoldOptions::default(), |options, (conv, bn)| options.batch_norm(*conv, *bn));
        net.fold(&options)
    };
    let config = "Checkpoint::fold: batch_norms: expected ";
    for (pairs, text) in [
        (
            &[("conv*", "norm*")][..],
            "patterns of at least one convolution and its batch normalisation, got conv* = norm*",
        ),
        (&[("conv*", "bn1")], "as many * in both patterns of a pair, got conv* = bn1"),
        (&[("conv1", "bn*")], "as many * in both patterns of a pair, got conv1 = bn*"),
        (&[("conv1", "bn1"), ("conv1", "bn2")], "each convolution once, got conv1"),
        (&[("conv1", "bn2"), ("conv*", "bn*")], "each batch normalisation once, got bn2"),
    ] {
        refused(fold(pairs), ErrorKind::Config, &format!("{config}{text}"));
    }
    net.norm("norm1", 4);
    let both = FoldOptions::default().batch_norm("conv*", "bn*").batch_norm("conv*", "norm*");
    refused_auto(&net, &both, "conv1", "bn1 and norm1");
    // Names go before patterns.
    let report = net.fold(&both.batch_norm("conv1", "norm1")).unwrap();
    assert_eq!(report.batch_norms_left, ["bn1"]);
    refused(
        net.fold(&auto().skip_batch_norm("head*")),
        ErrorKind::Config,
        "Checkpoint::fold: skip_batch_norms: expected the name of a DO-Conv layer or of a convolution, \
         got head*",
    );
}

#[test]
fn nothing_to_fold() {
    let mut net = Net::new(TORCH);
    net.conv("conv1", [4, 3, 3]);
    net.norm("ln", 4);
    let text = "Checkpoint::fold: layers: expected a DO-Conv layer of that framework, got none";
    refused(net.fold(&auto()), ErrorKind::Config, text);
    // With a layer there is something.
    net.do_conv("a", [4, 3]);
    let report = net.fold(&auto()).unwrap();
    assert_eq!((report.batch_norms, report.batch_norms_left), (vec![], vec!["ln".to_owned()]));
}
