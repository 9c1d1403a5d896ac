//! Batch normalisations that are folded in with a layer of a checkpoint.

use do_conv::ErrorKind;
use do_conv::checkpoint::{Checkpoint, Dtype, FoldOptions, Framework, LayerOptions, Tensor};
use ndarray::ArrayView1;

use super::fold::{fold, net};
use super::{rounded, tensor};
use crate::common::{oracle::kernel, refused};

#[test]
fn batch_norms_are_folded_in_with_one_rounding() {
    for (names, bias) in [
        (["weight", "bias", "running_mean", "running_var"], true),
        (["gamma:0", "beta:0", "moving_mean:0", "moving_variance:0"], false),
    ] {
        let (mut checkpoint, problem, inputs) = net();
        if !bias {
            checkpoint.remove("a.bias");
        }
        let values = [[1.5, -2.0, 0.1], [0.5, 0.0, -3.0], [1.0, 2.0, 3.0], [0.5, 4.0, 0.0]];
        let separator = if bias { "." } else { "/" };
        for (name, values) in names.iter().zip(&values) {
            let tensor = rounded(Dtype::F32, ArrayView1::from(values).into_dyn());
            checkpoint.insert(format!("bn{separator}{name}"), tensor);
        }
        checkpoint.insert(
            format!("bn{separator}num_batches_tracked"),
            Tensor::new(Dtype::I64, &[], &[1; 8]).unwrap(),
        );
        let options = FoldOptions::default().batch_norm("a", "bn").eps(1e-3);
        let (folded, report) = fold(&checkpoint, &options).unwrap();
        let names: Vec<_> = folded.tensors().map(|(name, _)| name).collect();
        assert_eq!(names, ["a.bias", "a.weight", "b.weight", "head.weight", "steps"]);
        assert_eq!(report.layers[0].batch_norm.as_deref(), Some("bn"));

        let values = values.map(|values| values.map(|value| f64::from(value as f32)));
        let expected = kernel(&problem, &inputs);
        let (weight, shift) =
            (folded.values("a.weight").unwrap(), folded.values("a.bias").unwrap());
        for channel in 0..3 {
            let [gamma, beta, mean, var] = values.map(|values| values[channel]);
            let scale = gamma / (var + 1e-3).sqrt();
            let rows = weight.outer_iter().zip(expected.outer_iter());
            let (got, expected) = rows.into_iter().nth(channel).unwrap();
            for (got, expected) in got.iter().zip(&expected) {
                assert_eq!(*got, f64::from((expected * scale) as f32));
            }
            let own = if bias { inputs.bias.as_ref().unwrap()[channel] } else { 0.0 };
            assert_eq!(shift[channel], f64::from(((own - mean) * scale + beta) as f32));
        }
    }
}

#[test]
fn batch_norms_that_are_not_there_or_do_not_fit() {
    let (mut checkpoint, ..) = net();
    refused(
        fold(&checkpoint, &FoldOptions::default().batch_norm("a", "bn").batch_norm("b", "bn")),
        ErrorKind::Config,
        "Checkpoint::fold: batch_norms: expected each batch normalisation once, got bn",
    );
    for eps in [f64::NAN, f64::INFINITY, -1e-5] {
        let text = format!(
            "Checkpoint::fold: eps: expected a finite number that is not negative, got {eps}"
        );
        refused(fold(&checkpoint, &FoldOptions::default().eps(eps)), ErrorKind::Config, &text);
    }
    let options = FoldOptions::default().batch_norm("a", "bn");
    refused(
        fold(&checkpoint, &options),
        ErrorKind::Config,
        "Checkpoint::fold: batch_norms: expected a batch normalisation with running_mean and \
         running_var, got bn",
    );
    refused(
        fold(&checkpoint, &FoldOptions::default().batch_norm("c", "bn")),
        ErrorKind::Config,
        "Checkpoint::fold: batch_norms: expected the name of a DO-Conv layer or of a \
         convolution, got c",
    );
    checkpoint.insert("bn.running_mean", tensor(&[3], |_| 0.0));
    checkpoint.insert("bn.running_var", tensor(&[4], |_| 0.0));
    refused(
        fold(&checkpoint, &options),
        ErrorKind::Format,
        "Checkpoint::fold: bn.running_var: expected shape [3], a number a channel, got [4]",
    );
    checkpoint.insert("bn.running_var", tensor(&[3], |_| -1.0));
    refused(
        fold(&checkpoint, &options),
        ErrorKind::Value,
        "Checkpoint::fold: batch_norm.running_var: expected a variance that is positive and finite \
         with eps added, got -1 + 0.00001",
    );
    checkpoint.insert("bn.running_var", tensor(&[3], |_| f32::NAN));
    refused(
        fold(&checkpoint, &options),
        ErrorKind::Value,
        "Checkpoint::fold: bn.running_var: expected finite numbers, got NaN as element 0",
    );
    // A bias beyond the layer's type.
    checkpoint.insert("bn.running_var", tensor(&[3], |_| 1e-10));
    checkpoint.insert("bn.running_mean", tensor(&[3], |index| if index == 1 { 3e38 } else { 0.0 }));
    refused(
        fold(&checkpoint, &options),
        ErrorKind::Value,
        "Checkpoint::fold: a.bias: expected finite numbers, got -inf as element 1",
    );
}

#[test]
fn a_batch_norm_without_scale_and_shift() {
    let (mut checkpoint, problem, inputs) = net();
    checkpoint.insert("bn.running_mean", tensor(&[3], |index| index as f32));
    checkpoint.insert("bn.running_var", tensor(&[3], |_| 4.0));
    let options = FoldOptions::default().batch_norm("a", "bn").eps(0.0);
    let (folded, _) = fold(&checkpoint, &options).unwrap();
    assert_eq!(folded.values("a.weight").unwrap(), kernel(&problem, &inputs) / 2.0);
    let bias = inputs.bias.unwrap();
    let shifted = (0..3).map(|channel| (bias[channel] - channel as f64) / 2.0);
    assert!(folded.values("a.bias").unwrap().iter().copied().eq(shifted));
}

#[test]
fn a_batch_norm_of_a_layer_of_several_parts() {
    let root = |channel: usize| 2f32.powi((channel % 7) as i32);
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("a.W", tensor(&[400, 200, 1], |index| index as f32));
    checkpoint.insert("bn.running_mean", tensor(&[400], |_| 0.0));
    checkpoint.insert("bn.running_var", tensor(&[400], |channel| root(channel) * root(channel)));
    let options = FoldOptions::default().batch_norm("a", "bn").eps(0.0);
    let (folded, _) = fold(&checkpoint, &options).unwrap();
    let expected = (0..400 * 200).map(|index| f64::from(index as f32 / root(index / 200)));
    assert!(folded.values("a.weight").unwrap().iter().copied().eq(expected));
}

#[test]
fn eps_of_one_batch_norm_by_name_or_pattern() {
    let mut checkpoint = Checkpoint::new();
    for (layer, bn) in [("a", "x.bn1"), ("b", "x.bn2"), ("c", "y")] {
        checkpoint.insert(format!("{layer}.W"), tensor(&[1, 1, 1], |_| 1.0));
        checkpoint.insert(format!("{bn}.running_mean"), tensor(&[1], |_| 0.0));
        checkpoint.insert(format!("{bn}.running_var"), tensor(&[1], |_| 0.0));
    }
    let pairs = FoldOptions::default()
        .batch_norm("a", "x.bn1")
        .batch_norm("b", "x.bn2")
        .batch_norm("c", "y")
        .eps(1.0);
    let options = pairs.clone().eps_of("x.*", 0.25).eps_of("x.bn2", 0.0625);
    let (folded, _) = fold(&checkpoint, &options).unwrap();
    for (layer, expected) in [("a", 2.0), ("b", 4.0), ("c", 1.0)] {
        assert_eq!(folded.values(&format!("{layer}.weight")).unwrap()[[0, 0, 0, 0]], expected);
    }
    refused(
        fold(&checkpoint, &options.eps_of("*bn1", 0.5)),
        ErrorKind::Ambiguous,
        "Checkpoint::fold: eps_of x.bn1: expected one number, got 0.25 and 0.5",
    );
    refused(
        fold(&checkpoint, &pairs.clone().eps_of("z*", 0.5)),
        ErrorKind::Config,
        "Checkpoint::fold: eps_of: expected the name of a batch normalisation that is folded, got z*",
    );
    refused(
        fold(&checkpoint, &pairs.eps_of("y", -1.0)),
        ErrorKind::Config,
        "Checkpoint::fold: eps_of: expected a finite number that is not negative, got -1",
    );
}

#[test]
fn biases_that_are_not_finite_are_refused() {
    let (mut checkpoint, ..) = net();
    checkpoint.insert("a.bias", tensor(&[3], |index| if index == 2 { f32::NAN } else { 0.0 }));
    let text = "Checkpoint::fold: a.bias: expected finite numbers, got NaN as element 2";
    refused(fold(&checkpoint, &FoldOptions::default()), ErrorKind::Value, text);
    checkpoint.insert("bn.running_mean", tensor(&[3], |_| 0.0));
    checkpoint.insert("bn.running_var", tensor(&[3], |_| 1.0));
    let options = FoldOptions::default().batch_norm("a", "bn");
    refused(fold(&checkpoint, &options), ErrorKind::Value, text);
}

#[test]
fn plain_convolutions_are_folded_in_their_own_type_and_refused_as_layers_are() {
    let mut checkpoint = Checkpoint::new();
    let kernel = ndarray::array![[[0.1], [65504.0]], [[-3.0], [1.0 / 3.0]]].into_dyn();
    checkpoint.insert("p.weight", rounded(Dtype::F16, kernel.view()));
    checkpoint.insert("p.bias", rounded(Dtype::BF16, ArrayView1::from(&[1.0, 2.0]).into_dyn()));
    checkpoint.insert("other.weight", tensor(&[2, 1, 3], |_| f32::NAN));
    checkpoint.insert("bn.running_mean", tensor(&[2], |_| 0.5));
    checkpoint.insert("bn.running_var", tensor(&[2], |channel| [16.0, 1.0][channel]));
    let options = FoldOptions::default().batch_norm("p", "bn").eps(0.0);
    let (folded, report) = fold(&checkpoint, &options).unwrap();
    let names: Vec<_> = folded.tensors().map(|(name, _)| name).collect();
    assert_eq!(names, ["other.weight", "p.bias", "p.weight"]);
    assert!(report.layers.is_empty());
    assert_eq!((report.plain[0].dtype, &*report.plain[0].shape), (Dtype::F16, &[2, 2, 1][..]));
    assert_eq!(folded.get("p.bias").unwrap().dtype(), Dtype::F16);
    let half = |value: f64| half::f16::from_f64(value).to_f64();
    let weight = folded.values("p.weight").unwrap();
    let expected = [half(half(0.1) / 4.0), 16376.0, -3.0, half(1.0 / 3.0)];
    assert!(weight.iter().copied().eq(expected), "{weight}");
    assert!(folded.values("p.bias").unwrap().iter().copied().eq([0.125, 1.5]));

    let mut wrong = checkpoint.clone();
    wrong.insert("p.bias", tensor(&[3], |_| 0.0));
    let text = "Checkpoint::fold: p.bias: expected shape [2], got [3]";
    refused(fold(&wrong, &options), ErrorKind::Format, text);
    wrong.insert("p.bias", tensor(&[2], |_| f32::INFINITY));
    let text = "Checkpoint::fold: p.bias: expected finite numbers, got inf as element 0";
    refused(fold(&wrong, &options), ErrorKind::Value, text);
    let mut wrong = checkpoint.clone();
    wrong.insert("p.weight", tensor(&[2, 1, 1], |index| [1.0, f32::NAN][index]));
    let text = "Checkpoint::fold: p.weight: expected finite numbers, got NaN as element 1";
    refused(fold(&wrong, &options), ErrorKind::Value, text);
    let mut wrong = checkpoint.clone();
    wrong.insert("p/weight", tensor(&[2, 1, 1], |_| 1.0));
    let text = "Checkpoint::fold: p: expected one kernel of that name, got several";
    refused(fold(&wrong, &options), ErrorKind::Format, text);
    // Beyond the kernel's type, by a small variance.
    checkpoint.insert("bn.running_var", tensor(&[2], |_| 0.25));
    let text = "Checkpoint::fold: p.weight: expected finite numbers, got inf as element 1";
    refused(fold(&checkpoint, &options), ErrorKind::Value, text);
    // What a linear layer has is no convolution's kernel.
    checkpoint.insert("p.weight", tensor(&[2, 1], |_| 1.0));
    let text = "Checkpoint::fold: batch_norms: expected the name of a DO-Conv layer or of a \
                convolution, got p";
    refused(fold(&checkpoint, &options), ErrorKind::Config, text);
}

#[test]
fn the_kernel_of_a_layer_that_is_left_as_it_is_is_no_plain_one() {
    let net = |d: &str| {
        let mut checkpoint = Checkpoint::new();
        checkpoint.insert("a.weight", tensor(&[2, 3, 2, 2], |_| 1.0));
        checkpoint.insert(d, tensor(&[4, 4, 3], |_| 1.0));
        checkpoint.insert("bn.running_mean", tensor(&[2], |_| 0.0));
        checkpoint.insert("bn.running_var", tensor(&[2], |_| 1.0));
        checkpoint.insert("b.W", tensor(&[1, 1, 1], |_| 1.0));
        checkpoint.insert("b.kernel", tensor(&[1, 1, 1], |_| 1.0));
        checkpoint
    };
    let options = |framework, layer: &str| {
        let layers = LayerOptions::default().framework(framework).skip(layer);
        FoldOptions::default().layers(layers).batch_norm("a", "bn")
    };
    let text = "Checkpoint::fold: batch_norms: expected the name of a DO-Conv layer or of a \
                convolution, got a";
    for (framework, d) in [(Framework::Gluon, "a.D"), (Framework::PyTorch, "a.weight.do_conv.D")] {
        refused(fold(&net(d), &options(framework, "a")), ErrorKind::Config, text);
    }
}
