//! What a layer costs in its plain, kernel-composition and feature-composition form, and how layers
//! and costs are printed.

use std::fmt;

use crate::compose::Composer;
use crate::config::Conv2dConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::{Geometry, Spec};
use crate::{Conv2d, DoConv2d, PaddingMode, Scalar};

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

/// Products and sums that remember an overflow.
#[derive(Clone, Copy)]
struct Count(Option<u64>);

impl Count {
    fn product<const N: usize>(factors: [usize; N]) -> Self {
        let multiply = |product: u64, factor: usize| product.checked_mul(factor as u64);
        Self(factors.into_iter().try_fold(1, multiply))
    }

    fn plus(self, other: Self) -> Self {
        Self(self.0.zip(other.0).and_then(|(a, b)| a.checked_add(b)))
    }

    fn times(self, factor: u64) -> Self {
        Self(self.0.and_then(|count| count.checked_mul(factor)))
    }
}

/// The counts that every cost is made of.
struct Counts {
    weight: Count,
    w: Count,
    d_offset: Count,
    bias: Count,
    /// Elements of the input and of the output.
    images: Count,
    plain_maccs: Count,
    compose_maccs: Count,
    feature_maccs: Count,
}

impl Counts {
    fn new(geometry: &Geometry, composer: &Composer, bias: bool) -> Self {
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
pub(crate) fn feature_is_cheaper(geometry: &Geometry, composer: &Composer) -> bool {
    let counts = Counts::new(geometry, composer, false);
    let kernel = counts.plain_maccs.plus(counts.compose_maccs);
    let countable = |count: Count| count.0.unwrap_or(u64::MAX);
    countable(counts.feature_maccs) < countable(kernel)
}

impl<T: Scalar> DoConv2d<T> {
    /// What the layer costs on an input `[B, I, H, W]`, by form.
    ///
    /// # Errors
    /// As [`DoConv2d::forward`], and [`ErrorKind::Overflow`] for a cost that is no 64-bit number.
    pub fn cost(&self, input: [usize; 4]) -> Result<Cost> {
        const OPERATION: &str = "DoConv2d::cost";
        let geometry = Geometry::new(OPERATION, &self.spec, input)?;
        let counts = Counts::new(&geometry, &self.composer, self.bias.is_some());
        let form = |parameters: Count, maccs: Count, more_elements: Count| {
            let parameters = parameters.plus(counts.bias);
            let elements = counts.images.plus(parameters).plus(more_elements);
            let known = |count: Count| {
                count.0.ok_or_else(|| {
                    let expected = "a cost that is a 64-bit number";
                    let got = format!("{input:?}");
                    Error::new(ErrorKind::Overflow, OPERATION, "input", expected, got)
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

/// A number with its thousands set apart.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad_integral(true, "", &text)
    }
}

impl fmt::Display for Cost {
    /// A table, a line for each form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?} → {:?}", self.input_shape, self.output_shape)?;
        write!(
            f,
            "{:<20} {:>14} {:>18} {:>18} {:>16}",
            "form", "parameters", "MACCs forward", "MACCs step", "bytes forward"
        )?;
        let forms = [
            ("plain, folded", Some(&self.plain)),
            ("kernel composition", Some(&self.kernel)),
            ("feature composition", self.feature.as_ref()),
        ];
        for (name, form) in forms {
            let Some(form) = form else { continue };
            write!(
                f,
                "\n{name:<20} {:>14} {:>18} {:>18} {:>16}",
                Grouped(form.parameters),
                Grouped(form.maccs),
                Grouped(form.training_maccs),
                Grouped(form.bytes)
            )?;
        }
        Ok(())
    }
}

/// `I → O, M×N` and every setting that isn't its default.
fn write_settings(f: &mut fmt::Formatter<'_>, spec: &Spec, config: &Conv2dConfig) -> fmt::Result {
    let [m, n] = spec.kernel_size;
    write!(f, "{} → {}, {m}×{n}", spec.in_channels, spec.out_channels)?;
    for (name, value) in [("stride", spec.stride), ("dilation", spec.dilation)] {
        match value {
            [1, 1] => {}
            [rows, cols] if rows == cols => write!(f, ", {name} {rows}")?,
            [rows, cols] => write!(f, ", {name} {rows}×{cols}")?,
        }
    }
    match spec.padding {
        [[0, 0], [0, 0]] => {}
        [[top, bottom], [left, right]] if top == bottom && left == right && top == left => {
            write!(f, ", padding {top}")?;
        }
        [[top, bottom], [left, right]] if top == bottom && left == right => {
            write!(f, ", padding {top}×{left}")?;
        }
        sides => write!(f, ", padding {sides:?}")?,
    }
    if spec.mode != PaddingMode::Zeros {
        write!(f, " {}", format!("{:?}", spec.mode).to_lowercase())?;
    }
    if spec.groups > 1 {
        write!(f, ", groups {}", spec.groups)?;
    }
    if !config.bias {
        write!(f, ", no bias")?;
    }
    Ok(())
}

fn parameter_count<'a, T: 'a>(parameters: impl Iterator<Item = (&'static str, &'a [T])>) -> u64 {
    parameters.map(|(_, values)| values.len() as u64).sum()
}

impl<T: Scalar> fmt::Display for Conv2d<T> {
    /// Shape, settings that aren't the default, parameters and MACCs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conv2d(")?;
        write_settings(f, &self.spec, &self.config)?;
        write!(
            f,
            "; {} parameters; {} MACCs per output pixel)",
            Grouped(parameter_count(self.parameters())),
            Grouped(self.weight.len() as u64)
        )
    }
}

impl<T: Scalar> fmt::Display for DoConv2d<T> {
    /// Shape, settings that aren't the default, parameters and MACCs in training and folded form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DoConv2d(")?;
        write_settings(f, &self.spec, &self.config.conv)?;
        let folded = self.w.len() / self.composer.d_mul * self.composer.taps;
        let bias = self.bias.as_ref().map_or(0, |bias| bias.len());
        if self.d_offset.is_some() {
            write!(f, ", d_mul {}", self.composer.d_mul)?;
        }
        write!(
            f,
            "; {} parameters, {} folded; {} MACCs per output pixel",
            Grouped(parameter_count(self.parameters())),
            Grouped((folded + bias) as u64),
            Grouped(folded as u64)
        )?;
        if self.d_offset.is_some() {
            write!(f, ", {} more to compose, none folded", Grouped(self.composer.maccs() as u64))?;
        }
        write!(f, ")")
    }
}
