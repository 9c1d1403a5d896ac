//! Layers found by their keys, and sets of keys that are none.

use do_conv::checkpoint::{
    Checkpoint, Dtype, FoldOptions, Form, Framework, LayerInfo, LayerOptions, OpenOptions,
    SaveOptions, Tensor,
};
use do_conv::{DoConv2d, ErrorKind, Pairing};
use ndarray::Array4;

use super::{data, inputs, insert, problem, tensor};
use crate::common::refused;

fn layers(checkpoint: &Checkpoint) -> do_conv::Result<Vec<LayerInfo>> {
    checkpoint.layers(&LayerOptions::default())
}

/// A layer `a` of two to three channels by 2×2 taps, all its numbers the same.
fn good() -> Checkpoint {
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("a.W", tensor(&[3, 2, 4], |_| 0.5));
    checkpoint.insert("a.D", tensor(&[2, 4, 4], |_| 0.25));
    checkpoint.insert("a.d_diag", tensor(&[2, 4, 4], |index| f32::from(index % 16 % 5 == 0)));
    checkpoint.insert("a.bias", tensor(&[3], |_| 1.0));
    checkpoint
}

#[test]
fn the_layers_of_a_reference_checkpoint() {
    let checkpoint = Checkpoint::open(data("reference_checkpoints/mixed.pth")).unwrap();
    let layers = layers(&checkpoint).unwrap();
    let described: Vec<_> = layers
        .iter()
        .map(|layer| {
            (
                layer.name(),
                layer.form(),
                [layer.in_channels(), layer.out_channels(), layer.groups(), layer.d_mul()],
                layer.kernel_size(),
                layer.needs_pairing(),
            )
        })
        .collect();
    assert_eq!(
        described,
        [
            ("dw", Form::DoDConv, [16, 16, 16, 9], Some([3, 3]), false),
            ("group", Form::DoGConv, [24, 32, 4, 9], Some([3, 3]), true),
            ("mult", Form::DoDConv, [20, 40, 20, 9], Some([3, 3]), true),
            ("over", Form::DoConv, [32, 20, 1, 22], None, false),
            ("pw", Form::Pointwise, [16, 24, 1, 1], Some([1, 1]), false),
            ("stem", Form::DoConv, [3, 16, 1, 49], Some([7, 7]), false),
        ]
    );
    let parameters = layers[3].parameters();
    assert_eq!(parameters.trained, 20 * 32 * 22 + 32 * 15 * 22 + 20);
    assert_eq!(parameters.folded, 20 * 32 * 15 + 20);
    let options = LayerOptions::default().kernel_size("over", [3, 5]).skip("stem");
    let layers = checkpoint.layers(&options).unwrap();
    assert_eq!(layers.len(), 5);
    assert_eq!(layers[3].kernel_size(), Some([3, 5]));
    let by_channel = LayerOptions::default().pairing(Pairing::InputChannel);
    assert!(!checkpoint.layers(&by_channel).unwrap()[1].needs_pairing());
}

#[test]
fn names_are_whatever_is_before_the_last_part() {
    for (prefix, name) in
        [("", ""), ("a.", "a"), ("module.a.0.", "module.a.0"), ("net/a/", "net/a"), (".", "")]
    {
        let mut checkpoint = Checkpoint::new();
        for (key, tensor) in good().tensors() {
            let key = key.replace("a.", prefix).replace("d_diag", "D_diag");
            checkpoint.insert(key, tensor.clone());
        }
        let layers = layers(&checkpoint).unwrap();
        assert_eq!((layers.len(), layers[0].name()), (1, name));
        assert_eq!(layers[0].tensor_count(), 4);
    }
}

#[test]
fn what_is_not_a_layer_does_not_matter() {
    let mut checkpoint = good();
    for (key, shape) in [
        ("b.W", &[3, 4][..]),
        ("c.D", &[3]),
        ("d.weight", &[3, 2, 2, 2]),
        ("d.bias", &[3]),
        ("e.kernel", &[3, 2, 4]),
    ] {
        checkpoint.insert(key, tensor(shape, |_| 0.0));
    }
    assert_eq!(layers(&checkpoint).unwrap().len(), 1);
}

#[test]
fn parts_that_do_not_belong_together() {
    let format = ErrorKind::Format;
    let cases: [(&str, Option<Tensor>, &str); 17] = [
        ("a.D", None, "a.d_diag: expected a tensor a.D beside it, got none"),
        ("a.W", None, "a.D: expected a tensor a.W beside it, got none"),
        (
            "a.W",
            Some(tensor(&[3, 8], |_| 0.0)),
            "a.W: expected a tensor of rank 3, got shape [3, 8]",
        ),
        (
            "a.D",
            Some(tensor(&[2, 16], |_| 0.0)),
            "a.D: expected a tensor of rank 3, got shape [2, 16]",
        ),
        (
            "a.D",
            Some(tensor(&[2, 4, 5], |_| 0.0)),
            "a.D: expected a depth multiplier of 4, that of a.W, got 5 in shape [2, 4, 5]",
        ),
        (
            "a.D",
            Some(tensor(&[2, 5, 4], |_| 0.0)),
            "a.D: expected a depth multiplier of at least 5, the number of taps, got 4",
        ),
        (
            "a.D",
            Some(tensor(&[2, 1, 4], |_| 0.0)),
            "a.D: expected none: a 1x1 kernel has no D, got shape [2, 1, 4]",
        ),
        (
            "a.D",
            Some(tensor(&[3, 4, 4], |_| 0.0)),
            "a.D: expected a multiple of the 2 input channels in a.W, in as many groups as divide its 3 \
          output channels, got 3 channels",
        ),
        (
            "a.D",
            Some(tensor(&[4, 4, 4], |_| 0.0)),
            "a.D: expected a multiple of the 2 input channels in a.W, in as many groups as divide its 3 \
          output channels, got 4 channels",
        ),
        ("a.D", Some(tensor(&[0, 4, 4], |_| 0.0)), "a.D: expected positive extents, got [0, 4, 4]"),
        ("a.W", Some(tensor(&[3, 0, 4], |_| 0.0)), "a.W: expected positive extents, got [3, 0, 4]"),
        (
            "a.d_diag",
            Some(tensor(&[2, 4, 5], |_| 0.0)),
            "a.d_diag: expected shape [2, 4, 4], that of D, got [2, 4, 5]",
        ),
        (
            "a.d_diag",
            Some(tensor(&[2, 4, 4], |index| f32::from(index % 16 % 5 == 0 && index < 20))),
            "a.d_diag: expected the identity, ones where s mod MN is the tap and s below MN·⌊S/MN⌋, got \
             0 and not 1 at [1, 1, 1]",
        ),
        (
            "a.d_diag",
            Some(tensor(&[2, 4, 4], |_| f32::NAN)),
            "a.d_diag: expected the identity, ones where s mod MN is the tap and s below MN·⌊S/MN⌋, got \
             NaN and not 1 at [0, 0, 0]",
        ),
        ("a.bias", Some(tensor(&[2], |_| 0.0)), "a.bias: expected shape [3], got [2]"),
        (
            "a.bias",
            Some(Tensor::new(Dtype::I32, &[3], &[0; 12]).unwrap()),
            "a.bias: expected F16, BF16, F32 or F64 elements, got I32",
        ),
        (
            "a.W",
            Some(Tensor::new(Dtype::I8, &[3, 2, 4], &[0; 24]).unwrap()),
            "a.W: expected F16, BF16, F32 or F64 elements, got I8",
        ),
    ];
    for (key, tensor, text) in cases {
        let mut checkpoint = good();
        match tensor {
            Some(tensor) => checkpoint.insert(key, tensor),
            None => checkpoint.remove(key),
        };
        refused(layers(&checkpoint), format, &format!("Checkpoint::layers: {text}"));
        let skipped = checkpoint.layers(&LayerOptions::default().skip("a"));
        assert_eq!(skipped.unwrap(), [], "{text}");
    }
    let mut checkpoint = good();
    checkpoint.remove("a.D");
    checkpoint.remove("a.d_diag");
    refused(
        layers(&checkpoint),
        format,
        "Checkpoint::layers: a.W: expected a tensor a.D beside it, or a shape [O, n, 1] of a 1x1 layer, got \
         shape [3, 2, 4] and none",
    );
}

#[test]
fn a_1x1_layer_has_elements() {
    for shape in [[0, 2, 1], [3, 0, 1]] {
        let mut checkpoint = Checkpoint::new();
        checkpoint.insert("a.W", tensor(&shape, |_| 0.0));
        let text = format!("Checkpoint::layers: a.W: expected positive extents, got {shape:?}");
        refused(layers(&checkpoint), ErrorKind::Format, &text);
    }
    // The product of rows and columns is no number, of a plain layer too.
    let shape = [0, 2, usize::MAX, 2];
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("a.weight", tensor(&shape, |_| 0.0));
    let gluon = LayerOptions::default().framework(Framework::Gluon);
    assert_eq!(checkpoint.layers(&gluon).unwrap(), []);
    checkpoint.insert("a.D", tensor(&[2, 2, 1], |_| 0.0));
    let text = format!("Checkpoint::layers: a.weight: expected positive extents, got {shape:?}");
    refused(checkpoint.layers(&gluon), ErrorKind::Format, &text);
}

#[test]
fn an_identity_is_looked_through_to_its_end() {
    // More than is read at a time: of many channels, and of one.
    for (channels, taps, d_mul, wrong) in [
        (900, 6, 9, [0, 0, 1]),
        (900, 6, 9, [899, 5, 8]),
        (900, 6, 9, [899, 5, 5]),
        (2, 182, 183, [1, 0, 182]),
    ] {
        let mut checkpoint = Checkpoint::new();
        checkpoint.insert("a.W", tensor(&[1, channels, d_mul], |_| 1.0));
        checkpoint.insert("a.D", tensor(&[channels, taps, d_mul], |_| 0.0));
        let ones = |index: usize| {
            let (m, s) = (index / d_mul % taps, index % d_mul);
            f32::from(s < d_mul / taps * taps && s % taps == m)
        };
        checkpoint.insert("a.d_diag", tensor(&[channels, taps, d_mul], ones));
        assert_eq!(layers(&checkpoint).unwrap().len(), 1);
        for value in [-1.0, 0.5] {
            let at = (wrong[0] * taps + wrong[1]) * d_mul + wrong[2];
            let identity = |index: usize| if index == at { value } else { ones(index) };
            checkpoint.insert("a.d_diag", tensor(&[channels, taps, d_mul], identity));
            let text = format!(
                "Checkpoint::layers: a.d_diag: expected the identity, ones where s mod MN is the tap and \
                 s below MN·⌊S/MN⌋, got {value} and not {} at {wrong:?}",
                ones(at)
            );
            refused(layers(&checkpoint), ErrorKind::Format, &text);
        }
    }
}

#[test]
fn a_kernel_size_is_told_by_options_first_then_by_the_shape_then_by_the_metadata() {
    let mut checkpoint = good();
    checkpoint.metadata_mut().insert("do_conv.kernel_size.a".into(), "4x1".into());
    assert_eq!(layers(&checkpoint).unwrap()[0].kernel_size(), Some([4, 1]));
    let told = LayerOptions::default().kernel_size("a", [1, 4]);
    assert_eq!(checkpoint.layers(&told).unwrap()[0].kernel_size(), Some([1, 4]));

    checkpoint.insert("a.weight", tensor(&[3, 2, 2, 2], |_| 0.5));
    checkpoint.insert("a.D", tensor(&[4, 4, 2], |_| 0.25));
    let gluon = LayerOptions::default().framework(Framework::Gluon);
    assert_eq!(checkpoint.layers(&gluon).unwrap()[0].kernel_size(), Some([2, 2]));
    let told = gluon.kernel_size("a", [1, 4]);
    assert_eq!(checkpoint.layers(&told).unwrap()[0].kernel_size(), Some([1, 4]));
}

#[test]
fn two_layers_of_one_name_and_keys_twice() {
    for (from, to, key) in [
        ("a.", "a/", "a/W"),
        ("a.bias", "a.bias:0", "a.bias"),
        ("a.d_diag", "a.D_diag", "a.D_diag"),
    ] {
        let mut checkpoint = good();
        for (name, tensor) in good().tensors().filter(|(name, _)| name.starts_with(from)) {
            checkpoint.insert(name.replace(from, to), tensor.clone());
        }
        let error = layers(&checkpoint).unwrap_err();
        assert_eq!((error.kind, &*error.field), (ErrorKind::Format, key), "{error}");
    }
    // Of something else they don't matter.
    let mut checkpoint = good();
    for key in ["b.weight", "b.weight:0", "b.bias", "b.bias:0"] {
        checkpoint.insert(key, tensor(&[1], |_| 0.0));
    }
    assert_eq!(layers(&checkpoint).unwrap().len(), 1);
}

#[test]
fn a_description_of_another_checkpoint_s_layer() {
    let layer = layers(&good()).unwrap().remove(0);
    let config = layer.config().unwrap();
    let refusal =
        |checkpoint: &Checkpoint| checkpoint.layer::<f32>(&layer, config.clone()).unwrap_err();
    let missing = "Checkpoint::layer: a.W: expected a tensor of that name, got none";
    assert_eq!(refusal(&Checkpoint::new()).to_string(), missing);
    // Other numbers of elements, of none and of more than there are.
    for shape in [&[0][..], &[3, 2, 5], &[1]] {
        for key in ["a.W", "a.D"] {
            let mut checkpoint = good();
            checkpoint.insert(key, tensor(shape, |_| 0.5));
            let error = refusal(&checkpoint);
            assert_eq!((error.kind, &*error.field), (ErrorKind::Config, key), "{error}");
        }
    }
    let mut checkpoint = good();
    checkpoint.insert("a.bias", tensor(&[4], |_| 0.5));
    assert_eq!(refusal(&checkpoint).kind, ErrorKind::Shape);
    checkpoint.insert("a.D", Tensor::new(Dtype::I8, &[2, 4, 4], &[0; 32]).unwrap());
    assert_eq!(refusal(&checkpoint).kind, ErrorKind::Format);
}

#[test]
fn what_a_file_says_of_a_layer_survives_a_stripped_prefix() {
    let problem = problem([2, 2, 3], [2, 8], 16, Pairing::InputChannel);
    let layer: DoConv2d<f32> = problem.layer(&inputs(&problem, 1), do_conv::Composition::Kernel);
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert_layer("module.c", &layer).unwrap();
    checkpoint.metadata_mut().insert("do_conv.pairing".into(), "tensorflow".into());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    checkpoint.save(&path, &SaveOptions::default()).unwrap();
    let options = OpenOptions::default().strip_prefix("module.");
    let stripped = Checkpoint::open_with(&path, &options).unwrap();
    let found = layers(&stripped).unwrap();
    assert_eq!((found[0].name(), found[0].kernel_size()), ("c", Some([2, 8])));
    assert_eq!(found[0].pairing(), Some(Pairing::InputChannel));
    assert_eq!(stripped.metadata()["do_conv.pairing"], "tensorflow");
    let report = stripped.fold(folder.path().join("folded"), &FoldOptions::default()).unwrap();
    assert_eq!(report.layers[0].weight_shape, [6, 2, 2, 8]);
    let folded = Checkpoint::open(folder.path().join("folded")).unwrap();
    assert!(folded.metadata().is_empty());
    let weight = folded.values("c.weight").unwrap();
    assert_eq!(weight, layer.weight().mapv(f64::from).into_dyn());
}

#[test]
fn options_that_name_no_layer_or_a_wrong_size() {
    let options = LayerOptions::default();
    for (options, text) in [
        (
            options.clone().kernel_size("b", [2, 2]),
            "kernel_sizes: expected the name of a DO-Conv layer of the checkpoint, got b",
        ),
        (
            options.clone().skip("b"),
            "skip: expected the name of a DO-Conv layer of the checkpoint, got b",
        ),
        (options.clone().kernel_size("a", [2, 3]), "a: expected a kernel size of 4 taps, got 2x3"),
        (
            options.kernel_size("a", [usize::MAX, 3]),
            "a: expected a kernel size of 4 taps, got 18446744073709551615x3",
        ),
    ] {
        let text = format!("Checkpoint::layers: {text}");
        refused(good().layers(&options), ErrorKind::Config, &text);
    }
}

#[test]
fn a_layer_goes_into_a_checkpoint_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    for (index, (pairing, kernel_size, d_mul)) in [
        (Pairing::InputChannel, [3, 5], 15),
        (Pairing::PyTorch, [1, 4], 9),
        (Pairing::TensorFlow, [2, 2], 4),
        (Pairing::InputChannel, [1, 1], 1),
    ]
    .into_iter()
    .enumerate()
    {
        let problem = problem([3, 2, 4], kernel_size, d_mul, pairing);
        let layer: DoConv2d<f32> =
            problem.layer(&inputs(&problem, 1), do_conv::Composition::Kernel);
        let mut checkpoint = Checkpoint::new();
        checkpoint.insert_layer("net.conv", &layer).unwrap();
        let path = folder.path().join(index.to_string());
        checkpoint.save(&path, &SaveOptions::default()).unwrap();

        let checkpoint = Checkpoint::open(&path).unwrap();
        let found = layers(&checkpoint).unwrap();
        assert_eq!((found.len(), found[0].kernel_size()), (1, Some(kernel_size)));
        let mut config = found[0].config().unwrap();
        if found[0].form() == Form::Pointwise {
            // A 1×1 kernel says nothing of groups.
            config.conv.in_channels = 6;
            config.conv.groups = 3;
        }
        let back: DoConv2d<f32> = checkpoint.layer(&found[0], config.clone()).unwrap();
        assert_eq!(back.w(), layer.w());
        assert_eq!(back.d_offset(), layer.d_offset());
        assert_eq!(back.bias(), layer.bias());
        assert_eq!(back.weight(), layer.weight());
        assert_eq!(back.config().pairing, if d_mul > 1 { pairing } else { config.pairing });

        config.conv.kernel_size = [kernel_size[0] + 1, kernel_size[1]];
        let error = checkpoint.layer::<f32>(&found[0], config).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Shape | ErrorKind::Config), "{error}");
    }
}

#[test]
fn layers_of_every_framework_compute_what_they_did() {
    for (framework, pairing) in [
        (Framework::PyTorch, Pairing::PyTorch),
        (Framework::TensorFlow, Pairing::TensorFlow),
        (Framework::Gluon, Pairing::TensorFlow),
    ] {
        let problem = problem([3, 2, 4], [2, 3], 6, pairing);
        let inputs = inputs(&problem, 2);
        let mut checkpoint = Checkpoint::new();
        insert(&mut checkpoint, "net.conv.", framework, Dtype::F16, &problem, &inputs);
        let mut options =
            LayerOptions::default().framework(framework).kernel_size("net.conv", [2, 3]);
        if framework == Framework::PyTorch {
            options = options.pairing(pairing); // there is no identity that tells it
        }
        let found = checkpoint.layers(&options).unwrap();
        let config = found[0].config().unwrap();
        let got: DoConv2d<f64> = checkpoint.layer(&found[0], config).unwrap();
        let expected: DoConv2d<f64> = problem.layer(&inputs, do_conv::Composition::Kernel);
        let x = Array4::from_shape_fn((1, 6, 4, 4), |(_, c, i, j)| (c * 16 + i * 4 + j) as f64);
        assert_eq!(got.forward(&x).unwrap(), expected.forward(&x).unwrap(), "{framework:?}");
    }
}

#[test]
fn metadata_that_makes_no_sense() {
    for (key, text, error) in [
        ("do_conv.kernel_size.a", "2x", "a: expected a kernel size as 3x5 in the metadata, got 2x"),
        ("do_conv.kernel_size.a", "1x3", "a: expected a kernel size of 4 taps, got 1x3"),
        (
            "do_conv.pairing.a",
            "mxnet",
            "a: expected the name of a pairing in the metadata, got mxnet",
        ),
        (
            "do_conv.pairing",
            "mxnet",
            "do_conv.pairing: expected the name of a pairing in the metadata, got mxnet",
        ),
    ] {
        let mut checkpoint = good();
        checkpoint.metadata_mut().insert(key.into(), text.into());
        let error = format!("Checkpoint::layers: {error}");
        refused(layers(&checkpoint), ErrorKind::Format, &error);
    }
}
