//! The one error type: which operation, which field, what was expected, what came.

use std::borrow::Cow;
use std::fmt;

/// Result of every fallible operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation was refused.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A layer was asked for that can't exist, or an option names something that isn't there.
    Config,
    /// Something can be meant in several ways and nothing tells which, as a checkpoint's kernel size or
    /// pairing: `expected` says what there is to be told.
    Ambiguous,
    /// An array has the wrong rank or extent.
    Shape,
    /// The layer is fine, but this input is too small for it.
    InputSize,
    /// A size doesn't fit this machine's address space.
    Overflow,
    /// A number that must be finite, positive or in a range isn't.
    Value,
    /// The allocator has no room for a result or for buffers to work in.
    Memory,
    /// The operating system refused to read or write a file.
    File,
    /// There is a file already where one is to be written, and leave to overwrite it wasn't given.
    Exists,
    /// The caller wanted a long operation to stop.
    Cancelled,
    /// A file doesn't hold what its format demands, or a checkpoint not what a layer demands.
    Format,
}

/// A refused operation. Nothing was written and nothing changed.
///
/// ```
/// use do_conv::{Conv2d, Conv2dConfig, ErrorKind};
///
/// let error = Conv2dConfig::new(4, 6, [3, 3]).groups(4).init::<f32>(0).unwrap_err();
/// assert_eq!(error.kind, ErrorKind::Config);
/// assert_eq!(
///     error.to_string(),
///     "Conv2dConfig::init: groups: expected a divisor of in_channels 4 and out_channels 6, got 4"
/// );
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What kind of mistake it is.
    pub kind: ErrorKind,
    /// The function that refused, as `Type::method`.
    pub operation: &'static str,
    /// The argument, setting, file or tensor at fault.
    pub field: Cow<'static, str>,
    /// What would have been accepted.
    pub expected: String,
    /// What came.
    pub got: String,
}

impl Error {
    /// An error of that kind; for crates that build layers on this one's.
    pub fn new(
        kind: ErrorKind,
        operation: &'static str,
        field: impl Into<Cow<'static, str>>,
        expected: impl fmt::Display,
        got: impl fmt::Display,
    ) -> Self {
        let field = field.into();
        Self { kind, operation, field, expected: expected.to_string(), got: got.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, field, expected, got, .. } = self;
        write!(f, "{operation}: {field}: expected {expected}, got {got}")
    }
}

impl std::error::Error for Error {}

/// The public function that is at work, as `Type::method`: what checks are called on, so that errors
/// name it.
#[derive(Debug, Clone, Copy)]
pub struct Operation(pub &'static str);

impl Operation {
    /// The error of this operation.
    pub fn error(
        self,
        kind: ErrorKind,
        field: impl Into<Cow<'static, str>>,
        expected: impl fmt::Display,
        got: impl fmt::Display,
    ) -> Error {
        Error::new(kind, self.0, field, expected, got)
    }

    /// Refuses an array of another shape.
    pub fn expect_shape(
        self,
        field: &'static str,
        expected: &[usize],
        got: &[usize],
    ) -> Result<()> {
        self.expect_optional_shape(field, Some(expected), Some(got))
    }

    /// Refuses an optional array that is of another shape, missing, or not wanted.
    pub fn expect_optional_shape(
        self,
        field: &'static str,
        expected: Option<&[usize]>,
        got: Option<&[usize]>,
    ) -> Result<()> {
        if expected == got {
            return Ok(());
        }
        let text =
            |shape: Option<&[usize]>| shape.map_or("none".into(), |shape| format!("{shape:?}"));
        Err(self.error(ErrorKind::Shape, field, text(expected), text(got)))
    }
}
