//! The check of a folded kernel: on random input it must give what `D` and `W` give.
//!
//! The input is one image of the kernel's own size, so there is one output pixel a channel,
//! `y[o] = Σ_i Σ_s W[o, i, s] · (D∘x)[c, s]` by features, and for the folded kernel, after its rounding,
//! `Σ_i Σ_m W'[o, i, m] · x[i, m]`. Nothing is shared with the composition. A wrong kernel gives the
//! right number by chance only, with probability zero for an input of random reals.

use std::io;

use super::dot::dot;
use super::unfused::{Output, Unfused};
use super::worst::Worst;
use crate::checkpoint::float::Float;
use crate::checkpoint::room::{room, zeros};
use crate::compose::Composer;
use crate::layer::sampler::Sampler;

/// A random input, and its features.
pub struct Probe {
    composer: Composer,
    /// `[I, MN]`.
    x: Vec<f64>,
    /// `Σ |x|` of each group.
    sizes: Vec<f64>,
    features: Features,
}

enum Features {
    /// There is no `D`.
    Input,
    /// `(D∘x)[c, s]`, and the same of absolute values, `[I, S]`, where `D` is paired by input channel.
    Channels([Vec<f64>; 2]),
    /// Of the offset of `D`, `[I, MN, S]`, with whatever `W` it is paired with.
    Offset(Vec<f64>),
}

impl Probe {
    /// For a layer with that offset of `D`, `[I, MN, S]`.
    pub fn new(
        composer: Composer,
        by_input_channel: bool,
        d_offset: Option<&[f64]>,
    ) -> io::Result<Self> {
        let Composer { groups, group_inputs, taps, d_mul, .. } = composer;
        let mut x = zeros(groups * group_inputs * taps)?;
        Sampler::new(0).uniform(1.0, &mut x);
        let size = |x: &[f64]| x.iter().map(|x| x.abs()).sum();
        let sizes = x.chunks_exact(group_inputs * taps).map(size).collect();
        let features = match d_offset {
            None => Features::Input,
            Some(d_offset) if !by_input_channel => {
                let mut copy = room(d_offset.len())?;
                copy.extend_from_slice(d_offset);
                Features::Offset(copy)
            }
            Some(d_offset) => {
                let len = x.len() / taps * d_mul;
                let mut features = [zeros(len)?, zeros(len)?];
                let [sums, absolutes] = &mut features;
                let channels = x.chunks_exact(taps).zip(d_offset.chunks_exact(taps * d_mul));
                let targets = sums.chunks_exact_mut(d_mul).zip(absolutes.chunks_exact_mut(d_mul));
                for ((x, d_offset), (sums, absolutes)) in channels.zip(targets) {
                    features_of(x, d_offset, sums, absolutes);
                }
                Features::Channels(features)
            }
        };
        Ok(Self { composer, x, sizes, features })
    }

    /// Compares some output channels from `first` on: `w`, `[outputs, n, S]`, and what comes after each
    /// channel, if anything, with the folded kernel `weight`, `[outputs, n, MN]`, rounded to `float`.
    pub fn compare(
        &self,
        float: Float,
        first: usize,
        w: &[f64],
        after: Option<&[Unfused]>,
        weight: &[f64],
    ) -> Worst {
        let Composer { group_inputs: n, group_outputs, taps, d_mul, .. } = self.composer;
        let terms = n * d_mul + n * taps + d_mul + taps + 8;
        let rows = w.chunks_exact(n * d_mul).zip(weight.chunks_exact(n * taps));
        let mut worst = Worst::NONE;
        for (index, (w, weight)) in rows.enumerate() {
            let output = first + index;
            let group = output / group_outputs;
            let x = &self.x[group * n * taps..][..n * taps];
            let [exact, absolute] = match &self.features {
                Features::Input => dot(w, x, x),
                Features::Channels([sums, absolutes]) => {
                    let range = group * n * d_mul..(group + 1) * n * d_mul;
                    dot(w, &sums[range.clone()], &absolutes[range])
                }
                Features::Offset(d_offset) => self.paired(d_offset, output, w, x),
            };
            let [folded, size] = dot(weight, x, x);
            let after = after.map_or(&Unfused::NONE, |after| &after[output]);
            let sums = Output { exact, absolute, folded, size };
            worst = worst.max(after.compare(float, sums, terms, self.sizes[group]));
        }
        worst
    }

    /// `Σ_i Σ_s W[o, i, s] · (D[c(o, i)]∘x[i])[s]`, and the same of absolute values.
    fn paired(&self, d_offset: &[f64], output: usize, w: &[f64], x: &[f64]) -> [f64; 2] {
        let Composer { taps, d_mul, .. } = self.composer;
        let (mut sums, mut absolutes) = (vec![0.0; d_mul], vec![0.0; d_mul]);
        let inputs = w.chunks_exact(d_mul).zip(x.chunks_exact(taps));
        let mut total = [0.0; 2];
        for ((w, x), channel) in inputs.zip(self.composer.channels(output)) {
            sums.fill(0.0);
            absolutes.fill(0.0);
            let d_offset = &d_offset[channel * taps * d_mul..][..taps * d_mul];
            features_of(x, d_offset, &mut sums, &mut absolutes);
            let part = dot(w, &sums, &absolutes);
            total = [total[0] + part[0], total[1] + part[1]];
        }
        total
    }
}

/// Adds `Σ_m D[m, s] · x[m]` of a channel, and a bound of the same of absolute values, with
/// `D[m, s] = d_offset[m, s] + 1` where `s mod MN = m` and `s < MN·⌊S/MN⌋`.
fn features_of(x: &[f64], d_offset: &[f64], sums: &mut [f64], absolutes: &mut [f64]) {
    let d_mul = sums.len();
    for (&x, row) in x.iter().zip(d_offset.chunks_exact(d_mul)) {
        for ((sum, absolute), offset) in sums.iter_mut().zip(&mut *absolutes).zip(row) {
            *sum += offset * x;
            *absolute += (offset * x).abs();
        }
    }
    let times = sums.chunks_exact_mut(x.len()).zip(absolutes.chunks_exact_mut(x.len()));
    for (sums, absolutes) in times {
        for ((sum, absolute), &x) in sums.iter_mut().zip(absolutes).zip(x) {
            *sum += x;
            *absolute += x.abs();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Pairing;

    /// Three groups of two to four channels by 2×2 taps, `S` five; `D`, `W` and the kernel by the
    /// definition.
    fn layer(pairing: Pairing) -> (Composer, [Vec<f64>; 3]) {
        let composer =
            Composer { pairing, groups: 3, group_inputs: 2, group_outputs: 4, taps: 4, d_mul: 5 };
        let mut numbers = vec![0.0; 6 * 20 + 12 * 10];
        Sampler::new(7).uniform(1.0, &mut numbers);
        let (d_offset, w) = numbers.split_at(6 * 20);
        let mut weight = Vec::new();
        for o in 0..12 {
            for i in 0..2 {
                let c = match pairing {
                    Pairing::InputChannel => o / 4 * 2 + i,
                    Pairing::PyTorch => o % 3 * 2 + i,
                    Pairing::TensorFlow => i * 3 + o / 4,
                };
                for m in 0..4 {
                    let d = |s| d_offset[(c * 4 + m) * 5 + s] + f64::from(u8::from(s == m));
                    weight.push((0..5).map(|s| d(s) * w[(o * 2 + i) * 5 + s]).sum());
                }
            }
        }
        (composer, [d_offset.to_vec(), w.to_vec(), weight])
    }

    #[test]
    fn a_right_kernel_passes_and_a_wrong_one_does_not() {
        for pairing in Pairing::ALL {
            let (composer, [d_offset, w, mut weight]) = layer(pairing);
            let probe =
                Probe::new(composer, pairing == Pairing::InputChannel, Some(&d_offset)).unwrap();
            for float in [Float::F16, Float::F32, Float::F64] {
                let mut rounded = weight.clone();
                float.round(&mut rounded, &mut vec![0; 96 * float.size()]);
                let worst = probe.compare(float, 0, &w, None, &rounded);
                assert!(worst.is_within_bound() && worst.bound > 0.0, "{pairing:?} {worst:?}");
                assert!(worst.bound < 0.01, "a bound that says something: {}", worst.bound);
            }
            for other in Pairing::ALL {
                let composer = Composer { pairing: other, ..composer };
                let probe =
                    Probe::new(composer, other == Pairing::InputChannel, Some(&d_offset)).unwrap();
                let worst = probe.compare(Float::F32, 0, &w, None, &weight);
                assert_eq!(worst.is_within_bound(), other == pairing, "{other:?} {worst:?}");
            }
            weight[17] += 1e-5;
            assert!(!probe.compare(Float::F32, 0, &w, None, &weight).is_within_bound());
            weight[17] = f64::NAN;
            assert!(!probe.compare(Float::F32, 0, &w, None, &weight).is_within_bound());
        }
    }

    /// Batch normalisations that only multiply.
    fn scaled(scale: &[f64]) -> Vec<Unfused> {
        scale.iter().map(|&weight| Unfused { weight, ..Unfused::NONE }).collect()
    }

    /// The bound of one output by its definition, for a kernel of these weights: `u·Σ|W'||x|` for the one
    /// rounding, half a smallest number times `Σ|x|`, and for the sums `γ = k·ε` of what they add up.
    fn bound(
        probe: &Probe,
        float: Float,
        output: usize,
        w: &[f64],
        d_offset: &[f64],
        weight: &[f64],
        scale: f64,
    ) -> f64 {
        let [u, smallest] = match float {
            Float::F16 => [-11, -25],
            Float::BF16 => [-8, -134],
            Float::F32 => [-24, -150],
            Float::F64 => [-53, -1080],
        }
        .map(|exponent| 2f64.powi(exponent));
        let group = output / 4;
        let (mut size, mut pixels, mut sums) = (0.0, 0.0, 0.0);
        for i in 0..2 {
            let x: Vec<f64> = (0..4).map(|m| probe.x[(group * 2 + i) * 4 + m].abs()).collect();
            let c = match probe.composer.pairing {
                Pairing::InputChannel => group * 2 + i,
                Pairing::PyTorch => output % 3 * 2 + i,
                Pairing::TensorFlow => i * 3 + group,
            };
            for m in 0..4 {
                size += weight[(output * 2 + i) * 4 + m].abs() * x[m];
                pixels += x[m];
                for s in 0..5 {
                    let d = d_offset[(c * 4 + m) * 5 + s].abs() + f64::from(u8::from(s == m));
                    sums += w[(output * 2 + i) * 5 + s].abs() * d * x[m];
                }
            }
        }
        let k = f64::from(2 * 5 + 2 * 4 + 5 + 4 + 8);
        let rounding = u * size + smallest * pixels;
        let lost = k * f64::EPSILON * (sums * scale.abs() + size)
            + k * f64::from_bits(1) * (2.0 + 2.0 * scale.abs() + sums);
        (rounding + lost) * (1.0 + k * f64::EPSILON)
    }

    #[test]
    fn the_bound_is_that_of_its_definition_and_holds_from_both_sides() {
        for pairing in Pairing::ALL {
            let (composer, [d_offset, w, weight]) = layer(pairing);
            let probe =
                Probe::new(composer, pairing == Pairing::InputChannel, Some(&d_offset)).unwrap();
            for (float, size, margin) in [
                (Float::F16, 1.0, 0.02),
                (Float::BF16, 1.0, 0.02),
                (Float::F32, 1.0, 0.02),
                (Float::F64, 1.0, 0.04),
                (Float::F16, 1e-6, 0.02),
                (Float::F32, 1e-42, 0.02),
                (Float::F64, 1e-318, 0.2), // of some hundred smallest numbers
            ] {
                let w: Vec<f64> = w.iter().map(|w| w * size).collect();
                let scale: Vec<f64> = (0..12).map(|o| f64::from(o) - 5.5).collect();
                for output in 0..12 {
                    let own = scale[output];
                    let mut weight: Vec<f64> =
                        weight.iter().map(|weight| weight * size * own).collect();
                    let expected = bound(&probe, float, output, &w, &d_offset, &weight, own);
                    let compare = |weight: &[f64]| {
                        let (w, weight) = (&w[output * 10..][..10], &weight[output * 8..][..8]);
                        probe.compare(float, output, w, Some(&scaled(&scale)), weight)
                    };
                    let worst = compare(&weight);
                    let tolerance = 1e-12 * expected + 32.0 * f64::from_bits(1);
                    assert!((worst.bound - expected).abs() <= tolerance, "{worst:?} {expected:e}");
                    assert!(worst.difference <= 0.7 * margin * worst.bound, "{float:?} {worst:?}");
                    // Wrong by a little less than the bound, and by a little more.
                    let right = weight[output * 8 + 3];
                    let x = probe.x[output / 4 * 8 + 3];
                    let (less, more) = (1.0 - margin, 1.0 + margin);
                    for (part, is_within) in
                        [(less, true), (-less, true), (more, false), (-more, false)]
                    {
                        weight[output * 8 + 3] = right + part * expected / x;
                        let worst = compare(&weight);
                        assert_eq!(
                            worst.is_within_bound(),
                            is_within,
                            "{float:?} {part} {worst:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_scale_is_part_of_the_kernel() {
        let (composer, [d_offset, w, mut weight]) = layer(Pairing::InputChannel);
        let probe = Probe::new(composer, true, Some(&d_offset)).unwrap();
        let scales: Vec<f64> = (0..12).map(|o| f64::from(o) - 5.5).collect();
        let scale = scaled(&scales);
        assert!(!probe.compare(Float::F32, 0, &w, Some(&scale), &weight).is_within_bound());
        let rows = weight.chunks_exact_mut(8).zip(&scales);
        rows.for_each(|(row, scale)| row.iter_mut().for_each(|value| *value *= scale));
        assert!(probe.compare(Float::F32, 0, &w, Some(&scale), &weight).is_within_bound());
        // A part of the channels alone.
        let worst = probe.compare(Float::F32, 5, &w[50..], Some(&scale), &weight[40..]);
        assert!(worst.is_within_bound());
    }
}
