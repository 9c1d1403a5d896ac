//! What promises about layers on random reals share.

use do_conv::{Composition, DoConv2d, Scalar};
use ndarray::Array4;

use crate::case::Case;
use crate::draw::Draw;
use crate::make;
use crate::oracle::Inputs;
use crate::runner::{Outcome, Promise};

/// Something that holds for every layer, in either element type.
pub trait LayerPromise {
    /// What it is called on the command line.
    const NAME: &str;
    /// What [`LayerPromise::check`] measures.
    const MEASURE: &str;

    /// Any case.
    fn case(&self, draw: &mut Draw) -> Case {
        runnable(draw)
    }

    /// Whether the promise holds.
    ///
    /// # Errors
    /// What was expected and what came, if it doesn't.
    fn check<T: Scalar>(&self, case: &Case) -> Outcome;
}

impl<P: LayerPromise> Promise for P {
    type Case = Case;

    fn name(&self) -> &'static str {
        P::NAME
    }

    fn measure(&self) -> &'static str {
        P::MEASURE
    }

    fn case(&self, draw: &mut Draw) -> Case {
        LayerPromise::case(self, draw)
    }

    fn check(&self, case: &Case) -> Outcome {
        match case.double {
            true => LayerPromise::check::<f64>(self, case),
            false => LayerPromise::check::<f32>(self, case),
        }
    }

    fn smaller(&self, case: &Case) -> Vec<Case> {
        make::smaller(case)
    }

    fn describe(&self, case: &Case) -> String {
        case.describe()
    }
}

/// Any case, by a composition that its layer has.
pub fn runnable(draw: &mut Draw) -> Case {
    let mut case = make::case(draw);
    if !case.is_layer() {
        case.composition = Composition::Kernel;
    }
    case
}

/// A layer, `x` and `dy`.
pub type Arrays<T> = (DoConv2d<T>, Array4<T>, Array4<T>);

/// The layer, `x` and `dy` of a case that has an output.
///
/// # Errors
/// The crate's, as text.
pub fn arrays<T: Scalar>(case: &Case, inputs: &Inputs<f64>) -> Result<Arrays<T>, String> {
    let layer = case.layer::<T>(inputs).map_err(|error| error.to_string())?;
    let array = |shape: [usize; 4], values: &[f64]| {
        let values = values.iter().map(|&value| T::round_from(value)).collect();
        Array4::from_shape_vec(shape, values).expect("values for the shape")
    };
    let (x, dy) = (array(case.x_shape(), &inputs.x), array(case.y_shape(), &inputs.dy));
    Ok((layer, x, dy))
}
