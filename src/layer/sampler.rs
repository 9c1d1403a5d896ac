//! Parameters drawn from a seed: as `f64`, rounded once, so `f32` and `f64` layers of one seed start at
//! the same numbers.

use rand_distr::{Distribution, StandardNormal, StandardUniform};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

use crate::config::init::Init;
use crate::error::{ErrorKind, Operation, Result};
use crate::scalar::Scalar;

/// Terms that are summed into one output of a kernel, and outputs that one input goes to.
#[derive(Debug, Clone, Copy)]
pub struct Fans {
    pub inputs: usize,
    pub outputs: usize,
}

/// A stream of parameters from a seed.
pub struct Sampler(Xoshiro256PlusPlus);

impl Sampler {
    pub fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// Draws values into `target`, or refuses an initialiser that has values beyond `T`.
    pub fn draw<T: Scalar>(
        &mut self,
        operation: Operation,
        field: &'static str,
        init: Init,
        fans: Fans,
        target: &mut [T],
    ) -> Result<()> {
        let (fan_in, fan_out) = (fans.inputs as f64, fans.outputs as f64);
        match init {
            Init::KaimingUniform { a } => {
                self.uniform((6.0 / ((1.0 + a * a) * fan_in)).sqrt(), target)
            }
            Init::KaimingNormal { a } => {
                self.normal((2.0 / ((1.0 + a * a) * fan_in)).sqrt(), target)
            }
            Init::XavierUniform => self.uniform((6.0 / (fan_in + fan_out)).sqrt(), target),
            Init::XavierNormal => self.normal((2.0 / (fan_in + fan_out)).sqrt(), target),
            Init::Uniform { bound } => self.uniform(bound, target),
            Init::Normal { std } => self.normal(std, target),
            Init::Constant { value } => target.fill(T::round_from(value)),
        }
        match target.iter().find(|value| !value.is_finite()) {
            None => Ok(()),
            Some(value) => {
                let expected = "an initialiser whose values the element type can hold";
                Err(operation.error(ErrorKind::Value, field, expected, value))
            }
        }
    }

    /// Draws values of `U(−bound, bound)`.
    pub fn uniform<T: Scalar>(&mut self, bound: f64, target: &mut [T]) {
        let units = StandardUniform.sample_iter(&mut self.0);
        let drawn = units.map(|unit: f64| T::round_from(bound * (2.0 * unit - 1.0)));
        target.iter_mut().zip(drawn).for_each(|(target, value)| *target = value);
    }

    /// Draws values of `N(0, std²)`.
    fn normal<T: Scalar>(&mut self, std: f64, target: &mut [T]) {
        let normals = StandardNormal.sample_iter(&mut self.0);
        let drawn = normals.map(|normal: f64| T::round_from(std * normal));
        target.iter_mut().zip(drawn).for_each(|(target, value)| *target = value);
    }
}
