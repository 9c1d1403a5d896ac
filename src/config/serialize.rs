//! `Serialize` of configurations behind the feature `serde`. Numbers that aren't finite go into binary
//! formats alone: JSON writes `null` for them, which nothing reads back.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::init::{DInit, Init};
use super::{Conv2dConfig, DoConv2dConfig};
use crate::error::{Error, ErrorKind};

/// The error for a number that a text format can't hold.
pub fn not_finite<E: serde::ser::Error>(
    operation: &'static str,
    field: &'static str,
    got: String,
) -> E {
    let expected = "finite numbers, as text formats may hold no others (binary ones keep them)";
    E::custom(Error::new(ErrorKind::Value, operation, field, expected, got))
}

/// Refuses numbers of initialisers that the format can't hold, before anything is written.
fn expect_finite_inits<S: Serializer>(
    serializer: &S,
    operation: &'static str,
    inits: &[(&'static str, Init)],
) -> Result<(), S::Error> {
    let numbers = inits.iter().filter_map(|(field, init)| Some((field, init.number()?)));
    let mut numbers = numbers.filter(|(_, number)| !number.is_finite());
    match numbers.next() {
        Some((field, number)) if serializer.is_human_readable() => {
            Err(not_finite(operation, field, number.to_string()))
        }
        _ => Ok(()),
    }
}

/// Writes the number of an initialiser that is written on its own.
pub fn init_number<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() && !number.is_finite() {
        return Err(not_finite("Init::serialize", "init", number.to_string()));
    }
    number.serialize(serializer)
}

/// Writes all fields of a struct, as `derive` does. A field left out doesn't compile.
macro_rules! write_fields {
    ($serializer:ident, $value:expr, $type:ident { $($field:ident),+ $(,)? }) => {{
        let $type { $($field),+ } = $value;
        let fields = [$(stringify!($field)),+].len();
        let mut state = $serializer.serialize_struct(stringify!($type), fields)?;
        $(state.serialize_field(stringify!($field), $field)?;)+
        state.end()
    }};
}

pub(crate) use write_fields;

impl Serialize for Conv2dConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let inits = [("w_init", self.w_init), ("bias_init", self.bias_init)];
        expect_finite_inits(&serializer, "Conv2dConfig::serialize", &inits)?;
        write_fields!(
            serializer,
            self,
            Conv2dConfig {
                in_channels,
                out_channels,
                kernel_size,
                stride,
                dilation,
                padding,
                padding_mode,
                groups,
                algorithm,
                bias,
                w_init,
                bias_init,
            }
        )
    }
}

impl Serialize for DoConv2dConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut inits =
            vec![("conv.w_init", self.conv.w_init), ("conv.bias_init", self.conv.bias_init)];
        if let DInit::Random(init) = self.d_init {
            inits.push(("d_init", init));
        }
        expect_finite_inits(&serializer, "DoConv2dConfig::serialize", &inits)?;
        write_fields!(
            serializer,
            self,
            DoConv2dConfig { conv, d_mul, d_init, composition, pairing }
        )
    }
}
