//! `Serialize` and `Deserialize` of layers and gradients behind the feature `serde`. Reading a layer checks
//! it as `from_parameters` does. Numbers that aren't finite go into binary formats alone.

use ndarray::{Array, Array1, Array3, Array4, ArrayViewD, Dimension};
use serde::de::Error as _;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::conv2d::Conv2d;
use super::do_conv2d::DoConv2d;
use super::gradients::{Conv2dGradients, DoConv2dGradients};
use crate::config::serialize::{not_finite, write_fields};
use crate::config::{Conv2dConfig, DoConv2dConfig};
use crate::scalar::Scalar;

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

impl<T: Scalar + Serialize> Serialize for DoConv2dGradients<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let arrays = [
            named("x", self.x.as_ref()),
            named("w", Some(&self.w)),
            named("d_offset", self.d_offset.as_ref()),
            named("bias", self.bias.as_ref()),
        ];
        expect_finite(&serializer, "DoConv2dGradients::serialize", &arrays)?;
        write_fields!(serializer, self, DoConv2dGradients { x, w, d_offset, bias })
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
