//! The floating-point types of kernels: exactly to `f64`, and back with one rounding.

use half::{bf16, f16};
use safetensors::Dtype;

/// An element type that a kernel can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Float {
    F16,
    BF16,
    F32,
    F64,
}

impl Float {
    /// The element type if it is such a one.
    pub fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::BF16),
            Dtype::F32 => Some(Self::F32),
            Dtype::F64 => Some(Self::F64),
            _ => None,
        }
    }

    /// The element type as files name it.
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F16 => Dtype::F16,
            Self::BF16 => Dtype::BF16,
            Self::F32 => Dtype::F32,
            Self::F64 => Dtype::F64,
        }
    }

    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Self::F16 | Self::BF16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// `u`, the largest relative error of a rounding to a normal number.
    pub fn unit_roundoff(self) -> f64 {
        match self {
            Self::F16 => 2f64.powi(-11),
            Self::BF16 => 2f64.powi(-8),
            Self::F32 => 2f64.powi(-24),
            Self::F64 => 2f64.powi(-53),
        }
    }

    /// The largest error of a rounding to a subnormal number: half the distance of two.
    pub fn subnormal_roundoff(self) -> f64 {
        match self {
            Self::F16 => 2f64.powi(-25),
            Self::BF16 => 2f64.powi(-134),
            Self::F32 => 2f64.powi(-150),
            Self::F64 => 0.0, // below the smallest f64
        }
    }

    /// Writes the values of little-endian elements, exactly.
    pub fn widen(self, bytes: &[u8], values: &mut [f64]) {
        match self {
            Self::F16 => each(bytes, values, |half| f16::from_le_bytes(half).to_f64()),
            Self::BF16 => each(bytes, values, |half| bf16::from_le_bytes(half).to_f64()),
            Self::F32 => each(bytes, values, |single| f32::from_le_bytes(single).into()),
            Self::F64 => each(bytes, values, f64::from_le_bytes),
        }
    }

    /// Writes the nearest element to each value, the even one of two, as little-endian bytes, and
    /// replaces the value by that of the element.
    pub fn round(self, values: &mut [f64], bytes: &mut [u8]) {
        match self {
            Self::F16 => each_back(values, bytes, |value| {
                let half = f16::from_f32(round_to_odd(*value));
                *value = half.to_f64();
                half.to_le_bytes()
            }),
            Self::BF16 => each_back(values, bytes, |value| {
                let half = bf16::from_f32(round_to_odd(*value));
                *value = half.to_f64();
                half.to_le_bytes()
            }),
            Self::F32 => each_back(values, bytes, |value| {
                let single = *value as f32;
                *value = single.into();
                single.to_le_bytes()
            }),
            Self::F64 => each_back(values, bytes, |value| value.to_le_bytes()),
        }
    }
}

fn each<const N: usize>(bytes: &[u8], values: &mut [f64], value: impl Fn([u8; N]) -> f64) {
    let elements = bytes.as_chunks().0;
    values.iter_mut().zip(elements).for_each(|(target, element)| *target = value(*element));
}

fn each_back<const N: usize>(
    values: &mut [f64],
    bytes: &mut [u8],
    element: impl Fn(&mut f64) -> [u8; N],
) {
    let targets = bytes.as_chunks_mut().0;
    targets.iter_mut().zip(values).for_each(|(target, value)| *target = element(value));
}

/// The value if it is an `f32`, else the neighbour among the `f32` whose last bit is set. Such a one
/// rounds to the same `f16` or `bf16` as the value itself, which the nearest `f32` may not: it has more
/// than two bits that they haven't, so it isn't half-way between two of them unless the value is
/// (S. Boldo and G. Melquiond, Emulation of FMA and correctly rounded sums, 2008).
fn round_to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    let wide = f64::from(nearest);
    if wide == value || value.is_nan() {
        return nearest;
    }
    let bits = nearest.to_bits();
    let towards_zero = if wide.abs() > value.abs() { bits - 1 } else { bits };
    f32::from_bits(towards_zero | 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HALVES: [Float; 2] = [Float::F16, Float::BF16];

    /// All finite elements of a two-byte type that are not negative, in order.
    fn elements(float: Float) -> Vec<f64> {
        let mut values = vec![0.0; 1 << 15];
        let bytes: Vec<u8> = (0..1u16 << 15).flat_map(u16::to_le_bytes).collect();
        float.widen(&bytes, &mut values);
        values.retain(|value| value.is_finite());
        values
    }

    fn rounded(float: Float, value: f64) -> f64 {
        let mut values = [value];
        float.round(&mut values, &mut [0; 8][..float.size()]);
        values[0]
    }

    #[test]
    fn values_half_way_and_next_to_it_round_to_the_nearest_element() {
        for float in HALVES {
            let elements = elements(float);
            for (index, pair) in elements.windows(2).enumerate() {
                let [low, high] = [pair[0], pair[1]];
                let middle = (low + high) / 2.0;
                let even = if index % 2 == 0 { low } else { high };
                for sign in [1.0, -1.0] {
                    assert_eq!(rounded(float, sign * middle), sign * even, "{float:?} {middle:e}");
                    assert_eq!(rounded(float, sign * middle.next_up()), sign * high);
                    assert_eq!(rounded(float, sign * middle.next_down()), sign * low);
                }
            }
        }
    }

    #[test]
    fn elements_keep_their_bits() {
        for float in HALVES {
            let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
            let mut values = vec![0.0; 1 << 16];
            float.widen(&bytes, &mut values);
            let mut back = vec![0; bytes.len()];
            float.round(&mut values.clone(), &mut back);
            let elements = bytes.as_chunks::<2>().0.iter().zip(back.as_chunks::<2>().0);
            for ((element, back), value) in elements.zip(values) {
                assert!(element == back || value.is_nan(), "{float:?} {value:e}");
            }
        }
    }

    #[test]
    fn too_large_values_become_infinite() {
        assert_eq!(rounded(Float::F16, 65519.99), 65504.0);
        assert_eq!(rounded(Float::F16, 65520.0), f64::INFINITY);
        assert_eq!(rounded(Float::BF16, 3.4e38), f64::INFINITY);
        assert_eq!(rounded(Float::F16, -1e300), f64::NEG_INFINITY);
        assert_eq!(rounded(Float::F32, 3.5e38), f64::INFINITY);
    }

    #[test]
    fn roundoffs_are_half_the_distance_of_neighbours() {
        // Of 1 and the next number, and of 0 and the next.
        for (float, next_to_1, next_to_0) in [
            (Float::F16, f16::EPSILON.to_f64(), f16::from_bits(1).to_f64()),
            (Float::BF16, bf16::EPSILON.to_f64(), bf16::from_bits(1).to_f64()),
            (Float::F32, f32::EPSILON.into(), f32::from_bits(1).into()),
            (Float::F64, f64::EPSILON, 0.0), // half of the smallest is no number
        ] {
            assert_eq!(float.unit_roundoff(), next_to_1 / 2.0, "{float:?}");
            assert_eq!(float.subnormal_roundoff(), next_to_0 / 2.0, "{float:?}");
        }
    }

    proptest! {
        #[test]
        fn roundoffs_bound_the_error(value in any::<f64>()) {
            for float in [Float::F16, Float::BF16, Float::F32, Float::F64] {
                let rounded = rounded(float, value);
                if rounded.is_finite() {
                    let bound = (float.unit_roundoff() * value.abs()).max(float.subnormal_roundoff());
                    prop_assert!((rounded - value).abs() <= bound, "{float:?} {value:e} {rounded:e}");
                }
            }
        }
    }
}
