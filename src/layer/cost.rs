//! What a layer costs in its plain, kernel-composition and feature-composition form.

use super::do_conv2d::DoConv2d;
use crate::config::geometry::Geometry;
use crate::do_conv::counts::{Count, Counts};
use crate::error::{ErrorKind, Operation, Result};
use crate::scalar::Scalar;

/// What one form of a layer costs on one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FormCost {
    /// Trainable parameters, bias included.
    pub parameters: u64,
    /// Multiply-accumulates (MACCs) of a forward pass.
    pub maccs: u64,
    /// Multiply-accumulates of a training step, forward pass and all gradients, by the form's own
    /// definition: three times `maccs`. (This crate differentiates either form by the composed kernel,
    /// which it composes once more for that.)
    pub training_maccs: u64,
    /// Bytes of the arrays that a forward pass reads or writes in memory, each counted once a pass:
    /// input, output, parameters, and the composed kernel, which is written and read. Features exist
    /// a strip at a time and never leave the cache.
    pub bytes: u64,
}

/// What a DO-Conv layer costs on one input, by form.
///
/// `plain` is the folded layer: `O·n·MN·B·OH·OW` MACCs. Kernel composition adds `O·n·MN·S`; feature
/// composition takes `I·S·B·OH·OW·(MN + r)` instead. For a 1×1 kernel all are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Cost {
    /// `[B, I, H, W]`.
    pub input_shape: [usize; 4],
    /// `[B, O, OH, OW]`.
    pub output_shape: [usize; 4],
    /// The folded layer.
    pub plain: FormCost,
    /// Training by kernel composition.
    pub kernel: FormCost,
    /// Training by feature composition; `None` where the pairing has none.
    pub feature: Option<FormCost>,
}

impl<T: Scalar> DoConv2d<T> {
    /// What the layer costs on an input `[B, I, H, W]`, by form.
    ///
    /// # Errors
    /// As [`DoConv2d::forward`], and [`ErrorKind::Overflow`] for a cost that is no 64-bit number.
    pub fn cost(&self, input: [usize; 4]) -> Result<Cost> {
        const OPERATION: Operation = Operation("DoConv2d::cost");
        let geometry = Geometry::new(OPERATION, &self.spec, input)?;
        let counts = Counts::new(&geometry, &self.composer, self.bias.is_some());
        let form = |parameters: Count, maccs: Count, more_elements: Count| {
            let parameters = parameters.plus(counts.bias);
            let elements = counts.images.plus(parameters).plus(more_elements);
            let known = |count: Count| {
                count.0.ok_or_else(|| {
                    let expected = "a cost that is a 64-bit number";
                    let got = format!("{input:?}");
                    OPERATION.error(ErrorKind::Overflow, "input", expected, got)
                })
            };
            Ok(FormCost {
                parameters: known(parameters)?,
                maccs: known(maccs)?,
                training_maccs: known(maccs.times(3))?,
                bytes: known(elements.times(size_of::<T>() as u64))?,
            })
        };
        let none = Count(Some(0));
        let over = counts.w.plus(counts.d_offset);
        let plain = form(counts.weight, counts.plain_maccs, none)?;
        if self.d_offset.is_none() {
            return Ok(Cost {
                input_shape: input,
                output_shape: geometry.output_shape(),
                plain,
                kernel: plain,
                feature: Some(plain),
            });
        }
        let composed = counts.weight.times(2);
        let has_feature = self.config.pairing.is_by_input_channel(&self.spec);
        Ok(Cost {
            input_shape: input,
            output_shape: geometry.output_shape(),
            plain,
            kernel: form(over, counts.plain_maccs.plus(counts.compose_maccs), composed)?,
            feature: has_feature.then(|| form(over, counts.feature_maccs, none)).transpose()?,
        })
    }
}
