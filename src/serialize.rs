//! `Serialize` and `Deserialize` behind the feature `serde`. Reading a layer checks it as
//! `from_parameters` does. Numbers that aren't finite go into binary formats alone: JSON writes `null` for
//! them, which nothing reads back.

use ndarray::{Array, Array1, Array3, Array4, ArrayViewD, Dimension};
use serde::de::Error as _;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    Conv2d, Conv2dConfig, Conv2dGradients, DInit, DoConv2d, DoConv2dConfig, Error, ErrorKind,
    Gradients, Init, Scalar,
};

/// The error for a number that a text format can't hold.
fn not_finite<E: serde::ser::Error>(
    operation: &'static str,
    field: &'static str,
    got: String,
) -> E {
    let expected = "finite numbers, as text formats may hold no others (binary ones keep them)";
    E::custom(Error::new(ErrorKind::Value, operation, field, expected, got))
}

/// Arrays by name, those that there are.
type Named<'a, T> = (&'static str, Option<ArrayViewD<'a, T>>);

fn named<'a, T, D: Dimension>(field: &'static str, array: Option<&'a Array<T, D>>) -> Named<'a, T> {
    (field, array.map(|array| array.view().into_dyn()))
}

/// Refuses arrays with numbers that the format can't hold, before anything is written.
fn expect_finite<T: Scalar, S: Serializer>(
    serializer: &S,
    operation: &'static str,
    arrays: &[Named<T>],
) -> Result<(), S::Error> {
    if !serializer.is_human_readable() {
        return Ok(());
    }
    for (field, array) in arrays {
        let Some(array) = array else { continue };
        // The search by index is slow.
        if array.iter().all(|value| value.is_finite()) {
            continue;
        }
        let mut others = array.indexed_iter().filter(|(_, value)| !value.is_finite());
        if let Some((at, value)) = others.next() {
            let count = 1 + others.count();
            let got = format!("{value} at {:?}, the first of {count}", at.slice());
            return Err(not_finite(operation, field, got));
        }
    }
    Ok(())
}

/// The same of the numbers of initialisers.
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

impl<T: Scalar + Serialize> Serialize for Gradients<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let arrays = [
            named("x", self.x.as_ref()),
            named("w", Some(&self.w)),
            named("d_offset", self.d_offset.as_ref()),
            named("bias", self.bias.as_ref()),
        ];
        expect_finite(&serializer, "Gradients::serialize", &arrays)?;
        write_fields!(serializer, self, Gradients { x, w, d_offset, bias })
    }
}

impl<T: Scalar + Serialize> Serialize for Conv2dGradients<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let arrays = [
            named("x", self.x.as_ref()),
            named("weight", Some(&self.weight)),
            named("bias", self.bias.as_ref()),
        ];
        expect_finite(&serializer, "Conv2dGradients::serialize", &arrays)?;
        write_fields!(serializer, self, Conv2dGradients { x, weight, bias })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "Conv2d")]
struct Plain<C, W, B> {
    config: C,
    weight: W,
    bias: B,
}

impl<T: Scalar + Serialize> Serialize for Conv2d<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let arrays = [named("weight", Some(&self.weight)), named("bias", self.bias.as_ref())];
        expect_finite(&serializer, "Conv2d::serialize", &arrays)?;
        let state = Plain { config: &self.config, weight: &self.weight, bias: &self.bias };
        state.serialize(serializer)
    }
}

impl<'de, T: Scalar + Deserialize<'de>> Deserialize<'de> for Conv2d<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type State<T> = Plain<Conv2dConfig, Array4<T>, Option<Array1<T>>>;
        let state = State::deserialize(deserializer)?;
        Self::from_parameters(state.config, state.weight, state.bias).map_err(D::Error::custom)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "DoConv2d")]
struct Over<C, D, W, B> {
    config: C,
    d_offset: D,
    w: W,
    bias: B,
}

impl<T: Scalar + Serialize> Serialize for DoConv2d<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let arrays = [
            named("d_offset", self.d_offset.as_ref()),
            named("w", Some(&self.w)),
            named("bias", self.bias.as_ref()),
        ];
        expect_finite(&serializer, "DoConv2d::serialize", &arrays)?;
        let state =
            Over { config: &self.config, d_offset: &self.d_offset, w: &self.w, bias: &self.bias };
        state.serialize(serializer)
    }
}

impl<'de, T: Scalar + Deserialize<'de>> Deserialize<'de> for DoConv2d<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type State<T> = Over<DoConv2dConfig, Option<Array3<T>>, Array3<T>, Option<Array1<T>>>;
        let state = State::deserialize(deserializer)?;
        Self::from_parameters(state.config, state.d_offset, state.w, state.bias)
            .map_err(D::Error::custom)
    }
}
