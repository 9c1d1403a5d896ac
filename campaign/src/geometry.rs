//! Every geometry, layout and number of threads gives exactly what the definition says.

use std::borrow::Cow;

use do_conv::operator::{Compose, Convolve};
use do_conv::{Algorithm, Conv2d, Conv2dGradientsMut, DoConv2d, DoConv2dGradientsMut, Scalar};
use ndarray::{Array4, ArrayView3, ArrayView4, ArrayViewMut1, ArrayViewMut3, ArrayViewMut4};

use crate::case::Case;
use crate::draw::Draw;
use crate::make;
use crate::oracle::{self, Inputs, Solution};
use crate::places::{Places, same};
use crate::runner::{Outcome, Promise, pool};
use crate::strided::{Strided, rank, rank_mut};

/// The promise, by an oracle that can be replaced.
#[derive(Debug)]
pub struct Geometry {
    /// What must come out.
    pub oracle: fn(&Case, &Inputs<i64>) -> Solution<i64>,
}

impl Default for Geometry {
    fn default() -> Self {
        Self { oracle: oracle::solve }
    }
}

impl Promise for Geometry {
    type Case = Case;

    fn name(&self) -> &'static str {
        "geometry"
    }

    fn measure(&self) -> &'static str {
        "largest difference"
    }

    /// Geometries that once read past a buffer, each on several numbers of threads.
    fn fixed(&self) -> Vec<Case> {
        let plain = Case { threads: 2, ..Case::default() };
        let tall = Case {
            inputs: 3,
            outputs: 8,
            image: [32, 32],
            kernel: [3, 3],
            stride: [3, 3],
            padding: [[52, 52], [0, 0]],
            ..plain.clone()
        };
        let empty = Case {
            outputs: 5,
            image: [0, 30],
            kernel: [1, 3],
            stride: [1, 3],
            padding: [[1, 0], [0, 0]],
            ..plain.clone()
        };
        let short = Case {
            outputs: 5,
            image: [2, 30],
            kernel: [3, 3],
            stride: [7, 3],
            padding: [[3, 5], [0, 0]],
            ..plain
        };
        vec![tall, empty, short]
    }

    fn case(&self, draw: &mut Draw) -> Case {
        // Of another algorithm, sums of whole numbers aren't exact.
        let mut case = Case { algorithm: Algorithm::Direct, ..make::case(draw) };
        case.double |= !case.is_exact_in_f32();
        case
    }

    fn check(&self, case: &Case) -> Outcome {
        pool(case.threads).install(|| match case.double {
            true => self.run::<f64>(case),
            false => self.run::<f32>(case),
        })
    }

    fn smaller(&self, case: &Case) -> Vec<Case> {
        let mut smaller = make::smaller(case);
        smaller.retain(|case| case.double || case.is_exact_in_f32());
        smaller
    }

    fn describe(&self, case: &Case) -> String {
        case.describe()
    }
}

/// What goes into a call, as the crate takes it.
struct Arrays<T> {
    x: Strided<T>,
    dy: Strided<T>,
    weight: Strided<T>,
    w: Strided<T>,
    offset: Strided<T>,
    bias: Strided<T>,
}

impl Geometry {
    fn run<T: Scalar>(&self, case: &Case) -> Outcome {
        let (x_most, w_most) = (2, 1);
        let whole = case.inputs(|draw| draw.integer(x_most));
        let small = case.inputs(|draw| draw.integer(w_most));
        let whole = Inputs { offset: small.offset, w: small.w, bias: small.bias, ..whole };
        let inputs = whole.widen();
        let layer = match case.layer::<T>(&inputs) {
            Ok(layer) => layer,
            Err(error) if case.is_layer() => return Err(format!("no layer: {error}")),
            Err(_) => return Ok(0.0),
        };
        if !case.is_layer() {
            return Err("a layer without a feature composition was made".into());
        }
        if case.output().is_none() {
            return refused(case, &layer, &inputs).map(|()| 0.0);
        }
        let expected = (self.oracle)(case, &whole);
        let wide = |values: &[i64]| values.iter().map(|&value| value as f64).collect::<Vec<f64>>();
        let (layout, axis) = (case.layout, case.broadcast());
        let arrays: Arrays<T> = Arrays {
            x: Strided::broadcast(layout, "x", &case.x_shape(), &inputs.x, axis),
            dy: Strided::broadcast(layout, "dy", &case.y_shape(), &inputs.dy, axis),
            weight: Strided::of(layout, "weight", &case.weight_shape(), &wide(&expected.kernel)),
            w: Strided::of(layout, "w", &case.w_shape(), &inputs.w),
            offset: Strided::of(layout, "offset", &case.offset_shape(), &inputs.offset),
            bias: Strided::of(layout, "bias", &[inputs.bias.len()], &inputs.bias),
        };
        let conv = layer.fold();
        let convolve = Convolve::<T>::new(&case.config().conv).map_err(|e| e.to_string())?;
        let told = |what: &str, used: &str| {
            let (what, used) = (what.to_owned(), used.to_owned());
            move |reason: String| format!("{used} {what}: {reason}")
        };
        for used in ["fresh", "used"] {
            let fresh = used == "fresh";
            if !fresh {
                dirty(case, &layer, &conv, &convolve)?;
            }
            over(case, &layer, fresh, &arrays, &expected).map_err(told("DoConv2d", used))?;
            plain(case, &conv, fresh, &arrays, &expected).map_err(told("Conv2d", used))?;
            lent(case, &convolve, fresh, &arrays, &expected).map_err(told("Convolve", used))?;
        }
        if case.taps() > 1 {
            composed(case, &arrays, &expected).map_err(told("Compose", "fresh"))?;
        }
        Ok(0.0)
    }
}

/// An image that is too small is refused, and nothing is written.
fn refused<T: Scalar>(
    case: &Case,
    layer: &DoConv2d<T>,
    inputs: &Inputs<f64>,
) -> Result<(), String> {
    let x = Strided::<T>::of(case.layout, "x", &case.x_shape(), &inputs.x);
    let seven = T::round_from(7.0);
    let mut y = Array4::from_elem((1, 1, 2, 2), seven);
    let x: ArrayView4<T> = rank(x.view());
    let conv = layer.fold();
    let refused = layer.output_shape(case.x_shape()).is_err()
        && layer.forward(&x).is_err()
        && layer.forward_into(&x, &mut y).is_err()
        && layer.backward(&x, &y).is_err()
        && conv.forward(&x).is_err()
        && conv.forward_into(&x, &mut y).is_err()
        && conv.backward(&x, &y).is_err();
    match refused && y.iter().all(|&value| value == seven) {
        true => Ok(()),
        false => Err("an image that is too small was not refused".into()),
    }
}

/// Leaves numbers that spoil any sum in every buffer, for a larger image and the same one.
fn dirty<T: Scalar>(
    case: &Case,
    layer: &DoConv2d<T>,
    conv: &Conv2d<T>,
    convolve: &Convolve<T>,
) -> Result<(), String> {
    let larger = Case {
        batch: case.batch + 1,
        image: [case.image[0] + 3, case.image[1] + 5],
        ..case.clone()
    };
    let text = |error: do_conv::Error| format!("other inputs: {error}");
    for case in [&larger, case] {
        if case.products() > 2 * make::MOST_PRODUCTS {
            continue;
        }
        let x = Array4::from_elem(case.x_shape(), T::nan());
        let dy = Array4::from_elem(case.y_shape(), T::nan());
        layer.backward(&x, &dy).map_err(text)?;
        conv.forward(&x).map_err(text)?;
        conv.backward(&x, &dy).map_err(text)?;
        let mut y = dy.clone();
        convolve.forward_into(x.view(), conv.weight(), None, y.view_mut()).map_err(text)?;
    }
    Ok(())
}

/// The layer with its buffers, or without: a clone has none yet.
fn layer<L: Clone>(layer: &L, fresh: bool) -> Cow<'_, L> {
    if fresh { Cow::Owned(layer.clone()) } else { Cow::Borrowed(layer) }
}

fn over<T: Scalar>(
    case: &Case,
    own: &DoConv2d<T>,
    fresh: bool,
    arrays: &Arrays<T>,
    expected: &Solution<i64>,
) -> Result<(), String> {
    let (x, dy): (ArrayView4<T>, ArrayView4<T>) = (rank(arrays.x.view()), rank(arrays.dy.view()));
    let text = |error: do_conv::Error| error.to_string();
    same("weight", &layer(own, fresh).weight().into_dyn(), &expected.kernel)?;
    if case.layout == 0 {
        let y = layer(own, fresh).forward(&x).map_err(text)?;
        same("y", &y.into_dyn(), &expected.y)?;
        let got = layer(own, fresh).backward(&x, &dy).map_err(text)?;
        same("dx", &got.x.ok_or("no dx")?.into_dyn(), &expected.dx)?;
        same("dw", &got.w.into_dyn(), &expected.dw)?;
        got.d_offset.map_or(Ok(()), |d| same("dd_offset", &d.into_dyn(), &expected.doffset))?;
        got.bias.map_or(Ok(()), |db| same("dbias", &db.into_dyn(), &expected.dbias))?;
        let y = layer(own, fresh).forward(&x).map_err(text)?;
        return same("y", &y.into_dyn(), &expected.y);
    }
    let doffset_shape = if case.taps() > 1 { case.offset_shape() } else { [0; 3] };
    let mut places = Places::new(
        case,
        [
            ("y", &case.y_shape()),
            ("dx", &case.x_shape()),
            ("dw", &case.w_shape()),
            ("dd_offset", &doffset_shape),
            ("dbias", &[expected.dbias.len()]),
        ],
    );
    let [y, dx, dw, doffset, dbias] = &mut places.0[..] else { unreachable!("five places") };
    let mut y: ArrayViewMut4<T> = rank_mut(y.1.view_mut());
    layer(own, fresh).forward_into(&x, &mut y).map_err(|e| e.to_string())?;
    let dbias: ArrayViewMut1<T> = rank_mut(dbias.1.view_mut());
    let doffset: ArrayViewMut3<T> = rank_mut(doffset.1.view_mut());
    let gradients = DoConv2dGradientsMut {
        x: Some(rank_mut(dx.1.view_mut())),
        w: Some(rank_mut(dw.1.view_mut())),
        d_offset: (case.taps() > 1).then_some(doffset),
        bias: case.bias.then_some(dbias),
    };
    layer(own, fresh).backward_into(&x, &dy, gradients).map_err(|e| e.to_string())?;
    places.compare([&expected.y, &expected.dx, &expected.dw, &expected.doffset, &expected.dbias])
}

fn plain<T: Scalar>(
    case: &Case,
    conv: &Conv2d<T>,
    fresh: bool,
    arrays: &Arrays<T>,
    expected: &Solution<i64>,
) -> Result<(), String> {
    let (x, dy): (ArrayView4<T>, ArrayView4<T>) = (rank(arrays.x.view()), rank(arrays.dy.view()));
    if case.layout == 0 {
        let text = |error: do_conv::Error| error.to_string();
        let got = layer(conv, fresh).backward(&x, &dy).map_err(text)?;
        same("dx", &got.x.ok_or("no dx")?.into_dyn(), &expected.dx)?;
        same("dweight", &got.weight.into_dyn(), &expected.dkernel)?;
        got.bias.map_or(Ok(()), |db| same("dbias", &db.into_dyn(), &expected.dbias))?;
        let y = layer(conv, fresh).forward(&x).map_err(text)?;
        return same("y", &y.into_dyn(), &expected.y);
    }
    let mut places = Places::new(
        case,
        [
            ("y", &case.y_shape()),
            ("dx", &case.x_shape()),
            ("dweight", &case.weight_shape()),
            ("dbias", &[expected.dbias.len()]),
        ],
    );
    let [y, dx, dweight, dbias] = &mut places.0[..] else { unreachable!("four places") };
    let mut y: ArrayViewMut4<T> = rank_mut(y.1.view_mut());
    layer(conv, fresh).forward_into(&x, &mut y).map_err(|e| e.to_string())?;
    let dbias: ArrayViewMut1<T> = rank_mut(dbias.1.view_mut());
    let gradients = Conv2dGradientsMut {
        x: Some(rank_mut(dx.1.view_mut())),
        weight: Some(rank_mut(dweight.1.view_mut())),
        bias: case.bias.then_some(dbias),
    };
    layer(conv, fresh).backward_into(&x, &dy, gradients).map_err(|e| e.to_string())?;
    places.compare([&expected.y, &expected.dx, &expected.dkernel, &expected.dbias])
}

/// The operator, asked for some of the gradients at a time.
fn lent<T: Scalar>(
    case: &Case,
    convolve: &Convolve<T>,
    fresh: bool,
    arrays: &Arrays<T>,
    expected: &Solution<i64>,
) -> Result<(), String> {
    let (x, dy): (ArrayView4<T>, ArrayView4<T>) = (rank(arrays.x.view()), rank(arrays.dy.view()));
    let weight: ArrayView4<T> = rank(arrays.weight.view());
    let bias = rank(arrays.bias.view());
    let mut places = Places::new(
        case,
        [
            ("y", &case.y_shape()),
            ("dx", &case.x_shape()),
            ("dweight", &case.weight_shape()),
            ("dbias", &[expected.dbias.len()]),
        ],
    );
    let [y, dx, dweight, dbias] = &mut places.0[..] else { unreachable!("four places") };
    let bias = case.bias.then_some(bias);
    let y = rank_mut(y.1.view_mut());
    layer(convolve, fresh)
        .forward_into(x.view(), weight.view(), bias, y)
        .map_err(|e| e.to_string())?;
    let dbias: ArrayViewMut1<T> = rank_mut(dbias.1.view_mut());
    let first = Conv2dGradientsMut { x: Some(rank_mut(dx.1.view_mut())), weight: None, bias: None };
    let dweight = Some(rank_mut(dweight.1.view_mut()));
    let second = Conv2dGradientsMut { x: None, weight: dweight, bias: case.bias.then_some(dbias) };
    for gradients in [first, second] {
        layer(convolve, fresh)
            .backward_into(x.view(), weight.view(), dy.view(), gradients)
            .map_err(|e| e.to_string())?;
    }
    places.compare([&expected.y, &expected.dx, &expected.dkernel, &expected.dbias])
}

fn composed<T: Scalar>(
    case: &Case,
    arrays: &Arrays<T>,
    expected: &Solution<i64>,
) -> Result<(), String> {
    let compose = Compose::<T>::new(&case.config()).map_err(|e| e.to_string())?;
    let gradient: Vec<f64> = expected.dkernel.iter().map(|&value| value as f64).collect();
    let gradient = Strided::of(case.layout, "gradient", &case.weight_shape(), &gradient);
    let (offset, w): (ArrayView3<T>, ArrayView3<T>) =
        (rank(arrays.offset.view()), rank(arrays.w.view()));
    for _ in ["fresh", "used"] {
        let mut places = Places::new(
            case,
            [
                ("weight", &case.weight_shape()),
                ("dw", &case.w_shape()),
                ("dd_offset", &case.offset_shape()),
            ],
        );
        let [weight, dw, doffset] = &mut places.0[..] else { unreachable!("three places") };
        let weight = rank_mut(weight.1.view_mut());
        compose.forward_into(offset.view(), w.view(), weight).map_err(|e| e.to_string())?;
        let (dw, doffset) = (rank_mut(dw.1.view_mut()), rank_mut(doffset.1.view_mut()));
        compose
            .backward_into(offset.view(), w.view(), rank(gradient.view()), doffset, dw)
            .map_err(|e| e.to_string())?;
        places.compare([&expected.kernel, &expected.dw, &expected.doffset])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runner::{Limits, run};

    const LIMITS: Limits =
        Limits { seed: 7, from: 0, time: Duration::ZERO, cases: Some(40), trace: false };

    #[test]
    fn the_crate_agrees_with_the_oracle() {
        let report = run(&Geometry::default(), LIMITS);
        assert_eq!((report.cases, report.failures), (40, 0), "{}", report.shown.join("\n"));
    }

    #[test]
    fn a_wrong_oracle_is_noticed_and_the_case_made_small() {
        // Wrong by one in the last gradient, for kernels of more than four taps.
        fn wrong(case: &Case, inputs: &Inputs<i64>) -> Solution<i64> {
            let mut solution = oracle::solve(case, inputs);
            if case.taps() > 4
                && let Some(last) = solution.dw.last_mut()
            {
                *last += 1;
            }
            solution
        }
        let report = run(&Geometry { oracle: wrong }, LIMITS);
        assert!(report.failures > 5, "{report:?}");
        let shown = &report.shown[0];
        assert!(shown.contains("geometry fails, case") && shown.contains("dw"), "{shown}");
        assert!(shown.contains("DoConv2dConfig::new(1, 1, ["), "{shown}");
        assert!(shown.contains("1 threads") && shown.contains("layout: 0"), "{shown}");
        let kernels = ["[1, 5]", "[5, 1]", "[2, 3]", "[3, 2]"];
        assert!(kernels.iter().any(|sides| shown.contains(&format!("kernel: {sides}"))), "{shown}");
    }
}
