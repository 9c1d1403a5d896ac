//! Results have the same bits for any number of threads, any batch, folded or not, on fresh buffers and
//! on used ones.

use do_conv::{Composition, DoConv2d, Scalar};
use ndarray::{Array4, ArrayView, ArrayView4, Axis, Dimension, Slice};

use crate::case::{Case, THREADS};
use crate::draw::Draw;
use crate::layers::{LayerPromise, arrays};
use crate::runner::{Outcome, pool};

/// The promise.
#[derive(Debug)]
pub struct Bits;

impl LayerPromise for Bits {
    const NAME: &str = "bits";
    const MEASURE: &str = "differing elements";

    fn check<T: Scalar>(&self, case: &Case) -> Outcome {
        run::<T>(case)
    }
}

/// The bits of every result, by name, in order.
#[derive(Debug, PartialEq)]
pub struct Results(Vec<(&'static str, Vec<u64>)>);

impl Results {
    /// What a layer gives, forward and backward.
    ///
    /// # Errors
    /// The crate's, as text.
    pub fn of<T: Scalar>(
        layer: &DoConv2d<T>,
        x: &Array4<T>,
        dy: &Array4<T>,
    ) -> Result<Self, String> {
        let text = |error: do_conv::Error| error.to_string();
        let y = layer.forward(x).map_err(text)?;
        let gradients = layer.backward(x, dy).map_err(text)?;
        let mut all = vec![("y", bits(y.view())), ("weight", bits(layer.weight().view()))];
        all.extend(gradients.x.map(|dx| ("dx", bits(dx.view()))));
        all.push(("dw", bits(gradients.w.view())));
        all.extend(gradients.d_offset.map(|dd| ("dd_offset", bits(dd.view()))));
        all.extend(gradients.bias.map(|db| ("dbias", bits(db.view()))));
        Ok(Self(all))
    }

    /// The names and bits.
    pub fn iter(&self) -> impl Iterator<Item = &(&'static str, Vec<u64>)> {
        self.0.iter()
    }

    /// That other results are the same.
    ///
    /// # Errors
    /// The first that isn't.
    pub fn expect(&self, what: &str, other: &Self) -> Result<(), String> {
        self.0
            .iter()
            .zip(&other.0)
            .try_for_each(|((name, own), (_, other))| equal(&format!("{name} {what}"), own, other))
    }
}

/// The bits of each element, widened, which keeps all but which NaN it is.
pub fn bits<T: Scalar, D: Dimension>(array: ArrayView<'_, T, D>) -> Vec<u64> {
    let one = |value: &T| if value.is_nan() { u64::MAX } else { value.widen().to_bits() };
    array.iter().map(one).collect()
}

fn equal(what: &str, one: &[u64], other: &[u64]) -> Result<(), String> {
    let differing = one.iter().zip(other).filter(|(one, other)| one != other).count();
    if one.len() == other.len() && differing == 0 {
        return Ok(());
    }
    let first = one.iter().zip(other).position(|(one, other)| one != other);
    Err(format!("{what}: {differing} of {} elements differ, the first at {first:?}", one.len()))
}

/// One image of a batch, as a batch.
fn one_image<T>(images: &Array4<T>, image: usize) -> ArrayView4<'_, T> {
    images.slice_axis(Axis(0), Slice::from(image..image + 1))
}

fn run<T: Scalar>(case: &Case) -> Outcome {
    if case.output().is_none() || !case.is_layer() {
        return Ok(0.0);
    }
    let text = |error: do_conv::Error| error.to_string();
    let (layer, x, dy) = arrays::<T>(case, &case.inputs(Draw::real))?;
    let first = pool(1).install(|| Results::of(&layer, &x, &dy))?;
    for threads in THREADS {
        let fresh = pool(threads).install(|| Results::of(&layer.clone(), &x, &dy))?;
        first.expect(&format!("on {threads} threads"), &fresh)?;
    }
    pool(case.threads).install(|| {
        let other = Array4::from_elem(x.raw_dim(), T::infinity());
        Results::of(&layer, &other, &dy)?;
        first.expect("on used buffers", &Results::of(&layer, &x, &dy)?)
    })?;

    // `Auto` may choose by the batch.
    if case.composition != Composition::Auto {
        let y = layer.forward(&x).map_err(text)?;
        for image in 0..case.batch {
            let alone = layer.clone().forward(&one_image(&x, image)).map_err(text)?;
            let among = bits(one_image(&y, image));
            equal(&format!("y of image {image} alone"), &among, &bits(alone.view()))?;
        }
    }

    let mut kernel = layer.clone();
    kernel.set_composition(Composition::Kernel).map_err(text)?;
    let conv = kernel.fold();
    let expected = bits(kernel.forward(&x).map_err(text)?.view());
    for threads in THREADS {
        pool(threads).install(|| {
            // Fresh, and by the kernel it has packed.
            let fresh = conv.clone();
            for _ in 0..2 {
                let folded = bits(fresh.forward(&x).map_err(text)?.view());
                equal(&format!("folded y on {threads} threads"), &expected, &folded)?;
            }
            Ok::<(), String>(())
        })?;
    }
    for image in 0..case.batch {
        let alone = conv.forward(&one_image(&x, image)).map_err(text)?;
        let len = alone.len();
        equal("folded y alone", &expected[image * len..][..len], &bits(alone.view()))?;
    }
    Ok(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bits_are_noticed() {
        let zeros = |value: f32| Results(vec![("y", bits(ndarray::arr1(&[1.0, value]).view()))]);
        assert_eq!(zeros(0.0).expect("", &zeros(0.0)), Ok(()));
        assert!(zeros(0.0).expect("", &zeros(-0.0)).is_err());
        assert!(zeros(1.0).expect("", &zeros(1.0f32.next_up())).is_err());
        assert_eq!(zeros(f32::NAN).expect("", &zeros(-f32::NAN)), Ok(()));
    }
}
