//! Tensors that are no layers', compared by value, and numbers that aren't finite.

use do_conv::checkpoint::{Checkpoint, Comparison, Dtype, Tensor, VerifyOptions};
use half::f16;
use ndarray::ArrayD;

use super::verify::verify;
use super::{rounded, tensor};

fn compared(here: Tensor, there: Tensor) -> Comparison {
    let checkpoint = |tensor| {
        let mut checkpoint = Checkpoint::new();
        checkpoint.insert("x", tensor);
        checkpoint
    };
    let report = verify(&checkpoint(here), &checkpoint(there), &VerifyOptions::default());
    assert!(report.only_here.is_empty() && report.only_there.is_empty());
    let comparison = report.tensors["x"].clone();
    assert_eq!(report.is_same(), comparison.is_same);
    comparison
}

#[test]
fn other_tensors_are_compared_by_value() {
    let single = |value: f32| tensor(&[2], |at| if at == 1 { value } else { 0.0 });
    let of = |dtype, value: f64| {
        rounded(dtype, ArrayD::from_shape_vec(vec![2], vec![0.0, value]).unwrap().view())
    };
    let nan = f32::NAN;
    for (here, there, is_same) in [
        (single(1.0), single(1.0), true),
        (single(1.0), single(1.0f32.next_up()), false),
        (single(0.0), single(-0.0), true),
        (single(nan), single(-nan), true),
        (single(nan), single(1.0), false),
        (single(f32::INFINITY), single(f32::INFINITY), true),
        (single(f32::INFINITY), single(f32::MAX), false),
        // A third in two types; and beyond a rounding to either.
        (of(Dtype::F32, 1.0 / 3.0), of(Dtype::F64, 1.0 / 3.0), true),
        (of(Dtype::F16, 1.0 / 3.0), of(Dtype::F32, 1.0 / 3.0), true),
        (of(Dtype::F16, 1.0 / 3.0), of(Dtype::BF16, 1.0 / 3.0), true),
        (of(Dtype::F16, 1.0), of(Dtype::F32, 1.0 + 2f64.powi(-11)), true),
        (of(Dtype::F16, 1.0), of(Dtype::F32, 1.0 + 2f64.powi(-11) * 1.01), false),
        // Subnormal numbers of f16.
        (of(Dtype::F16, 0.0), of(Dtype::F32, 2f64.powi(-25)), true),
        (of(Dtype::F16, 0.0), of(Dtype::F32, 2f64.powi(-25) * 1.01), false),
        (of(Dtype::F16, 1e6), of(Dtype::F32, 1e6), false),
    ] {
        let comparison = compared(here, there);
        assert_eq!(comparison.is_same, is_same, "{comparison:?}");
        let worst = comparison.worst.unwrap();
        assert_eq!(worst.at, [usize::from(!is_same || worst.difference > 0.0)]);
    }
}

#[test]
fn what_is_no_number_is_compared_by_its_bytes() {
    let whole = |dtype, bytes: &[u8]| Tensor::new(dtype, &[bytes.len()], bytes).unwrap();
    let words = |at| whole(Dtype::U8, &(0..600_000).map(|i| u8::from(i == at)).collect::<Vec<_>>());
    for (here, there, is_same) in [
        (whole(Dtype::U8, &[1, 2]), whole(Dtype::U8, &[1, 2]), true),
        (whole(Dtype::U8, &[1, 2]), whole(Dtype::U8, &[1, 3]), false),
        (whole(Dtype::U8, &[1, 2]), whole(Dtype::I8, &[1, 2]), false),
        (whole(Dtype::U8, &[1, 2]), whole(Dtype::U8, &[1, 2, 3]), false),
        (words(599_999), words(599_999), true),
        (words(599_999), words(600_000), false),
        (tensor(&[2], |_| 0.0), tensor(&[2, 1], |_| 0.0), false),
        (tensor(&[0], |_| 0.0), tensor(&[0], |_| 0.0), true),
        (tensor(&[1], |_| 0.0), Tensor::new(Dtype::I32, &[1], &[0; 4]).unwrap(), false),
    ] {
        let comparison = compared(here, there);
        assert_eq!(comparison.is_same, is_same, "{comparison:?}");
        assert_eq!(comparison.worst, None);
    }
}

#[test]
fn a_difference_in_a_long_tensor_is_found_where_it_is() {
    let long = |at| tensor(&[300, 401], |index| if index == at { 2.0 } else { 1.0 });
    let comparison = compared(long(usize::MAX), long(299 * 401 + 17));
    let worst = comparison.worst.unwrap();
    assert_eq!((worst.at, worst.difference, worst.bound), (vec![299, 17], 1.0, 0.0));
}

#[test]
fn numbers_that_are_not_finite_are_the_same_in_their_places() {
    let mut trained = Checkpoint::new();
    trained.insert("a.W", tensor(&[2, 2, 1], |at| if at == 1 { f32::NAN } else { f32::INFINITY }));
    for (value, is_same) in [(f16::NAN, true), (f16::INFINITY, false), (f16::ONE, false)] {
        let values = [f16::INFINITY, value, f16::INFINITY, f16::INFINITY];
        let bytes: Vec<u8> = values.into_iter().flat_map(f16::to_le_bytes).collect();
        let mut plain = Checkpoint::new();
        plain.insert("a.weight", Tensor::new(Dtype::F16, &[2, 2, 1, 1], &bytes).unwrap());
        let report = verify(&trained, &plain, &VerifyOptions::default());
        assert_eq!(report.is_same(), is_same, "{report:?}");
        let worst = report.layers[0].kernel.worst.as_ref().unwrap();
        let expected = if is_same { (0.0, [0, 0, 0, 0]) } else { (f64::INFINITY, [0, 1, 0, 0]) };
        assert_eq!((worst.difference, &worst.at[..]), (expected.0, &expected.1[..]));
    }
}
