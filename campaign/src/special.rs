//! A special value (NaN, an infinity, −0, a subnormal or a huge number) changes no result that doesn't
//! read it, and a NaN reaches every output that does.

use do_conv::{Algorithm, DoConv2d, Scalar};

use crate::bits::bits;
use crate::case::Case;
use crate::draw::Draw;
use crate::layers::{LayerPromise, arrays, runnable};
use crate::oracle;
use crate::runner::{Outcome, pool};

/// The promise.
#[derive(Debug)]
pub struct Special;

impl LayerPromise for Special {
    const NAME: &str = "special";
    const MEASURE: &str = "results read it, largest part";

    /// By the direct sum: another algorithm spreads it to the outputs nearby.
    fn case(&self, draw: &mut Draw) -> Case {
        Case { algorithm: Algorithm::Direct, ..runnable(draw) }
    }

    fn check<T: Scalar>(&self, case: &Case) -> Outcome {
        pool(case.threads).install(|| run::<T>(case))
    }
}

/// The special value of a case.
fn value<T: Scalar>(draw: &mut Draw) -> T {
    let tiny = T::min_positive_value() / T::round_from(8.0);
    draw.pick(&[
        T::nan(),
        T::nan(),
        T::infinity(),
        T::neg_infinity(),
        T::neg_zero(),
        tiny,
        T::max_value(),
        T::min_value(),
    ])
}

fn run<T: Scalar>(case: &Case) -> Outcome {
    if case.output().is_none() || !case.is_layer() || case.batch == 0 {
        return Ok(0.0);
    }
    let text = |error: do_conv::Error| error.to_string();
    let (layer, x, dy) = arrays::<T>(case, &case.inputs(Draw::real))?;
    let draw = &mut Draw::new(case.values, "special", 0);
    let special: T = value(draw);
    let ones = |len: usize| vec![1i64; len];
    let at = |len: usize, place: usize| {
        let mut marks = vec![0i64; len];
        marks[place] = 1;
        marks
    };
    let mut part = 0.0f64;
    let mut compare = |name: &str, before: &[u64], after: &[u64], reads: &[bool]| {
        part = part.max(reads.iter().filter(|&&reads| reads).count() as f64 / reads.len() as f64);
        let nan = bits(ndarray::arr0(T::nan()).view())[0];
        for (index, reads) in reads.iter().enumerate() {
            if !reads && before[index] != after[index] {
                return Err(format!(
                    "{name}, element {index}, changed by a {special} it doesn't read"
                ));
            }
            if *reads && special.is_nan() && after[index] != nan {
                return Err(format!("{name}, element {index}, reads a NaN and is none"));
            }
        }
        Ok(())
    };
    let conv = layer.fold();
    let weights = conv.weight().len();
    let y = layer.forward(&x).map_err(text)?;
    let folded = conv.forward(&x).map_err(text)?;
    let before = conv.backward(&x, &dy).map_err(text)?;
    let read = |counts: &[i64]| counts.iter().map(|&count| count > 0).collect::<Vec<bool>>();

    if !x.is_empty() {
        let place = draw.below(x.len());
        let mut x = x.clone();
        *x.iter_mut().nth(place).expect("within x") = special;
        let reads =
            oracle::convolve(case, &at(x.len(), place), &ones(weights), &[], &ones(dy.len()));
        let after = bits(layer.forward(&x).map_err(text)?.view());
        compare("y for x", &bits(y.view()), &after, &read(&reads.y))?;
        let after = bits(conv.forward(&x).map_err(text)?.view());
        compare("folded y for x", &bits(folded.view()), &after, &read(&reads.y))?;
        let after = bits(conv.backward(&x, &dy).map_err(text)?.weight.view());
        compare("dweight for x", &bits(before.weight.view()), &after, &read(&reads.dkernel))?;
    }
    if !dy.is_empty() {
        let place = draw.below(dy.len());
        let mut dy = dy.clone();
        *dy.iter_mut().nth(place).expect("within dy") = special;
        let reads =
            oracle::convolve(case, &ones(x.len()), &ones(weights), &[], &at(dy.len(), place));
        let after = conv.backward(&x, &dy).map_err(text)?;
        let [dx, changed] = [&before, &after].map(|got| got.x.as_ref().map(|dx| bits(dx.view())));
        let (dx, changed) = (dx.unwrap_or_default(), changed.unwrap_or_default());
        compare("dx for dy", &dx, &changed, &read(&reads.dx))?;
        // A tap in the padding may read it and multiply it by zero.
        let [rows, cols] = case.output().unwrap_or([0, 0]);
        let channel = place / (rows * cols) % case.out_channels();
        let size = weights / case.out_channels();
        let others: Vec<usize> = (0..weights).filter(|weight| weight / size != channel).collect();
        let some = |all: Vec<u64>| others.iter().map(|&weight| all[weight]).collect::<Vec<u64>>();
        let (dw, changed) = (some(bits(before.weight.view())), some(bits(after.weight.view())));
        compare("dweight for dy", &dw, &changed, &vec![false; others.len()])?;
    }
    parameters(case, &layer, special, draw, &x, &mut compare)?;
    Ok(part)
}

/// The same for a special value in `W` and in the kernel's channel.
fn parameters<T: Scalar>(
    case: &Case,
    layer: &DoConv2d<T>,
    special: T,
    draw: &mut Draw,
    x: &ndarray::Array4<T>,
    compare: &mut impl FnMut(&str, &[u64], &[u64], &[bool]) -> Result<(), String>,
) -> Result<(), String> {
    let text = |error: do_conv::Error| error.to_string();
    let mut changed = layer.clone();
    let place = draw.below(layer.w().len());
    *changed.w_mut().iter_mut().nth(place).expect("within w") = special;
    let slice = place / case.depth();
    // Its own slice of the kernel may or may not change, by what D is.
    let not = |name: &str, before: Vec<u64>, after: Vec<u64>, reads: &dyn Fn(usize) -> bool| {
        let others = (0..before.len()).filter(|&index| !reads(index)).collect::<Vec<usize>>();
        let of = |all: &[u64]| others.iter().map(|&index| all[index]).collect::<Vec<u64>>();
        (name.to_owned(), of(&before), of(&after), vec![false; others.len()])
    };
    let (name, before, after, reads) =
        not("weight for w", bits(layer.weight().view()), bits(changed.weight().view()), &|index| {
            index / case.taps() == slice
        });
    compare(&name, &before, &after, &reads)?;
    let [rows, cols] = case.output().unwrap_or([0, 0]);
    let channel = slice / case.inputs;
    let forward = |layer: &DoConv2d<T>| layer.forward(x).map(|y| bits(y.view())).map_err(text);
    let (name, before, after, reads) =
        not("y for w", forward(layer)?, forward(&changed)?, &|index| {
            index / (rows * cols) % case.out_channels() == channel
        });
    compare(&name, &before, &after, &reads)?;
    if let Some(len) = layer.d_offset().map(|offset| offset.len()) {
        let mut changed = layer.clone();
        let place = draw.below(len);
        if let Some(mut offset) = changed.d_offset_mut() {
            *offset.iter_mut().nth(place).expect("within d_offset") = special;
        }
        let (of, tap) = (place / case.depth() / case.taps(), place / case.depth() % case.taps());
        let (name, before, after, reads) = not(
            "weight for d_offset",
            bits(layer.weight().view()),
            bits(changed.weight().view()),
            &|index| {
                let (o, i) = (index / case.taps() / case.inputs, index / case.taps() % case.inputs);
                index % case.taps() == tap && oracle::paired_channel(case, o, i) == of
            },
        );
        compare(&name, &before, &after, &reads)?;
    }
    Ok(())
}
