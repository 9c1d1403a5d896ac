//! Unfolds plain convolutions: each becomes a DO-Conv layer of the same kernel, to go on training from.

mod choose;
mod layer;
pub mod options;
pub mod report;
mod tensors;

use std::io;

use super::axes::stored_shape;
use super::convolution::{Convolution, Key};
use super::float::Float;
use super::fold::finite::expect_finite;
use super::state::Checkpoint;
use super::tensor::ELEMENTS_AT_A_TIME;
use super::text::shown;
use super::unreadable::unreadable;
use crate::checkpoint::layers::layer_info::ParameterCounts;
use crate::config::DoConv2dConfig;
use crate::error::{ErrorKind, Operation, Result};
use choose::Chosen;
use layer::Sizes;
use options::{UnfoldOptions, UnfoldTarget};
use report::{UnfoldReport, UnfoldedLayer};
use tensors::Maker;

/// The operation that errors of unfolding name.
const UNFOLD: Operation = Operation("Checkpoint::unfold");

impl Checkpoint {
    /// A checkpoint of the same function with DO-Conv layers in place of plain convolutions, to go on
    /// training from: `W` is the kernel and `D` the identity, as zeros of its offset. Where `S` is more
    /// than `M·N`, `W` is filled up, with zeros for further whole copies of the identity and beyond
    /// these with drawn numbers that `D`'s zeros keep out of the kernel. A fold gives the same kernels
    /// again, up to the signs of zeros.
    ///
    /// A convolution is a tensor with floating-point elements and four axes whose key ends in `weight`
    /// (`kernel` for TensorFlow). The kernel of a transposed convolution looks the same, and should be
    /// [skipped](UnfoldOptions::skip). Kernel size and pairing go into the metadata; all other tensors
    /// stay as they are. What is made takes no memory before it is needed.
    ///
    /// ```no_run
    /// use do_conv::checkpoint::{Checkpoint, UnfoldOptions};
    ///
    /// let plain = Checkpoint::open("pretrained.pth")?;
    /// let options = UnfoldOptions::default().skip("head*").depthwise("*.dwconv");
    /// let (unfolded, report) = plain.unfold(&options)?;
    /// for layer in &report.layers {
    ///     println!("{}: {} in {} groups", layer.name, layer.form, layer.groups);
    /// }
    /// # Ok::<(), do_conv::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a pattern that names no layer, or where there is no convolution;
    /// a `d_mul` less than a layer's taps; groups that a kernel can't have; options that the target
    /// hasn't got. [`ErrorKind::Ambiguous`] for a kernel of one input and several outputs whose groups
    /// aren't told. [`ErrorKind::Format`] for a name that is taken, two kernels of one name, or a bias
    /// that isn't one. [`ErrorKind::Value`] for a kernel with numbers that aren't finite, which `D`
    /// would spread. [`ErrorKind::Overflow`] and [`ErrorKind::Memory`] for layers that are too large;
    /// [`ErrorKind::File`] for a kernel that can't be read.
    pub fn unfold(&self, options: &UnfoldOptions) -> Result<(Self, UnfoldReport)> {
        expect_sense(options)?;
        let Chosen { convolutions, left } = Chosen::of(UNFOLD, self, options)?;
        let mut unfolded = self.clone();
        let mut layers = Vec::new();
        for convolution in convolutions.values() {
            let sizes = Sizes::of(UNFOLD, convolution, options)?;
            expect_finite_kernel(convolution)?;
            layers.push(unfolded.unfold_layer(convolution, sizes, options)?);
        }
        Ok((unfolded, UnfoldReport { layers, left }))
    }

    /// Puts an unfolded layer in the place of the plain one.
    fn unfold_layer(
        &mut self,
        convolution: &Convolution,
        sizes: Sizes,
        options: &UnfoldOptions,
    ) -> Result<UnfoldedLayer> {
        let Convolution { key, tensor, shape, .. } = *convolution;
        let Sizes { groups, groups_source, w_shape, d_shape } = sizes;
        let target = options.target;
        let framework = target.framework();
        let maker = Maker { operation: UNFOLD, convolution, sizes, framework };
        let w_key = match target.keeps_key() {
            true => key.whole.to_owned(),
            false => key.beside(framework.w_key()),
        };
        let d_key = d_shape.map(|_| match target {
            UnfoldTarget::OverParameterize => format!("{}.do_conv.D", key.whole),
            _ => key.beside("D"),
        });
        let bias = self.bias_len(convolution)?;
        self.expect_free(convolution, target)?;
        let w = maker.w(&stored_w_shape(convolution, sizes, target), options.seed)?;
        self.remove(key.whole);
        self.insert(w_key.clone(), w);
        if let (Some(d_key), Some(d_shape)) = (&d_key, d_shape) {
            self.insert(d_key.clone(), maker.d(d_shape)?);
            if options.identity {
                self.insert(key.beside("d_diag"), maker.identity(d_shape)?);
            }
        }
        if target != UnfoldTarget::OverParameterize {
            let [outputs, n, rows, columns] = shape;
            let config = DoConv2dConfig::new(n * groups, outputs, [rows, columns])
                .groups(groups)
                .pairing(target.pairing());
            self.metadata.extend(config.metadata(key.name));
        }
        // The tensors' sizes are checked by now.
        let count = |shape: &[usize]| shape.iter().product::<usize>();
        Ok(UnfoldedLayer {
            name: key.name.to_owned(),
            form: sizes.form(),
            key: key.whole.to_owned(),
            w_key,
            d_key,
            weight_shape: shape,
            w_shape,
            d_shape,
            groups,
            groups_source,
            pairing: target.pairing(),
            dtype: tensor.dtype(),
            parameters: ParameterCounts {
                trained: count(&w_shape) + d_shape.map_or(0, |shape| count(&shape)) + bias,
                folded: count(&shape) + bias,
            },
        })
    }

    /// The number of elements of a layer's bias; refuses one of another shape than a layer has.
    fn bias_len(&self, convolution: &Convolution) -> Result<usize> {
        let key = convolution.key.beside("bias");
        let Some(bias) = self.tensors.get(&key) else { return Ok(0) };
        let outputs = convolution.shape[0];
        if bias.shape() != [outputs] || Float::of(bias.dtype()).is_none() {
            let expected = format!("[{outputs}] of F16, BF16, F32 or F64 elements");
            let got = format!("{:?} of {}", bias.shape(), bias.dtype());
            return Err(UNFOLD.error(ErrorKind::Format, shown(&key), expected, got));
        }
        Ok(outputs)
    }

    /// Refuses tensors that would be taken for the unfolded layer's.
    fn expect_free(&self, convolution: &Convolution, target: UnfoldTarget) -> Result<()> {
        let Key { whole, prefix, .. } = convolution.key;
        let parts: &[&str] = match target {
            UnfoldTarget::OverParameterize => &["weight.do_conv.D"],
            UnfoldTarget::TensorFlow | UnfoldTarget::Gluon => &["D"],
            UnfoldTarget::PyTorch | UnfoldTarget::DoConv2d => &["W", "D", "d_diag", "D_diag"],
        };
        let keys =
            parts.iter().flat_map(|part| ["", ":0"].map(|end| format!("{prefix}{part}{end}")));
        match keys.into_iter().find(|key| self.tensors.contains_key(key)) {
            None => Ok(()),
            Some(key) => {
                let expected = format!("none beside {}, which is to be unfolded", shown(whole));
                Err(UNFOLD.error(ErrorKind::Format, shown(&key), expected, "a tensor"))
            }
        }
    }
}

/// The shape of `W` in the file.
fn stored_w_shape(convolution: &Convolution, sizes: Sizes, target: UnfoldTarget) -> Vec<usize> {
    let [outputs, n, d_mul] = sizes.w_shape;
    match target {
        UnfoldTarget::OverParameterize | UnfoldTarget::Gluon if d_mul == convolution.taps() => {
            convolution.shape.to_vec()
        }
        // As the adapter has it, whose kernels keep their rank.
        UnfoldTarget::OverParameterize => vec![outputs, n, d_mul, 1],
        _ => stored_shape(sizes.w_shape, target.framework().w_axes()).to_vec(),
    }
}

/// Refuses options that the target hasn't got.
fn expect_sense(options: &UnfoldOptions) -> Result<()> {
    let UnfoldOptions { target, .. } = options;
    let refused = |field, expected: &str| {
        Err(UNFOLD.error(ErrorKind::Config, field, expected, format!("{target:?}")))
    };
    if options.identity && *target != UnfoldTarget::PyTorch {
        return refused("identity", "PyTorch as the target: no other code stores it");
    }
    if options.pointwise && !target.has_pointwise() {
        return refused("pointwise", "a target whose 1x1 layers differ from plain ones");
    }
    if !options.d_mul.is_empty() && *target == UnfoldTarget::Gluon {
        return refused("d_mul", "a target with another S than M·N");
    }
    Ok(())
}

/// Refuses a kernel with numbers that aren't finite: times the zeros of `D` they give not-a-numbers.
fn expect_finite_kernel(convolution: &Convolution) -> Result<()> {
    let Convolution { key, tensor, float, .. } = *convolution;
    let failed = |error: io::Error| unreadable(UNFOLD, key.whole, &error);
    let contents = tensor.contents().map_err(failed)?;
    let elements = contents.len() / float.size();
    let mut values = Vec::new();
    for start in (0..elements).step_by(ELEMENTS_AT_A_TIME) {
        values.resize(ELEMENTS_AT_A_TIME.min(elements - start), 0.0);
        contents.widen(float, start, &mut values).map_err(failed)?;
        expect_finite(UNFOLD, key.whole, &values, start)?;
    }
    Ok(())
}
