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
    /// Held, so that burn neither writes to its memory nor gives that to another tensor: a kernel that lies there
    /// is this one.
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
            Some(last) if last.is_of(weight, bias) => {
                if last.layer.is_none() {
                    last.layer = Some(Arc::new(self.make(weight, bias)?));
                }
                Ok(last.layer.clone())
            }
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

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;

    fn kernel(value: f32) -> FloatTensor<Flex> {
        <FloatTensor<Flex>>::from_data(TensorData::new(vec![value; 9], [1, 1, 3, 3]))
    }

    /// From the second call on there is a layer of the kernel's numbers, until there is another kernel.
    #[test]
    fn a_kernel_is_kept_once_it_has_come_twice() {
        let kept = Kept::<f32>::new(&Conv2dConfig::new(1, 1, [3, 3]));
        let layer = |weight: &FloatTensor<Flex>| kept.layer(weight, None).unwrap();
        let (first, second) = (kernel(1.0), kernel(2.0));
        assert!(layer(&first).is_none());
        for _ in 0..2 {
            assert!(layer(&first).unwrap().weight().iter().all(|&value| value == 1.0));
        }
        assert!(layer(&second).is_none());
        assert!(layer(&second.clone()).unwrap().weight().iter().all(|&value| value == 2.0));
        // Equal numbers that lie elsewhere are another kernel.
        assert!(layer(&kernel(2.0)).is_none());
        let bias = <FloatTensor<Flex>>::from_data(TensorData::new(vec![1.0f32], [1]));
        assert!(kept.layer(&second, Some(&bias)).unwrap().is_none());
        assert_eq!(kept.layer(&second, Some(&bias)).unwrap().unwrap().bias().unwrap()[0], 1.0);
    }
}
