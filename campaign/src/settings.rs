//! Absurd settings and shapes are refused or work; they never panic, and nothing is written on an
//! error.

use do_conv::operator::{Compose, Conv2dGradientsMut, Convolve};
use do_conv::{
    Algorithm, Composition, DInit, DoConv2d, DoConv2dConfig, Init, Padding, PaddingMode, Pairing,
    Scalar,
};
use ndarray::{Array4, ArrayView4, arr0};

use crate::draw::Draw;
use crate::runner::{Outcome, Promise};

/// Elements that a case may allocate: 64 MiB of `f64`.
const MOST_ELEMENTS: u128 = 8 << 20;
/// Elements that no machine has room for, so that asking for them allocates nothing.
const NO_ROOM: u128 = 1 << 50;
/// Multiply-accumulates and positions that a case may go through.
const MOST_WORK: u128 = 1 << 22;

/// The promise.
#[derive(Debug)]
pub struct Settings;

/// Settings of a layer, the shape of an input, and a shape for what is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    config: DoConv2dConfig,
    input: [usize; 4],
    output: [usize; 4],
    double: bool,
}

impl Promise for Settings {
    type Case = Case;

    fn name(&self) -> &'static str {
        "settings"
    }

    fn measure(&self) -> &'static str {
        "accepted at all"
    }

    fn case(&self, draw: &mut Draw) -> Case {
        // Rarely absurd, so that some cases get far, or mostly.
        let once_in = draw.pick(&[1, 2, 4, 8, 16, 32, 64, 64]);
        let absurd = |draw: &mut Draw, least: usize| {
            if draw.once_in(once_in) { self::absurd(draw) } else { draw.within(least..=4) }
        };
        let pair = |draw: &mut Draw, least| [absurd(draw, least), absurd(draw, least)];
        let channels = [absurd(draw, 1), absurd(draw, 1)];
        let mut config = DoConv2dConfig::new(channels[0], channels[1], pair(draw, 1))
            .stride(pair(draw, 1))
            .dilation(pair(draw, 1))
            .padding(match draw.below(5) {
                0 => Padding::Valid,
                1 => Padding::Same,
                _ => Padding::Explicit([pair(draw, 0), pair(draw, 0)]),
            })
            .padding_mode(draw.pick(&[
                PaddingMode::Zeros,
                PaddingMode::Reflect,
                PaddingMode::Replicate,
                PaddingMode::Circular,
            ]))
            .groups(if draw.once_in(2) { 1 } else { absurd(draw, 1) })
            .bias(draw.once_in(2))
            .pairing(draw.pick(&[Pairing::InputChannel, Pairing::PyTorch, Pairing::TensorFlow]))
            .composition(draw.pick(&[
                Composition::Kernel,
                Composition::Feature,
                Composition::Auto,
            ]));
        if draw.once_in(3) {
            let d_mul = absurd(draw, 1);
            config = config.d_mul(if d_mul <= 4 { 15 + d_mul } else { d_mul });
        }
        if draw.once_in(4) {
            let value = draw.pick(&[0.0, -1.0, f64::NAN, f64::INFINITY, f64::MAX, 5e-324, 1e-300]);
            config = config.w_init(draw.pick(&[
                Init::KaimingUniform { a: value },
                Init::KaimingNormal { a: value },
                Init::XavierUniform,
                Init::Uniform { bound: value },
                Init::Normal { std: value },
                Init::Constant { value },
            ]));
        }
        config = config.algorithm(draw.pick(&Algorithm::ALL));
        if draw.once_in(4) {
            config = config.d_init(DInit::Random(Init::XavierNormal));
        }
        let in_channels = if draw.once_in(8) { absurd(draw, 0) } else { channels[0] };
        let batch = absurd(draw, 0);
        let batch = draw.pick(&[0, 0, 1, 2, batch]);
        let input = [batch, in_channels, absurd(draw, 1), absurd(draw, 1)];
        let output =
            [draw.within(0..=2), draw.within(1..=4), draw.within(0..=4), draw.within(1..=4)];
        Case { config, input, output, double: draw.once_in(2) }
    }

    fn check(&self, case: &Case) -> Outcome {
        if case.double { run::<f64>(case) } else { run::<f32>(case) }
    }

    fn smaller(&self, case: &Case) -> Vec<Case> {
        type Size = fn(&mut Case) -> &mut usize;
        let sizes: [Size; 13] = [
            |case| &mut case.config.conv.in_channels,
            |case| &mut case.config.conv.out_channels,
            |case| &mut case.config.conv.kernel_size[0],
            |case| &mut case.config.conv.kernel_size[1],
            |case| &mut case.config.conv.stride[0],
            |case| &mut case.config.conv.stride[1],
            |case| &mut case.config.conv.dilation[0],
            |case| &mut case.config.conv.dilation[1],
            |case| &mut case.config.conv.groups,
            |case| &mut case.input[0],
            |case| &mut case.input[1],
            |case| &mut case.input[2],
            |case| &mut case.input[3],
        ];
        let mut found = Vec::new();
        for padding in [Padding::Valid, Padding::from(1)] {
            if case.config.conv.padding != padding && case.config.conv.padding != Padding::Valid {
                found.push(Case { config: case.config.clone().padding(padding), ..case.clone() });
            }
        }
        let plain = DoConv2dConfig::new(1, 1, [1, 1]);
        let (w_init, d_init) = (plain.conv.w_init, plain.d_init);
        let mut no_depth = case.config.clone();
        no_depth.d_mul = None;
        for config in [
            case.config.clone().padding_mode(PaddingMode::Zeros),
            case.config.clone().pairing(Pairing::InputChannel),
            case.config.clone().composition(Composition::Kernel),
            case.config.clone().algorithm(Algorithm::Direct),
            case.config.clone().w_init(w_init),
            case.config.clone().d_init(d_init),
            no_depth,
        ] {
            // NaN is no reason to go on for ever.
            if format!("{config:?}") != format!("{:?}", case.config) {
                found.push(Case { config, ..case.clone() });
            }
        }
        for size in sizes {
            let present = *size(&mut case.clone());
            for next in [1, present / 2, present.saturating_sub(1)] {
                if next > 0 && next < present {
                    let mut smaller = case.clone();
                    *size(&mut smaller) = next;
                    found.push(smaller);
                }
            }
        }
        found
    }

    fn describe(&self, case: &Case) -> String {
        format!("{case:?}")
    }
}

fn absurd(draw: &mut Draw) -> usize {
    let edge = draw.pick(&[
        0,
        1,
        7,
        1 << 16,
        1 << 31,
        1 << 32,
        1 << 61,
        1 << 62,
        1 << 63,
        isize::MAX as usize / 2,
        isize::MAX as usize,
        usize::MAX,
    ]);
    edge.wrapping_add(draw.pick(&[0, 0, 0, 1, 2])).wrapping_sub(draw.pick(&[0, 0, 0, 1, 2]))
}

/// The product, as large as it may be.
fn count(sizes: &[usize]) -> u128 {
    sizes.iter().fold(1u128, |product, &size| product.saturating_mul(size as u128))
}

fn may_run(elements: u128) -> bool {
    elements <= MOST_ELEMENTS || elements >= NO_ROOM
}

fn run<T: Scalar>(case: &Case) -> Outcome {
    let conv = &case.config.conv;
    let [rows, cols] = conv.kernel_size;
    let depth = case.config.d_mul.unwrap_or_else(|| rows.saturating_mul(cols)).max(1);
    let inputs = conv.in_channels / conv.groups.max(1);
    // What the parameters take, and what is asked for to try whether there is room.
    let parameters = [
        count(&[conv.out_channels, inputs, rows, cols]),
        count(&[conv.out_channels, inputs, depth]),
        count(&[conv.in_channels, rows, cols, depth]),
        count(&[conv.out_channels]),
    ];
    if parameters.iter().any(|&elements| !may_run(elements)) {
        return Ok(0.0);
    }
    let valid = [case.config.validate().is_ok(), conv.validate().is_ok()];
    let small = parameters.iter().all(|&elements| elements <= MOST_ELEMENTS);
    let operators = (Compose::<T>::new(&case.config), Convolve::<T>::new(conv));
    if let (_, Ok(convolve)) = &operators
        && let Ok(shape) = convolve.output_shape(case.input)
    {
        let pixels = case.input[2].checked_mul(case.input[3]);
        if shape[0] != case.input[0] || shape[1] != conv.out_channels || pixels.is_none() {
            return Err(format!("an output of {shape:?} for an input of {:?}", case.input));
        }
    }
    // More work than a layer of a few parameters: composing is a product as well.
    let work = parameters.iter().max().copied().unwrap_or(0).saturating_mul(depth as u128);
    if !small && valid == [true, true] || small && work > MOST_WORK {
        return Ok(0.0);
    }
    let (Ok(layer), Ok(plain)) = (case.config.clone().init::<T>(1), conv.clone().init::<T>(1))
    else {
        return Ok(0.0);
    };
    if valid != [true, true] {
        return Err("a layer was made of a configuration that isn't valid".into());
    }
    images(case, &layer, &plain)
}

/// Images of zero stride, or of no elements.
fn images<T: Scalar>(case: &Case, layer: &DoConv2d<T>, plain: &do_conv::Conv2d<T>) -> Outcome {
    let shape = layer.output_shape(case.input);
    if shape.as_ref().ok() != plain.output_shape(case.input).ok().as_ref() {
        return Err("the two layers give different output shapes".into());
    }
    let one = arr0(T::one());
    let Some(x) = one.broadcast(case.input) else {
        // Not even a view can be so large.
        return Ok(0.0);
    };
    let output = shape.clone().unwrap_or(case.output);
    // The rows and columns count where there are no images, too.
    let honest = count(&output).max(count(&case.input));
    let taps = count(&layer.config().conv.kernel_size);
    let lines = output[2].max(output[3]).max(case.input[2]).max(case.input[3]) as u128;
    let own = honest.saturating_mul(taps).saturating_mul(layer.d_mul() as u128);
    // Each output reads the channels of its group.
    let inputs = count(&[plain.weight().shape()[1]]);
    let work = own.max(count(&output).saturating_mul(inputs).saturating_mul(taps));
    let elements = [count(&output), count(&case.input)];
    if elements.iter().any(|&elements| !may_run(elements))
        || honest < NO_ROOM && work.max(lines) > MOST_WORK
    {
        return Ok(0.0);
    }
    let mut accepted = 0.0;
    let seven = T::round_from(7.0);
    let mut y = Array4::from_elem(case.output, seven);
    let written = |y: &Array4<T>| y.iter().any(|&value| value != seven);
    let x: ArrayView4<T> = x;
    let results = [layer.forward(&x).is_ok(), plain.forward(&x).is_ok()];
    if results[0] != results[1] || results[0] && shape.is_err() {
        return Err(format!("some calls are refused and some are not: {results:?}"));
    }
    if results[0] {
        accepted = 1.0;
    }
    for result in [layer.forward_into(&x, &mut y).is_ok(), plain.forward_into(&x, &mut y).is_ok()] {
        if result && shape.as_ref() != Ok(&case.output) {
            return Err("an output of another shape was accepted".into());
        }
        if !result && written(&y) {
            return Err("an output was written by a call that was refused".into());
        }
        y.fill(seven);
    }
    let mut dweight = Array4::from_elem((1, 2, 3, 1), seven);
    let convolve = Convolve::<T>::new(plain.config()).map_err(|error| error.to_string())?;
    let gradients = Conv2dGradientsMut { x: None, weight: Some(dweight.view_mut()), bias: None };
    let shapes_agree = plain.weight().shape() == [1, 2, 3, 1];
    if convolve.backward_into(x.view(), plain.weight(), y.view(), gradients).is_ok() {
        if !shapes_agree || shape.as_ref() != Ok(&case.output) {
            return Err("arrays of other shapes were accepted".into());
        }
    } else if written(&dweight) {
        return Err("a gradient was written by a call that was refused".into());
    }
    if results[0] {
        let y = layer.forward(&x).map_err(|error| error.to_string())?;
        layer.backward(&x, &y).map_err(|error| error.to_string())?;
        plain.backward(&x, &y).map_err(|error| error.to_string())?;
    }
    Ok(accepted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_cases_get_through() {
        let outcomes = (0..3000)
            .map(|index| Settings.check(&Settings.case(&mut Draw::new(2, "settings", index))));
        let outcomes: Vec<f64> = outcomes.map(|outcome| outcome.expect("a promise kept")).collect();
        let accepted = outcomes.iter().sum::<f64>();
        assert!((100.0..2900.0).contains(&accepted), "{accepted} of 3000 cases are accepted");
    }

    #[test]
    fn failing_settings_get_smaller_and_end() {
        let mut case = Settings.case(&mut Draw::new(2, "settings", 1));
        // Every step that is offered is taken.
        for _ in 0..10_000 {
            match Settings.smaller(&case).into_iter().next() {
                Some(smaller) => case = smaller,
                None => return,
            }
        }
        panic!("no end: {case:?}");
    }
}
