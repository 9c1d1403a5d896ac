//! `Serialize` and `Deserialize` for layers, behind the feature `serde`. Reading a layer checks it as
//! `from_parameters` does.

use ndarray::{Array1, Array3, Array4};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Conv2d, Conv2dConfig, DoConv2d, DoConv2dConfig, Scalar};

#[derive(Serialize, Deserialize)]
#[serde(rename = "Conv2d")]
struct Plain<C, W, B> {
    config: C,
    weight: W,
    bias: B,
}

impl<T: Scalar + Serialize> Serialize for Conv2d<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
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
