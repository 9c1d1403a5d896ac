//! The life of a layer, for each variant in each composition: made from a seed, differentiated,
//! trained, saved and loaded, folded, unfolded, and trained on.

mod common;

use common::{Inputs, Numbers, Outputs, Problem, assert_within, gamma, oracle};
use do_conv::{
    Composition, Conv2d, Conv2dConfig, DInit, DoConv2d, DoConv2dConfig, DoConv2dGradients, Init,
    PaddingMode, Pairing, Scalar,
};
use ndarray::{Array, Array4, Dimension};

const SEED: u64 = 42;

#[cfg(not(feature = "serde"))]
trait Number: Scalar {}
#[cfg(not(feature = "serde"))]
impl<T: Scalar> Number for T {}

/// A scalar, which can be saved where there is a way to.
#[cfg(feature = "serde")]
trait Number: Scalar + serde::Serialize + serde::de::DeserializeOwned {}
#[cfg(feature = "serde")]
impl<T: Scalar + serde::Serialize + serde::de::DeserializeOwned> Number for T {}

/// 2 images of 4 channels to 4 channels by 3×3 taps.
fn problem() -> Problem {
    Problem {
        out_channels: 4,
        image: [5, 6],
        stride: [1, 2],
        padding: [[1, 1], [0, 1]],
        ..Problem::DENSE
    }
}

fn bits<T: Scalar, D: Dimension>(array: &Array<T, D>) -> Array<u64, D> {
    array.mapv(|value| value.widen().to_bits())
}

/// The layer's life in both precisions and all compositions.
fn live(problem: Problem, d_init: DInit) {
    for composition in problem.compositions().into_iter().chain([Composition::Auto]) {
        let config = problem.config(composition).d_init(d_init);
        starts_at_the_same_numbers(&config);
        Life::<f32>::new(&problem, config.clone()).run();
        Life::<f64>::new(&problem, config).run();
    }
}

/// Asserts that an `f32` layer starts at the rounded numbers of an `f64` layer.
fn starts_at_the_same_numbers(config: &DoConv2dConfig) {
    let narrow: DoConv2d<f32> = config.clone().init(SEED).unwrap();
    let wide: DoConv2d<f64> = config.clone().init(SEED).unwrap();
    assert_eq!(narrow.w(), wide.w().mapv(|w| w as f32));
    assert_eq!(narrow.bias().unwrap(), wide.bias().unwrap().mapv(|bias| bias as f32));
    let random = matches!(config.d_init, DInit::Random(_));
    if let (Some(narrow), Some(wide)) = (narrow.d_offset(), wide.d_offset()) {
        for (&narrow, &wide) in narrow.iter().zip(&wide) {
            // Each is rounded once more when the identity is taken off.
            let rounding = if random { f64::from(f32::EPSILON) } else { 0.0 };
            assert!((f64::from(narrow) - wide).abs() <= rounding);
        }
    }
}

struct Life<'a, T> {
    problem: &'a Problem,
    layer: DoConv2d<T>,
    x: Array4<T>,
    /// What the layer learns to give for `x`.
    target: Array4<T>,
}

impl<'a, T: Number> Life<'a, T> {
    fn new(problem: &'a Problem, config: DoConv2dConfig) -> Self {
        let mut numbers = Numbers::new(SEED);
        let inputs = problem.inputs(|| numbers.real());
        Self {
            problem,
            layer: config.init(SEED).unwrap(),
            x: inputs.x.mapv(T::round_from),
            target: inputs.dy.mapv(T::round_from),
        }
    }

    fn run(mut self) {
        match self.layer.config().d_init {
            DInit::Identity => self.starts_as_the_plain_layer(),
            DInit::Random(_) => self.starts_at_a_random_d(),
        }
        self.has_the_right_gradients();
        self.learns();
        self.has_the_right_gradients();
        #[cfg(feature = "serde")]
        self.survives_saving();
        let folded = self.folds();
        self.unfolds(&folded);
    }

    fn starts_as_the_plain_layer(&self) {
        let Self { problem, layer, .. } = self;
        assert!(layer.d_offset().is_none_or(|d_offset| d_offset.iter().all(|d| d.is_zero())));
        // The identity picks the first MN of W's S numbers, and adds each further MN.
        let (taps, d_mul) = (problem.taps(), problem.d_mul);
        assert!(d_mul / taps <= 2, "more than one addition has an order");
        let weight = layer.weight();
        for ((o, i, row, col), weight) in weight.indexed_iter() {
            let tap = row * problem.kernel_size[1] + col;
            let first = layer.w()[[o, i, tap]];
            let sum = if d_mul / taps == 2 { first + layer.w()[[o, i, taps + tap]] } else { first };
            assert_eq!(weight.widen().to_bits(), sum.widen().to_bits());
        }
        if d_mul == taps {
            let plain: Conv2d<T> = layer.config().conv.clone().init(SEED).unwrap();
            assert_eq!(plain, layer.fold());
            assert_eq!(bits(&plain.weight().to_owned()), bits(&weight));
            assert_eq!(bits(&plain.forward(&self.x).unwrap()), bits(&self.kernel_output()));
        }
    }

    fn starts_at_a_random_d(&self) {
        // W and the bias are drawn first, so they are those of the layer that starts at the
        // identity.
        let config = self.layer.config().clone().d_init(DInit::Identity);
        let identity: DoConv2d<T> = config.init(SEED).unwrap();
        assert_eq!(self.layer.w(), identity.w());
        assert_eq!(self.layer.bias(), identity.bias());
        // D itself is U(±1/√MN).
        let taps = self.problem.taps();
        let bound = (taps as f64).sqrt().recip();
        let d_offset = self.layer.d_offset().unwrap();
        let mut largest = 0.0f64;
        for ((_, tap, s), d_offset) in d_offset.indexed_iter() {
            let in_a_copy = s < self.problem.d_mul / taps * taps;
            let identity = f64::from(u8::from(in_a_copy && s % taps == tap));
            largest = largest.max((d_offset.widen() + identity).abs());
        }
        assert!(largest <= bound * (1.0 + 4.0 * T::UNIT_ROUNDOFF) && largest > 0.9 * bound);
    }

    /// The output by kernel composition.
    fn kernel_output(&self) -> Array4<T> {
        let mut layer = self.layer.clone();
        layer.set_composition(Composition::Kernel).unwrap();
        layer.forward(&self.x).unwrap()
    }

    fn has_the_right_gradients(&self) {
        let Self { problem, layer, x, target } = self;
        let y = layer.forward(x).unwrap();
        let dy = &y - target;
        let DoConv2dGradients { x: dx, w, d_offset, bias, .. } = layer.backward(x, &dy).unwrap();

        let inputs = Inputs {
            x: x.mapv(T::widen),
            d_offset: layer.d_offset().map(|d_offset| d_offset.mapv(T::widen)),
            w: layer.w().mapv(T::widen),
            bias: layer.bias().map(|bias| bias.mapv(T::widen)),
            dy: dy.mapv(T::widen),
        };
        let mut got: Outputs = vec![
            ("kernel", layer.weight().mapv(T::widen).into_dyn()),
            ("y", y.mapv(T::widen).into_dyn()),
            ("dx", dx.unwrap().mapv(T::widen).into_dyn()),
            ("dw", w.mapv(T::widen).into_dyn()),
        ];
        got.extend(d_offset.map(|dd| ("dd_offset", dd.mapv(T::widen).into_dyn())));
        got.extend(bias.map(|db| ("dbias", db.mapv(T::widen).into_dyn())));
        let expected = oracle::solve(problem, &inputs);
        let sums = oracle::absolute_sums(problem, &inputs);
        assert_within(&format!("{layer}"), &got, &expected, &sums, |output| {
            // The oracle rounds too, in f64.
            let roundings = problem.roundings(output);
            gamma::<T>(roundings) + gamma::<f64>(roundings)
        });
    }

    /// Half the mean squared error.
    fn loss(&self, layer: &DoConv2d<T>) -> f64 {
        let errors = &layer.forward(&self.x).unwrap() - &self.target;
        errors.mapv(|error| error.widen().powi(2)).mean().unwrap() / 2.0
    }

    /// Takes a few steps of gradient descent, each of which must reduce the loss.
    fn descend(&self, layer: &mut DoConv2d<T>) {
        let rate = T::round_from(0.1 / self.target.len() as f64);
        for _ in 0..5 {
            let before = self.loss(layer);
            let y = layer.forward(&self.x).unwrap();
            let gradients = layer.backward(&self.x, &(&y - &self.target)).unwrap();
            for (_, parameters, gradients) in layer.parameters_with_gradients(&gradients).unwrap() {
                for (parameter, &gradient) in parameters.iter_mut().zip(gradients) {
                    *parameter -= rate * gradient;
                }
            }
            let after = self.loss(layer);
            assert!(after < before, "{layer}: {before} to {after}");
        }
    }

    fn learns(&mut self) {
        let before = self.layer.clone();
        let mut layer = before.clone();
        self.descend(&mut layer);
        let names: Vec<_> = layer.parameters().map(|(name, _)| name).collect();
        let pointwise = self.problem.taps() == 1;
        assert_eq!(
            names,
            if pointwise { vec!["w", "bias"] } else { vec!["w", "d_offset", "bias"] }
        );
        for ((name, after), (_, before)) in layer.parameters().zip(before.parameters()) {
            assert_ne!(after, before, "{name} has learnt nothing");
        }
        self.layer = layer;
    }

    #[cfg(feature = "serde")]
    fn survives_saving(&self) {
        let Self { layer, x, .. } = self;
        let json = serde_json::to_string(layer).unwrap();
        let loaded: DoConv2d<T> = serde_json::from_str(&json).unwrap();
        assert!(&loaded == layer, "{layer}");
        assert_eq!(bits(&loaded.weight()), bits(&layer.weight()));
        let y = layer.forward(x).unwrap();
        let loaded_y = loaded.forward(x).unwrap();
        assert_eq!(bits(&loaded_y), bits(&y));
        let gradients = layer.backward(x, &y).unwrap();
        assert_eq!(loaded.backward(x, &y).unwrap(), gradients);

        let json = serde_json::to_string(&gradients).unwrap();
        assert_eq!(serde_json::from_str::<DoConv2dGradients<T>>(&json).unwrap(), gradients);

        let folded = layer.fold();
        let json = serde_json::to_string(&folded).unwrap();
        let loaded: Conv2d<T> = serde_json::from_str(&json).unwrap();
        assert!(loaded == folded, "{folded}");
        assert_eq!(bits(&loaded.forward(x).unwrap()), bits(&folded.forward(x).unwrap()));
        let gradients = folded.backward(x, &y).unwrap();
        let json = serde_json::to_string(&gradients).unwrap();
        assert_eq!(serde_json::from_str::<do_conv::Conv2dGradients<T>>(&json).unwrap(), gradients);
    }

    fn folds(&self) -> Conv2d<T> {
        let Self { layer, x, .. } = self;
        let folded = layer.fold();
        assert_eq!(folded.config(), &layer.config().conv);
        assert_eq!(bits(&folded.weight().to_owned()), bits(&layer.weight()));
        assert_eq!(folded.bias(), layer.bias());
        assert_eq!(bits(&folded.forward(x).unwrap()), bits(&self.kernel_output()));
        let check = layer.check_fold(&folded, x).unwrap();
        assert!(check.within_bound && check.same_bits, "{layer}: {check:?}");
        folded
    }

    fn unfolds(&self, folded: &Conv2d<T>) {
        let taps = self.problem.taps();
        let d_muls = match taps {
            1 => vec![None],
            _ => vec![None, Some(taps), Some(taps + 1), Some(2 * taps), Some(3 * taps + 2)],
        };
        let y = folded.forward(&self.x).unwrap();
        for d_mul in d_muls {
            let mut unfolded = DoConv2d::from_conv2d(folded, d_mul).unwrap();
            assert_eq!(unfolded.d_mul(), d_mul.unwrap_or(taps));
            assert_eq!(unfolded.config().d_mul, d_mul);
            assert_eq!(unfolded.config().conv, *folded.config());
            assert_eq!(unfolded.weight(), folded.weight());
            assert_eq!(unfolded.bias(), folded.bias());
            assert_eq!(bits(&unfolded.forward(&self.x).unwrap()), bits(&y));
            assert_eq!(&unfolded.fold(), folded);
            self.descend(&mut unfolded);
            assert_ne!(&unfolded.fold(), folded);
        }
    }
}

/// Each pairing is another function once `D` is trained; at first all are the plain layer.
#[test]
fn pretrained_layers_take_a_pairing() {
    let conv: Conv2d<f64> = Conv2dConfig::new(4, 8, [3, 3]).groups(2).init(1).unwrap();
    let mut kernels = Vec::new();
    for pairing in [Pairing::InputChannel, Pairing::PyTorch, Pairing::TensorFlow] {
        let mut layer = DoConv2d::from_conv2d_paired(&conv, None, pairing).unwrap();
        assert_eq!(layer.config().pairing, pairing);
        assert_eq!(layer.weight(), conv.weight());
        let mut d_offset = layer.d_offset_mut().unwrap();
        d_offset.iter_mut().zip(1..).for_each(|(value, index)| *value = f64::from(index).sin());
        kernels.push(layer.weight());
    }
    assert!(kernels[0] != kernels[1] && kernels[1] != kernels[2] && kernels[0] != kernels[2]);
    let default = DoConv2d::from_conv2d(&conv, None).unwrap();
    assert_eq!(default.config().pairing, Pairing::InputChannel);
}

#[test]
fn do_conv() {
    live(problem(), DInit::Identity);
}

#[test]
fn do_gconv() {
    live(Problem { out_channels: 6, groups: 2, ..problem() }, DInit::Identity);
}

#[test]
fn do_dconv() {
    live(Problem { groups: 4, ..problem() }, DInit::Identity);
}

#[test]
fn do_dconv_with_a_multiplier() {
    live(Problem { out_channels: 8, groups: 4, ..problem() }, DInit::Identity);
}

#[test]
fn pointwise() {
    live(Problem { kernel_size: [1, 1], d_mul: 1, ..problem() }, DInit::Identity);
}

#[test]
fn over_complete() {
    live(Problem { d_mul: 14, ..problem() }, DInit::Identity);
}

#[test]
fn over_complete_by_more_than_twice() {
    let problem =
        Problem { kernel_size: [2, 3], d_mul: 13, out_channels: 6, groups: 2, ..problem() };
    live(problem, DInit::Identity);
}

#[test]
fn random_d() {
    let random = DInit::Random(Init::default());
    live(problem(), random);
    live(Problem { groups: 4, d_mul: 20, ..problem() }, random);
}

#[test]
fn paired_as_in_pytorch() {
    let pairing = Pairing::PyTorch;
    live(Problem { out_channels: 6, groups: 2, pairing, ..problem() }, DInit::Identity);
}

#[test]
fn paired_as_in_tensorflow() {
    let pairing = Pairing::TensorFlow;
    live(Problem { out_channels: 6, groups: 2, pairing, ..problem() }, DInit::Identity);
}

#[test]
fn padded_by_the_image() {
    live(Problem { mode: PaddingMode::Reflect, ..problem() }, DInit::Identity);
}

#[cfg(feature = "serde")]
#[test]
fn a_damaged_file_is_refused_as_parameters_are() {
    let layer: DoConv2d<f64> = DoConv2dConfig::new(2, 3, [2, 2]).init(SEED).unwrap();
    let json = serde_json::to_value(&layer).unwrap();
    let damaged = |pointer: &str, value: serde_json::Value| {
        let mut json = json.clone();
        *json.pointer_mut(pointer).unwrap() = value;
        serde_json::from_value::<DoConv2d<f64>>(json).unwrap_err().to_string()
    };
    for (pointer, value, reason) in [
        ("/config/d_mul", 3.into(), "d_mul: expected at least 4 for a 2×2 kernel, got 3"),
        ("/config/d_mul", 5.into(), "w: expected [3, 2, 5], got [3, 2, 4]"),
        ("/config/conv/stride/1", 0.into(), "stride: expected two positive numbers, got [1, 0]"),
        ("/config/conv/bias", false.into(), "bias: expected none, got [3]"),
        ("/bias", serde_json::Value::Null, "bias: expected [3], got none"),
        ("/d_offset", serde_json::Value::Null, "d_offset: expected [2, 4, 4], got none"),
    ] {
        assert_eq!(damaged(pointer, value), format!("DoConv2d::from_parameters: {reason}"));
    }

    let mut json = serde_json::to_value(layer.fold()).unwrap();
    *json.pointer_mut("/config/out_channels").unwrap() = 4.into();
    let error = serde_json::from_value::<Conv2d<f64>>(json).unwrap_err();
    let text = "Conv2d::from_parameters: weight: expected [4, 2, 2, 2], got [3, 2, 2, 2]";
    assert_eq!(error.to_string(), text);
}

/// Numbers that differ from place to place.
fn images(shape: [usize; 4]) -> Array4<f32> {
    let mut index = 0;
    Array4::from_shape_simple_fn(shape, || {
        index += 1;
        (index * 7919 % 1013) as f32 / 512.0 - 1.0
    })
}

#[test]
fn a_plain_layer_convolves_by_its_present_kernel() {
    for groups in [1, 16] {
        let config = DoConv2dConfig::new(16, 16, [3, 3]).padding(1).groups(groups);
        let mut conv: Conv2d<f32> = config.init(SEED).unwrap().fold();
        let x = images([2, 16, 9, 11]);
        let before = conv.forward(&x).unwrap();
        for (_, parameters) in conv.parameters_mut() {
            parameters.iter_mut().for_each(|parameter| *parameter *= 2.0);
        }
        let after = conv.forward(&x).unwrap();
        assert_eq!(after, 2.0 * &before);
        assert_eq!(conv.clone().forward(&x).unwrap(), after);
    }
}

#[test]
fn what_a_layer_did_before_does_not_matter() {
    for groups in [1, 4, 16] {
        let config = DoConv2dConfig::new(16, 32, [3, 3]).padding(1).groups(groups);
        for composition in [Composition::Kernel, Composition::Feature] {
            let fresh: DoConv2d<f32> = config.clone().composition(composition).init(SEED).unwrap();
            let used = fresh.clone();
            let (plain, used_plain) = (fresh.fold(), fresh.fold());
            // Not-a-numbers fill the buffers of a larger pass.
            let bad = Array4::from_elem((3, 16, 20, 23), f32::NAN);
            let y = used.forward(&bad).unwrap();
            used.backward(&bad, &y).unwrap();
            used_plain.backward(&bad, &y).unwrap();

            let x = images([2, 16, 9, 11]);
            let dy = images([2, 32, 9, 11]);
            let y = fresh.forward(&x).unwrap();
            let mut again = Array4::zeros(y.dim());
            used.forward_into(&x, &mut again).unwrap();
            assert_eq!(bits(&again), bits(&y));
            let gradients = fresh.backward(&x, &dy).unwrap();
            assert_eq!(used.backward(&x, &dy).unwrap(), gradients);
            assert_eq!(used_plain.backward(&x, &dy).unwrap(), plain.backward(&x, &dy).unwrap());
        }
    }
}

#[test]
fn layers_show_no_buffers() {
    let layer: DoConv2d<f32> = DoConv2dConfig::new(16, 16, [3, 3]).init(0).unwrap();
    let folded = layer.fold();
    let new = [format!("{layer:?}"), format!("{folded:?}")];
    let x = Array4::ones((4, 16, 20, 20));
    let y = layer.forward(&x).unwrap();
    layer.backward(&x, &y).unwrap();
    folded.forward(&x).unwrap();
    assert_eq!([format!("{layer:?}"), format!("{folded:?}")], new);
}

#[test]
fn a_layer_is_printed_without_its_weights() {
    let layer: DoConv2d<f32> = DoConv2dConfig::new(64, 32, [3, 3]).init(1).unwrap();
    let text = format!("{layer:?}");
    assert!(
        text.contains("w: [32, 64, 9]") && text.contains("d_offset: Some([64, 9, 9])"),
        "{text}"
    );
    assert!(text.len() < 800, "{text}");
    let text = format!("{:?}", layer.fold());
    assert!(text.contains("weight: [32, 64, 3, 3]") && text.len() < 800, "{text}");
}
