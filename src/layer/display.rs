//! How layers and costs are printed.

use std::fmt;

use super::conv2d::Conv2d;
use super::cost::Cost;
use super::do_conv2d::DoConv2d;
use crate::config::Conv2dConfig;
use crate::config::geometry::Spec;
use crate::config::padding::PaddingMode;
use crate::scalar::Scalar;

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
