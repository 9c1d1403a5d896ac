//! Kernels that don't change, as the engine packs them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use do_conv::{Conv2d, Conv2dConfig, Result};

use super::{Native, ordered, view};

/// The kernel and the bias of the last call, and the core's layer of them once they have come twice: a
/// layer's parameters may be trained or loaded at any time.
pub struct Kept<T> {
    config: Conv2dConfig,
    last: Mutex<Option<Last<T>>>,
}

struct Last<T> {
    /// Held, so that burn writes to no other tensor's memory in place of it: where a kernel lies in the same
    /// memory, it is the same.
    weight: FloatTensor<Flex>,
    bias: Option<FloatTensor<Flex>>,
    layer: Option<Arc<Conv2d<T>>>,
}

impl<T: Native> Kept<T> {
    pub fn new(config: &Conv2dConfig) -> Self {
        Self { config: config.clone(), last: Mutex::default() }
    }

    /// The core's layer, if the last call had the same kernel and bias.
    pub fn layer(
        &self,
        weight: &FloatTensor<Flex>,
        bias: Option<&FloatTensor<Flex>>,
    ) -> Result<Option<Arc<Conv2d<T>>>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *last {
            Some(last) if last.is_of(weight, bias) => match &last.layer {
                Some(layer) => Ok(Some(layer.clone())),
                None => {
                    let layer = Arc::new(self.make(weight, bias)?);
                    last.layer = Some(layer.clone());
                    Ok(Some(layer))
                }
            },
            _ => {
                *last = Some(Last { weight: weight.clone(), bias: bias.cloned(), layer: None });
                Ok(None)
            }
        }
    }

    fn make(
        &self,
        weight: &FloatTensor<Flex>,
        bias: Option<&FloatTensor<Flex>>,
    ) -> Result<Conv2d<T>> {
        let weight = ordered::<T>(weight.clone());
        let bias = bias.map(|bias| ordered::<T>(bias.clone()));
        let config = self.config.clone().bias(bias.is_some());
        let bias = bias.as_ref().map(|bias| view::<T, 1>(bias).to_owned());
        Conv2d::from_parameters(config, view::<T, 4>(&weight).to_owned(), bias)
    }
}

impl<T> Last<T> {
    fn is_of(&self, weight: &FloatTensor<Flex>, bias: Option<&FloatTensor<Flex>>) -> bool {
        is_same(&self.weight, weight)
            && match (&self.bias, bias) {
                (Some(a), Some(b)) => is_same(a, b),
                (None, None) => true,
                _ => false,
            }
    }
}

fn is_same(a: &FloatTensor<Flex>, b: &FloatTensor<Flex>) -> bool {
    a.bytes().as_ptr() == b.bytes().as_ptr() && a.layout() == b.layout()
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}
