//! The composition of a kernel.

use ndarray::{ArrayView3, ArrayView4, ArrayViewMut3, ArrayViewMut4};

use crate::compose::{Composer, Factors};
use crate::config::init::DInit;
use crate::config::{Composition, DoConv2dConfig};
use crate::error::{ErrorKind, Operation, Result};
use crate::machine::memory::Memory;
use crate::scalar::Scalar;

/// The composition of a [`DoConv2d`](crate::DoConv2d), `W' = Dᵀ∘W` with `D = d_offset + E`, of factors
/// that are lent for each call. Keeps buffers from call to call; a clone starts without.
#[derive(Debug, Clone)]
pub struct Compose<T> {
    composer: Composer,
    weight_shape: [usize; 4],
    memory: Memory<T>,
}

impl<T: Scalar> Compose<T> {
    /// The composition of that geometry and pairing. Initialisers and the order of composition don't
    /// matter.
    ///
    /// # Errors
    /// As [`DoConv2dConfig::init`], [`ErrorKind::Memory`] aside, and [`ErrorKind::Config`] for a 1×1
    /// kernel, which has no `D`.
    pub fn new(config: &DoConv2dConfig) -> Result<Self> {
        const OPERATION: Operation = Operation("Compose::new");
        let (composition, d_init) = (Composition::Kernel, DInit::Identity);
        let config = DoConv2dConfig { composition, d_init, ..config.clone() };
        let (spec, d_mul) = config.spec(OPERATION)?;
        if spec.taps() == 1 {
            let expected = "more than one tap: a 1×1 kernel has no D";
            return Err(OPERATION.error(
                ErrorKind::Config,
                "kernel_size",
                expected,
                format!("{:?}", spec.kernel_size),
            ));
        }
        Ok(Self {
            composer: Composer::new(&spec, d_mul, config.pairing),
            weight_shape: spec.weight_shape(),
            memory: Memory::default(),
        })
    }

    /// `[O, I/g, M, N]`, the shape of the kernel.
    pub fn weight_shape(&self) -> [usize; 4] {
        self.weight_shape
    }

    /// Writes the kernel `weight`, `[O, I/g, M, N]`, for `d_offset`, `[I, M·N, S]`, and `w`,
    /// `[O, I/g, S]`, all of any strides.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] for an array of another shape; [`ErrorKind::Memory`] where there is no room
    /// to put one in order or for buffers to work in. `weight` is not written then.
    pub fn forward_into(
        &self,
        d_offset: ArrayView3<'_, T>,
        w: ArrayView3<'_, T>,
        weight: ArrayViewMut4<'_, T>,
    ) -> Result<()> {
        const OPERATION: Operation = Operation("Compose::forward_into");
        self.expect_factors(OPERATION, &d_offset, &w)?;
        OPERATION.expect_shape("weight", &self.weight_shape, weight.shape())?;
        let d_offset = &OPERATION.ordered("d_offset", d_offset)?;
        let w = &OPERATION.ordered("w", w)?;
        let factors = Factors { composer: &self.composer, d_offset, w };
        OPERATION.fill("weight", weight, |weight| T::compose(&self.memory, factors, weight))
    }

    /// Writes the gradients of `Σ dweight·weight` over what `dd_offset` and `dw` held before.
    ///
    /// # Errors
    /// As [`Compose::forward_into`]; nothing is written then.
    pub fn backward_into(
        &self,
        d_offset: ArrayView3<'_, T>,
        w: ArrayView3<'_, T>,
        dweight: ArrayView4<'_, T>,
        dd_offset: ArrayViewMut3<'_, T>,
        dw: ArrayViewMut3<'_, T>,
    ) -> Result<()> {
        const OPERATION: Operation = Operation("Compose::backward_into");
        self.expect_factors(OPERATION, &d_offset, &w)?;
        OPERATION.expect_shape("dweight", &self.weight_shape, dweight.shape())?;
        self.expect_d(OPERATION, "dd_offset", dd_offset.shape())?;
        OPERATION.expect_shape("dw", &self.composer.w_shape(), dw.shape())?;
        let d_offset = &OPERATION.ordered("d_offset", d_offset)?;
        let w = &OPERATION.ordered("w", w)?;
        let dweight = &OPERATION.ordered("dweight", dweight)?;
        let factors = Factors { composer: &self.composer, d_offset, w };
        let mut dd_offset = OPERATION.target("dd_offset", dd_offset)?;
        OPERATION.fill("dw", dw, |dw| {
            T::compose_gradients(&self.memory, factors, dweight, dw, dd_offset.elements())
        })?;
        dd_offset.store();
        Ok(())
    }

    fn expect_factors(
        &self,
        operation: Operation,
        d_offset: &ArrayView3<'_, T>,
        w: &ArrayView3<'_, T>,
    ) -> Result<()> {
        self.expect_d(operation, "d_offset", d_offset.shape())?;
        operation.expect_shape("w", &self.composer.w_shape(), w.shape())
    }

    fn expect_d(&self, operation: Operation, field: &'static str, got: &[usize]) -> Result<()> {
        let shape = self.composer.d_shape();
        operation.expect_optional_shape(field, shape.as_ref().map(|shape| &shape[..]), Some(got))
    }
}
