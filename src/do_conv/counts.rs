//! What the forms of a layer take, in elements and multiply-accumulates.

use crate::compose::Composer;
use crate::config::geometry::Geometry;

/// Products and sums that remember an overflow.
#[derive(Clone, Copy)]
pub struct Count(pub Option<u64>);

impl Count {
    pub fn product<const N: usize>(factors: [usize; N]) -> Self {
        let multiply = |product: u64, factor: usize| product.checked_mul(factor as u64);
        Self(factors.into_iter().try_fold(1, multiply))
    }

    pub fn plus(self, other: Self) -> Self {
        Self(self.0.zip(other.0).and_then(|(a, b)| a.checked_add(b)))
    }

    pub fn times(self, factor: u64) -> Self {
        Self(self.0.and_then(|count| count.checked_mul(factor)))
    }
}

/// The counts that every cost is made of.
pub struct Counts {
    pub weight: Count,
    pub w: Count,
    pub d_offset: Count,
    pub bias: Count,
    /// Elements of the input and of the output.
    pub images: Count,
    pub plain_maccs: Count,
    pub compose_maccs: Count,
    pub feature_maccs: Count,
}

impl Counts {
    pub fn new(geometry: &Geometry, composer: &Composer, bias: bool) -> Self {
        let spec = &geometry.spec;
        let (inputs, outputs) = (spec.in_channels, spec.out_channels);
        let (n, taps, d_mul) = (spec.group_inputs(), composer.taps, composer.d_mul);
        let [batch, _, output_rows, output_cols] = geometry.output_shape();
        let features = Count::product([inputs, d_mul, batch, output_rows, output_cols]);
        let has_d = usize::from(taps > 1);
        Self {
            weight: Count::product([outputs, n, taps]),
            w: Count::product([outputs, n, d_mul]),
            d_offset: Count::product([inputs, taps, d_mul, has_d]),
            bias: Count::product([outputs, usize::from(bias)]),
            images: Count::product(geometry.input_shape())
                .plus(Count::product(geometry.output_shape())),
            plain_maccs: Count::product([outputs, n, taps, batch, output_rows, output_cols]),
            compose_maccs: Count::product([outputs, n, taps, d_mul, has_d]),
            feature_maccs: features.times((taps + spec.group_outputs()) as u64),
        }
    }
}

/// Whether feature composition takes fewer multiply-accumulates than kernel composition.
pub fn feature_is_cheaper(geometry: &Geometry, composer: &Composer) -> bool {
    let counts = Counts::new(geometry, composer, false);
    let kernel = counts.plain_maccs.plus(counts.compose_maccs);
    let countable = |count: Count| count.0.unwrap_or(u64::MAX);
    countable(counts.feature_maccs) < countable(kernel)
}
