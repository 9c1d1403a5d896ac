//! The sizes of an unfolded layer, as its kernel and the options tell them.

use super::options::UnfoldOptions;
use super::report::GroupsSource;
use crate::checkpoint::convolution::Convolution;
use crate::checkpoint::layers::layer_info::Form;
use crate::checkpoint::pattern::matches;
use crate::checkpoint::text::shown;
use crate::error::{Error, ErrorKind, Operation, Result};

/// The sizes of an unfolded layer.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// `g`.
    pub groups: usize,
    pub groups_source: GroupsSource,
    /// `[O, n, S]`.
    pub w_shape: [usize; 3],
    /// `[I, MN, S]`; none for a 1×1 layer.
    pub d_shape: Option<[usize; 3]>,
}

impl Sizes {
    /// Those of a convolution, or a refusal of what no layer can have.
    pub fn of(
        operation: Operation,
        convolution: &Convolution,
        options: &UnfoldOptions,
    ) -> Result<Self> {
        let [outputs, n, ..] = convolution.shape;
        let taps = convolution.taps();
        let (groups, groups_source) = groups(operation, convolution, options)?;
        if taps == 1 {
            let w_shape = [outputs, n, 1];
            return Ok(Self { groups, groups_source, w_shape, d_shape: None });
        }
        let name = convolution.key.name;
        let d_mul = last_for(&options.d_mul, name).unwrap_or(taps);
        if d_mul < taps {
            let expected = format!("a d_mul of at least {taps}, its number of taps");
            return Err(operation.error(ErrorKind::Config, shown(name), expected, d_mul));
        }
        let Some(inputs) = groups.checked_mul(n) else {
            let expected = "a number of inputs that can be addressed";
            let got = format!("{groups} groups of {n}");
            return Err(operation.error(ErrorKind::Overflow, shown(name), expected, got));
        };
        let d_shape = Some([inputs, taps, d_mul]);
        Ok(Self { groups, groups_source, w_shape: [outputs, n, d_mul], d_shape })
    }

    /// The layer's form.
    pub fn form(&self) -> Form {
        match (self.d_shape, self.groups, self.w_shape[1]) {
            (None, ..) => Form::Pointwise,
            (_, 1, _) => Form::DoConv,
            (_, _, 1) => Form::DoDConv,
            _ => Form::DoGConv,
        }
    }
}

/// The groups of a convolution, and what tells them.
fn groups(
    operation: Operation,
    convolution: &Convolution,
    options: &UnfoldOptions,
) -> Result<(usize, GroupsSource)> {
    let name = convolution.key.name;
    let [outputs, n, ..] = convolution.shape;
    let refused = |kind, expected: String, got: String| -> Error {
        operation.error(kind, shown(name), expected, got)
    };
    let is_depthwise = options.depthwise.iter().any(|pattern| matches(pattern, name));
    match (last_for(&options.groups, name), is_depthwise) {
        (Some(groups), true) => {
            let expected = "to be told its groups, or to be depthwise".to_owned();
            Err(refused(ErrorKind::Config, expected, format!("both, with {groups} groups")))
        }
        (Some(groups), false) if groups == 0 || !outputs.is_multiple_of(groups) => {
            let expected = format!("groups that divide its {outputs} outputs");
            Err(refused(ErrorKind::Config, expected, groups.to_string()))
        }
        (Some(groups), false) => Ok((groups, GroupsSource::Options)),
        (None, true) if n != 1 => {
            let expected = "a kernel of one input a group, since it is to be depthwise".to_owned();
            Err(refused(ErrorKind::Config, expected, n.to_string()))
        }
        (None, true) => Ok((outputs, GroupsSource::Options)),
        (None, false) if convolution.taps() == 1 => Ok((1, GroupsSource::NotNeeded)),
        (None, false) if outputs == 1 => Ok((1, GroupsSource::Shape)),
        (None, false) if n == 1 => {
            let expected = format!(
                "to be told its groups: 1 if it reads one channel, {outputs} if it is depthwise, or \
                 another divisor of {outputs} if it is depthwise with several outputs a channel"
            );
            let got = format!("{outputs} outputs of one input each");
            Err(refused(ErrorKind::Ambiguous, expected, got))
        }
        (None, false) => Ok((1, GroupsSource::Assumed)),
    }
}

/// The number beside the last pattern that fits a name.
fn last_for(numbers: &[(String, usize)], name: &str) -> Option<usize> {
    numbers.iter().rev().find(|(pattern, _)| matches(pattern, name)).map(|(_, number)| *number)
}
