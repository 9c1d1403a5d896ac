//! Every result is within the bound of rounding errors that `docs/engine.md` derives.

use do_conv::{Conv2d, Conv2dConfig, PaddingMode, Scalar};
use ndarray::{Array, Dimension, IntoDimension};
use proptest::prelude::*;

use crate::WINOGRAD;
use crate::common::Numbers;
use crate::oracle::{Arrays, Case, largest_part};

/// What images and gradients are like.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Normal,
    /// The positive half of normal numbers.
    Relu,
    /// The same number everywhere.
    Constant,
    /// One in fifty is 10⁴ times larger.
    Outliers,
    /// Of very different sizes.
    Scales,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Normal, Self::Relu, Self::Constant, Self::Outliers, Self::Scales];

    fn array<D: Dimension>(
        self,
        shape: impl IntoDimension<Dim = D>,
        numbers: &mut Numbers,
    ) -> Array<f64, D> {
        let constant = numbers.real();
        Array::from_shape_simple_fn(shape.into_dimension(), || {
            let number = normal(numbers);
            match self {
                Self::Normal => number,
                Self::Relu => number.max(0.0),
                Self::Constant => constant,
                Self::Outliers if numbers.next() >> 8 & 63 == 0 => 1e4 * number,
                Self::Outliers => number,
                Self::Scales => number * ((numbers.next() >> 20) as f64 % 31.0 - 15.0).exp2(),
            }
        })
    }
}

/// A normal number (Box and Muller).
pub fn normal(numbers: &mut Numbers) -> f64 {
    let [a, b] = [0, 1].map(|_| (numbers.real() + 1.0) / 2.0);
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

fn modes() -> impl Strategy<Value = PaddingMode> {
    prop_oneof![
        2 => Just(PaddingMode::Zeros),
        1 => Just(PaddingMode::Reflect),
        1 => Just(PaddingMode::Replicate),
        1 => Just(PaddingMode::Circular),
    ]
}

fn cases() -> impl Strategy<Value = Case> {
    let dilation = || prop_oneof![3 => Just(1usize), 1 => 2..=6usize];
    let channels = [16..=40usize, 16..=40usize];
    let padding = [[0..=4usize, 0..=4usize], [0..=4usize, 0..=4usize]];
    let sizes = (1..=2usize, 1..=2usize, channels, [0..=16usize, 0..=16usize]);
    (sizes, [dilation(), dilation()], padding, modes()).prop_map(
        |((batch, groups, channels, mut image), dilation, padding, mode)| {
            // More than one output and input in a phase, and pixels for the padding to continue.
            for axis in 0..2 {
                let [near, far] = padding[axis];
                let outputs = (3 * dilation[axis] + 1).saturating_sub(near + far);
                let smallest = outputs.max(dilation[axis] + 1).max(near.max(far) + 1);
                image[axis] = image[axis].max(smallest);
            }
            Case { batch, groups, channels, image, dilation, padding, mode }
        },
    )
}

fn config(case: &Case) -> Conv2dConfig {
    let [n, r] = case.channels;
    Conv2dConfig::new(case.groups * n, case.groups * r, [3, 3])
        .dilation(case.dilation)
        .padding(case.padding)
        .padding_mode(case.mode)
        .groups(case.groups)
}

fn arrays(case: &Case, of_x: Kind, of_weight: Kind, seed: u64) -> Arrays {
    let numbers = &mut Numbers::new(seed);
    let ([n, r], [height, width]) = (case.channels, case.image);
    let [out_height, out_width] = case.output();
    Arrays {
        x: of_x.array([case.batch, case.groups * n, height, width], numbers),
        weight: of_weight.array([case.groups * r, n, 3, 3], numbers),
        bias: Kind::Normal.array([case.groups * r], numbers),
        dy: of_x.array([case.batch, case.groups * r, out_height, out_width], numbers),
    }
}

fn check<T: Scalar>(case: &Case, arrays: &Arrays) -> Result<(), TestCaseError> {
    // What the layer is given, exactly.
    let arrays = arrays.map(|value| T::round_from(value).widen());
    let expected = case.solve(&arrays);
    let (x, dy) = (arrays.x.mapv(T::round_from), arrays.dy.mapv(T::round_from));
    for algorithm in WINOGRAD {
        let config = config(case).algorithm(algorithm);
        let weight = arrays.weight.mapv(T::round_from);
        let bias = Some(arrays.bias.mapv(T::round_from));
        let layer = Conv2d::from_parameters(config, weight, bias).unwrap();
        prop_assert_eq!(layer.algorithm(x.dim().into()).unwrap(), algorithm);
        let gradients = layer.backward(&x, &dy).unwrap();
        let y = layer.forward(&x).unwrap().mapv(T::widen);
        let dx = gradients.x.unwrap().mapv(T::widen);
        let dw = gradients.weight.mapv(T::widen);
        let bounds = case.bounds(algorithm, &arrays, T::UNIT_ROUNDOFF);
        for (name, got, expected, bounds) in [
            ("y", &y, &expected.y, &bounds.y),
            ("dx", &dx, &expected.dx, &bounds.dx),
            ("dw", &dw, &expected.dw, &bounds.dw),
        ] {
            let part = largest_part(got, expected, bounds);
            prop_assert!(part <= 1.0, "{name} by {algorithm}: {part} of the bound");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() })]

    #[test]
    fn results_are_within_bounds(case in cases(), of_x in 0..5usize, of_weight in 0..5usize, seed: u64) {
        let arrays = arrays(&case, Kind::ALL[of_x], Kind::ALL[of_weight], seed);
        check::<f32>(&case, &arrays)?;
        check::<f64>(&case, &arrays)?;
    }
}

/// Where all pixels are alike, the bound is that of the direct sum `κ·(C + 40) / (9·C)` times.
#[test]
fn bounds_of_alike_pixels_are_parts_of_the_sizes_of_products() {
    let case = Case {
        batch: 1,
        groups: 1,
        channels: [32, 32],
        image: [12, 13],
        dilation: [1, 1],
        padding: [[1, 1], [1, 1]],
        mode: PaddingMode::Zeros,
    };
    let arrays = arrays(&case, Kind::Constant, Kind::Normal, 5);
    let sizes = case.solve(&arrays.map(f64::abs));
    for (algorithm, most) in WINOGRAD.into_iter().zip([16.0, 205.0]) {
        let bounds = case.bounds(algorithm, &arrays, f32::UNIT_ROUNDOFF);
        // Inside of the image, where all pixels are as large as the largest.
        let part = bounds.y[[0, 0, 6, 6]] / sizes.y[[0, 0, 6, 6]] / f64::from(f32::EPSILON) * 2.0;
        assert!(part <= most * 72.1, "{algorithm}: {part}");
    }
}
