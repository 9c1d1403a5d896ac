use do_conv::{Conv2d, Conv2dConfig};
use ndarray::{Array4, Axis, Slice, Zip};

use super::*;
use crate::data::SIDE;
use crate::tree::TreeSum;

fn images(count: usize) -> Array4<f32> {
    Array4::from_shape_fn((count, 1, SIDE, SIDE), |(b, _, y, x)| {
        (((b * 31 + y * 17 + x * 7) % 29) as f32 / 29.0 - 0.3) * ((y + x) as f32 / 20.0)
    })
}

fn loss_and_gradients(
    net: &Net<DoConv2d<f32>>,
    x: &Array4<f32>,
    labels: &[u8],
) -> Result<(f32, Vec<Vec<f32>>)> {
    let mut gradients = Vec::new();
    let loss = net.fold().backward(x, labels, labels.len(), |gradient| gradients.push(gradient))?;
    Ok((loss, gradients))
}

/// A net whose every second channel is well above the ReLU's kink, and every other one well below, so that its loss is
/// smooth where it stands; and whose branches count.
fn smooth(kind: NetKind) -> Result<Net<DoConv2d<f32>>> {
    let mut net = Net::new(kind, 2, 3)?;
    for (name, unit) in net.units_mut() {
        match unit {
            Unit::Conv(conv) => {
                conv.w_mut().mapv_inplace(|w| 0.3 * w);
                let biases = conv.bias_mut().into_iter().flatten().enumerate();
                if name != "head" {
                    biases.for_each(|(channel, bias)| *bias = [1.0, -1.0][channel % 2]);
                }
            }
            Unit::Scale(scale) => *scale = 0.7,
        }
    }
    Ok(net)
}

/// Along a unit's gradient the loss grows by the gradient's length.
#[test]
fn gradients_are_those_of_the_loss() -> Result<()> {
    for kind in [NetKind::Tutorial, NetKind::Residual] {
        let net = smooth(kind)?;
        let (x, labels) = (images(6), [0, 3, 9, 1, 1, 5]);
        let mut plain = net.fold();
        let (_, gradients) = loss_and_gradients(&net, &x, &labels)?;
        let names: Vec<_> = plain.units_mut().map(|(name, _)| name).collect();
        assert_eq!(names.len(), gradients.len());
        for (index, gradient) in gradients.iter().enumerate() {
            let length = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            let step = 1e-2;
            let at = |sign: f64| {
                let mut moved = plain.clone();
                let (_, unit) = moved.units_mut().nth(index).expect("as many");
                let mut gradient = gradient.iter();
                let mut shift = |values: &mut [f32]| {
                    for (value, g) in values.iter_mut().zip(&mut gradient) {
                        *value += (sign * step * f64::from(*g) / length) as f32;
                    }
                };
                match unit {
                    Unit::Conv(conv) => conv.parameters_mut().for_each(|(_, values)| shift(values)),
                    Unit::Scale(scale) => shift(std::slice::from_mut(scale)),
                }
                moved.backward(&x, &labels, labels.len(), |_| {}).map(f64::from)
            };
            let slope = (at(1.0)? - at(-1.0)?) / (2.0 * step);
            let name = &names[index];
            assert!(
                length > 3e-3 && (slope - length).abs() < 3e-3 * length + 3e-5,
                "{kind:?} {name}: {slope} {length}"
            );
        }
    }
    Ok(())
}

/// The gradient of a batch at once and that of its leaves have the same summands, each in an order of its own: both are
/// within γ of the exact sum, of which the magnitudes' sum is known (N. Higham: Accuracy and stability, section 3.1).
#[test]
fn leaves_give_the_batchs_gradient_within_rounding() -> Result<()> {
    let conv: Conv2d<f32> = Conv2dConfig::new(3, 5, [3, 3]).padding(1).init(1)?;
    let value = |index: usize| (index * 7919 % 1000) as f32 / 500.0 - 1.0;
    let mut count = 0;
    let mut array = |shape| {
        Array4::from_shape_simple_fn(shape, || {
            count += 1;
            value(count)
        })
    };
    let (x, dy) = (array((16, 3, 9, 9)), array((16, 5, 9, 9)));
    let whole = conv.backward(&x, &dy)?.weight;
    let magnitudes = conv.backward(&x.mapv(f32::abs), &dy.mapv(f32::abs))?.weight;
    let mut is_other = false;
    for leaf in [1, 2, 8] {
        let mut sum = TreeSum::default();
        for start in (0..16).step_by(leaf) {
            let part = Slice::from(start..start + leaf);
            let gradient =
                conv.backward(&x.slice_axis(Axis(0), part), &dy.slice_axis(Axis(0), part))?.weight;
            sum.push(gradient.into_iter().collect());
        }
        let sum = sum.take().expect("a power of two");
        let summands = 16.0 * 81.0;
        let gamma = summands * f32::EPSILON / 2.0 / (1.0 - summands * f32::EPSILON / 2.0);
        let sum = Array4::from_shape_vec(whole.raw_dim(), sum).expect("as many");
        Zip::from(&sum).and(&whole).and(&magnitudes).for_each(|sum, whole, magnitude| {
            assert!((sum - whole).abs() <= 2.0 * gamma * 1.001 * magnitude, "{sum} {whole}");
        });
        is_other |= sum != whole;
    }
    assert!(is_other, "there is something to bound");
    Ok(())
}
