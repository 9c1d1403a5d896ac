//! Which convolutions are unfolded, what is reported, and what is refused.

use do_conv::checkpoint::{
    Checkpoint, Dtype, Form, GroupsSource, LayerOptions, LeftReason, Tensor, UnfoldOptions,
    UnfoldTarget,
};
use do_conv::{ErrorKind, Result};

use super::tensor;
use super::unfold::{plain, unfold};
use crate::common::refused;

/// A net of several layers and other things.
fn net() -> Checkpoint {
    let mut checkpoint = plain([4, 3, 3, 3], Dtype::F32);
    for (key, shape) in [
        ("block.0.dw.weight", &[4, 1, 3, 3][..]),
        ("block.0.pw.weight", &[8, 4, 1, 1]),
        ("block.1.conv.weight", &[8, 8, 1, 3]),
        ("line.weight", &[2, 2, 3]),
        ("cube.weight", &[2, 2, 3, 3, 3]),
        ("empty.weight", &[0, 2, 3, 3]),
        ("head.weight", &[10, 8]),
        ("bn.weight", &[4]),
        ("bn.running_mean", &[4]),
    ] {
        checkpoint.insert(key, tensor(shape, |at| 1.0 + at as f32));
    }
    checkpoint.insert("q.weight", Tensor::new(Dtype::I8, &[1, 2, 2, 2], &[1; 8]).unwrap());
    checkpoint.insert("steps", Tensor::new(Dtype::I64, &[], &[7; 8]).unwrap());
    checkpoint.metadata_mut().insert("epoch".into(), "3".into());
    checkpoint
}

#[test]
fn everything_else_stays_as_it_is_and_is_reported() {
    let checkpoint = net();
    let options = UnfoldOptions::default().depthwise("*.dw").d_mul("*", 9).d_mul("block.1*", 5);
    let (unfolded, report) = unfold(&checkpoint, &options);
    let layers: Vec<_> = report
        .layers
        .iter()
        .map(|layer| (&*layer.name, layer.form, layer.groups, layer.groups_source, layer.w_shape))
        .collect();
    assert_eq!(
        layers,
        [
            ("a", Form::DoConv, 1, GroupsSource::Assumed, [4, 3, 9]),
            ("block.0.dw", Form::DoDConv, 4, GroupsSource::Options, [4, 1, 9]),
            ("block.1.conv", Form::DoConv, 1, GroupsSource::Assumed, [8, 8, 5]),
        ]
    );
    let left: Vec<_> = report.left.iter().map(|left| (&*left.key, left.reason)).collect();
    assert_eq!(
        left,
        [
            ("block.0.pw.weight", LeftReason::Pointwise),
            ("cube.weight", LeftReason::Rank),
            ("empty.weight", LeftReason::Empty),
            ("line.weight", LeftReason::Rank),
            ("q.weight", LeftReason::ElementType),
        ]
    );
    for (name, tensor) in checkpoint.tensors() {
        let gone = ["a.weight", "block.0.dw.weight", "block.1.conv.weight"].contains(&name);
        assert_eq!(unfolded.get(name).is_none(), gone, "{name}");
        if !gone {
            assert_eq!(unfolded.get(name).unwrap().shape(), tensor.shape());
            assert_eq!(unfolded.read(name).unwrap(), checkpoint.read(name).unwrap());
        }
    }
    assert_eq!(unfolded.tensors().len(), checkpoint.tensors().len() + 3);
    let metadata: Vec<_> =
        unfolded.metadata().iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
    assert_eq!(
        metadata,
        [
            ("do_conv.kernel_size.a", "3x3"),
            ("do_conv.kernel_size.block.0.dw", "3x3"),
            ("do_conv.kernel_size.block.1.conv", "1x3"),
            ("do_conv.pairing.a", "pytorch"),
            ("do_conv.pairing.block.0.dw", "pytorch"),
            ("do_conv.pairing.block.1.conv", "pytorch"),
            ("epoch", "3"),
        ]
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["layers"][1]["groups_source"], "options");
    assert_eq!(json["layers"][1]["dtype"], "F32");
    assert_eq!(json["left"][0]["reason"], "pointwise");
}

#[test]
fn layers_are_chosen_by_patterns() {
    let checkpoint = net();
    let options = UnfoldOptions::default();
    let chosen = |options: &UnfoldOptions| {
        let (_, report) = unfold(&checkpoint, options);
        report.layers.iter().map(|layer| layer.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(chosen(&options.clone().skip("block.0.dw")), ["a", "block.1.conv"]);
    assert_eq!(chosen(&options.clone().layer("a").layer("*conv")), ["a", "block.1.conv"]);
    assert_eq!(chosen(&options.clone().layer("*").skip("b*")), ["a"]);
    let (_, report) = unfold(&checkpoint, &options.layer("a").skip("*dw"));
    let reason = |key| report.left.iter().find(|left| left.key == key).unwrap().reason;
    assert_eq!(reason("block.0.dw.weight"), LeftReason::Skipped);
    assert_eq!(reason("block.1.conv.weight"), LeftReason::NotChosen);
}

#[test]
fn pointwise_kernels_become_w_alone_if_they_are_to() {
    let options = UnfoldOptions::default().skip("*dw").pointwise(true);
    let checkpoint = net();
    let (unfolded, report) = unfold(&checkpoint, &options);
    let layer = report.layers.iter().find(|layer| layer.name == "block.0.pw").unwrap();
    assert_eq!((layer.form, layer.groups_source), (Form::Pointwise, GroupsSource::NotNeeded));
    assert_eq!((layer.d_shape, &layer.d_key), (None, &None));
    assert_eq!(unfolded.get("block.0.pw.W").unwrap().shape(), [8, 4, 1]);
    assert!(unfolded.get("block.0.pw.D").is_none());
    let found = unfolded.layers(&LayerOptions::default()).unwrap();
    assert!(found.iter().any(|layer| layer.name() == "block.0.pw"));
    assert_eq!(
        unfolded.read("block.0.pw.W").unwrap(),
        checkpoint.read("block.0.pw.weight").unwrap()
    );
}

#[test]
fn an_output_of_one_input_is_in_one_group() {
    let (_, report) = unfold(&plain([1, 1, 3, 3], Dtype::F32), &UnfoldOptions::default());
    assert_eq!((report.layers[0].groups, report.layers[0].groups_source), (1, GroupsSource::Shape));
}

#[test]
fn what_can_not_be_unfolded_is_refused() {
    let options = UnfoldOptions::default;
    let config = ErrorKind::Config;
    let several = "the name or a pattern of a convolution of several taps that isn't skipped";
    let to_unfold = "the name or a pattern of a layer to unfold";
    for (options, kind, text) in [
        (
            options(),
            ErrorKind::Ambiguous,
            "block.0.dw: expected to be told its groups: 1 if it reads one channel, 4 if it is depthwise, or another divisor of 4 if it is depthwise with several outputs a channel, got 4 outputs of one input each",
        ),
        (options().layer("b"), config, &format!("layers: expected {several}, got b")),
        (
            options().layer("a").layer("*.pw"),
            config,
            &format!("layers: expected {several}, got *.pw"),
        ),
        (options().layer("a").skip("*"), config, &format!("layers: expected {several}, got a")),
        (
            options().pointwise(true).layer("b"),
            config,
            "layers: expected the name or a pattern of a convolution that isn't skipped, got b",
        ),
        (options().skip("*"), config, "layers: expected a convolution to unfold, got none"),
        (
            options().skip("head"),
            config,
            "skip: expected the name or a pattern of a convolution, got head",
        ),
        (
            options().layer("a").groups("b*", 2),
            config,
            &format!("groups: expected {to_unfold}, got b*"),
        ),
        (
            options().layer("a").depthwise("*dw"),
            config,
            &format!("depthwise: expected {to_unfold}, got *dw"),
        ),
        (
            options().layer("a").layer("*pw").pointwise(true).d_mul("*pw", 9),
            config,
            &format!("d_mul: expected {to_unfold} that gets a D, got *pw"),
        ),
        (
            options().layer("a").d_mul("*", 8),
            config,
            "a: expected a d_mul of at least 9, its number of taps, got 8",
        ),
        (
            options().layer("a").groups("a", 3),
            config,
            "a: expected groups that divide its 4 outputs, got 3",
        ),
        (
            options().layer("a").groups("a", 0),
            config,
            "a: expected groups that divide its 4 outputs, got 0",
        ),
        (
            options().layer("a").depthwise("a"),
            config,
            "a: expected a kernel of one input a group, since it is to be depthwise, got 3",
        ),
        (
            options().layer("a").depthwise("a").groups("a", 2),
            config,
            "a: expected to be told its groups, or to be depthwise, got both, with 2 groups",
        ),
        (
            options().layer("a").target(UnfoldTarget::DoConv2d).identity(true),
            config,
            "identity: expected PyTorch as the target: no other code stores it, got DoConv2d",
        ),
        (
            options().target(UnfoldTarget::Gluon).pointwise(true),
            config,
            "pointwise: expected a target whose 1x1 layers differ from plain ones, got Gluon",
        ),
        (
            options().target(UnfoldTarget::Gluon).d_mul("a", 9),
            config,
            "d_mul: expected a target with another S than M·N, got Gluon",
        ),
        (
            options().target(UnfoldTarget::TensorFlow),
            config,
            "layers: expected a convolution to unfold, got none",
        ),
        (
            options().layer("a").d_mul("a", usize::MAX / 50),
            ErrorKind::Overflow,
            &format!(
                "a.weight: expected a size that fits the address space, in whole bytes, got F32 [4, 3, {}]",
                usize::MAX / 50
            ),
        ),
    ] {
        refused(net().unfold(&options), kind, &format!("Checkpoint::unfold: {text}"));
    }
}

#[test]
fn checkpoints_that_can_not_be_unfolded_are_refused() {
    let of = |change: &dyn Fn(&mut Checkpoint)| -> Result<_> {
        let mut checkpoint = plain([2, 3, 2, 2], Dtype::F32);
        change(&mut checkpoint);
        checkpoint.unfold(&UnfoldOptions::default())
    };
    let beside = "expected none beside a.weight, which is to be unfolded, got a tensor";
    for key in ["a.W", "a.D", "a.d_diag", "a.D_diag", "a.W:0"] {
        let result = of(&|checkpoint| {
            checkpoint.insert(key, tensor(&[1], |_| 0.0));
        });
        refused(result, ErrorKind::Format, &format!("Checkpoint::unfold: {key}: {beside}"));
    }
    let result = of(&|checkpoint| {
        checkpoint.insert("a/weight", tensor(&[1, 1, 2, 2], |_| 0.0));
    });
    let text = "Checkpoint::unfold: a/weight: expected one kernel a, got a.weight too";
    refused(result, ErrorKind::Format, text);
    let result = of(&|checkpoint| {
        checkpoint.insert("a.bias", tensor(&[3], |_| 0.0));
    });
    let text = "Checkpoint::unfold: a.bias: expected [2] of F16, BF16, F32 or F64 elements, got [3] of F32";
    refused(result, ErrorKind::Format, text);
    let result = of(&|checkpoint| {
        let bias = Tensor::new(Dtype::I8, &[2], &[0; 2]).unwrap();
        checkpoint.insert("a.bias", bias);
    });
    let text =
        "Checkpoint::unfold: a.bias: expected [2] of F16, BF16, F32 or F64 elements, got [2] of I8";
    refused(result, ErrorKind::Format, text);
    let result = of(&|checkpoint| {
        let values = |at| if at == 17 { f32::INFINITY } else { 1.0 };
        checkpoint.insert("a.weight", tensor(&[2, 3, 2, 2], values));
    });
    let text = "Checkpoint::unfold: a.weight: expected finite numbers, got inf as element 17";
    refused(result, ErrorKind::Value, text);
}
