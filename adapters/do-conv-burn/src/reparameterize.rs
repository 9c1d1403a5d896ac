//! DO-Conv as a reparameterization of plain layers, burn's own and this crate's.

// Fields have the names of the published code's parameters.
#![allow(non_snake_case)]

use std::collections::BTreeMap;

use burn::module::{
    Module, ModuleDisplay, ModuleVisitor, Param, ParamGroup, ParamId, Reparameterization,
    Reparameterizer,
};
use burn::nn::{Initializer, PaddingConfig2d};
use burn::tensor::{Shape, Tensor};
use do_conv::{Error, ErrorKind, Result};

use crate::DoConv2dConfig;
use crate::displayed::{displayed, displayed_groups};
use crate::engine::{Engine, Factors};
use crate::fallback::{cast_as, identity};
use crate::layer::widen;

/// Turns the [`Conv2d`](burn::nn::conv::Conv2d) layers of any model into DO-Conv layers, and
/// [`Module::materialize`] turns them back: the model's type and its code stay as they are, and its
/// `weight`s become composed kernels.
///
/// The kernel becomes `W`, trained on from where it is, and `D`, the identity at first, becomes the
/// parameter `weight.do_conv.D`. A kernel that is frozen on a device with autodiff gets a frozen `D`.
/// Kernels of 1×1 have no `D` and stay as they are.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::conv::{Conv2d, Conv2dConfig};
/// use do_conv_burn::OverParameterize;
///
/// # fn main() -> Result<(), do_conv_burn::Error> {
/// # let device = Default::default();
/// let model: Conv2d = Conv2dConfig::new([3, 16], [3, 3]).init(&device); // or any module
/// let over = OverParameterize::new(&model)?;
/// assert_eq!(over.paths().collect::<Vec<_>>(), ["weight"]); // what will be composed
/// let model = model.apply_reparameterization(over);
/// // … train it …
/// let model = model.materialize(); // plain layers again, by the composed kernels
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct OverParameterize {
    /// The kernels to compose, by their paths.
    kernels: BTreeMap<String, Kernel>,
    d_mul: Option<usize>,
    param_group: ParamGroup,
    cpu_engine: bool,
}

/// What there is to know about the kernel of a `Conv2d`.
#[derive(Debug, Clone, Copy)]
struct Kernel {
    id: ParamId,
    /// `[O, I/g, M, N]`.
    shape: [usize; 4],
    groups: usize,
}

impl Kernel {
    /// The layer in the terms of the core crate, without what the kernel doesn't depend on.
    fn config(&self) -> do_conv::DoConv2dConfig {
        let [outputs, n, rows, columns] = self.shape;
        do_conv::DoConv2dConfig::new(n * self.groups, outputs, [rows, columns]).groups(self.groups)
    }

    /// `MN`.
    fn taps(&self) -> usize {
        self.shape[2] * self.shape[3]
    }
}

impl OverParameterize {
    /// Finds the `Conv2d` layers of a model, burn's and this crate's, by their paths, with a `d_mul` of `M·N`
    /// for each.
    ///
    /// burn's modules show their parameters to a visitor, but not how many groups a convolution has. They print
    /// it, and this reads it there, for the very layer that prints the kernel's id; where a module around prints
    /// something else, [`OverParameterize::with_groups`] can be told.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a model that has reparameterizations already, and for a layer named
    /// `Conv2d` that isn't displayed as burn's is, with its groups.
    pub fn new<M: Module + ModuleDisplay>(model: &M) -> Result<Self> {
        Self::find("OverParameterize::new", model, |_| None)
    }

    /// [`OverParameterize::new`], told the groups of layers by the path of their `weight`. What is told isn't
    /// read from what the model prints.
    ///
    /// ```
    /// # use burn::module::Module;
    /// # use burn::nn::conv::{Conv2d, Conv2dConfig};
    /// # use do_conv_burn::OverParameterize;
    /// # let device = Default::default();
    /// # let model: Conv2d = Conv2dConfig::new([4, 8], [3, 3]).with_groups(2).init(&device);
    /// let over = OverParameterize::with_groups(&model, |path| (path == "weight").then_some(2))?;
    /// # Ok::<(), do_conv_burn::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`OverParameterize::new`], and [`ErrorKind::Config`] for groups that don't divide the output channels.
    pub fn with_groups<M: Module + ModuleDisplay>(
        model: &M,
        groups: impl Fn(&str) -> Option<usize>,
    ) -> Result<Self> {
        Self::find("OverParameterize::with_groups", model, groups)
    }

    fn find<M: Module + ModuleDisplay>(
        operation: &'static str,
        model: &M,
        told: impl Fn(&str) -> Option<usize>,
    ) -> Result<Self> {
        let mut found = Kernels::default();
        model.visit(&mut found);
        let error = |path: String, expected: String, got: String| {
            Err(Error::new(ErrorKind::Config, operation, path, expected, got))
        };
        if let Some(path) = found.reparameterized {
            let expected = "a parameter without a reparameterization".into();
            return error(path, expected, "one that has one".into());
        }
        let displayed = displayed(model);
        let mut kernels = BTreeMap::new();
        for (path, kernel) in found.kernels {
            let outputs = kernel.shape[0];
            let groups = match told(&path) {
                Some(groups) if groups == 0 || outputs % groups != 0 => {
                    let expected = format!("groups that divide {outputs} output channels");
                    return error(path, expected, groups.to_string());
                }
                Some(groups) => groups,
                None => match displayed_groups(&displayed, kernel.id, kernel.shape) {
                    Some(groups) => groups,
                    None => {
                        let expected = "a kernel of burn's Conv2d, displayed with its groups, or to \
                                        be told them by OverParameterize::with_groups";
                        return error(path, expected.into(), "one whose groups don't show".into());
                    }
                },
            };
            kernels.insert(path, Kernel { groups, ..kernel });
        }
        Ok(Self { kernels, d_mul: None, param_group: ParamGroup::all(), cpu_engine: true })
    }

    /// Sets the depth multiplier `S` for every layer; one smaller than a layer's `M·N` becomes that.
    ///
    /// # Errors
    /// [`ErrorKind::Overflow`] and [`ErrorKind::Memory`] for one that is too large.
    pub fn with_d_mul(mut self, d_mul: usize) -> Result<Self> {
        for kernel in self.kernels.values().filter(|kernel| kernel.taps() > 1) {
            let [outputs, n, rows, columns] = kernel.shape;
            DoConv2dConfig::new([n * kernel.groups, outputs], [rows, columns])
                .with_groups(kernel.groups)
                .with_d_mul(Some(d_mul.max(kernel.taps())))
                .to_core("OverParameterize::with_d_mul")?;
        }
        self.d_mul = Some(d_mul);
        Ok(self)
    }

    /// Sets which kernels are composed: those in the group, by id or by the path of `weight`. Default:
    /// all.
    pub fn with_param_group(mut self, group: ParamGroup) -> Self {
        self.param_group = group;
        self
    }

    /// Sets whether the core crate's engine composes kernels on burn's CPU backend `flex`; otherwise burn's own
    /// operations do, as on every other. Default: true. A [`Conv2d`](crate::Conv2d) of this crate composes in its
    /// forward pass by its own setting.
    pub fn with_cpu_engine(mut self, cpu_engine: bool) -> Self {
        self.cpu_engine = cpu_engine;
        self
    }

    /// The paths of the kernels that get a `D`, in the order of the alphabet.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let composed = self.kernels.iter().filter(|(path, kernel)| {
            kernel.taps() > 1 && self.param_group.matches(&kernel.id, Some(path))
        });
        composed.map(|(path, _)| path.as_str())
    }
}

/// Collects the kernels of `Conv2d` layers.
#[derive(Default)]
struct Kernels {
    /// Names and types of the modules around.
    path: Vec<(String, String)>,
    /// By path; their groups aren't known yet.
    kernels: Vec<(String, Kernel)>,
    reparameterized: Option<String>,
}

impl Kernels {
    fn path(&self) -> String {
        let names: Vec<&str> = self.path.iter().map(|(name, _)| name.as_str()).collect();
        names.join(".")
    }
}

impl ModuleVisitor for Kernels {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        if container_type == "Reparameterization" {
            let path = self.path();
            self.reparameterized.get_or_insert(path);
        }
        self.path.push((name.to_owned(), container_type.to_owned()));
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let of_conv2d =
            |(name, container): &(String, String)| name == "weight" && container == "Struct:Conv2d";
        if D == 4 && self.path.last().is_some_and(of_conv2d) {
            let kernel = Kernel { id: param.id, shape: param.lazy_shape().dims(), groups: 0 };
            self.kernels.push((self.path(), kernel));
        }
    }
}

impl Reparameterizer for OverParameterize {
    type Reparam = DepthwiseKernel;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<DepthwiseKernel>) {
        let kernel = match self.kernels.get(path) {
            Some(&kernel) if self.param_group.matches(&param.id, Some(path)) => kernel,
            _ => return (param, None),
        };
        // A model that was loaded since has other ids, but not other shapes.
        let taps = kernel.taps();
        if taps == 1 || param.lazy_shape() != Shape::from(kernel.shape) {
            return (param, None);
        }
        let [outputs, n, rows, columns] = kernel.shape;
        let d_mul = self.d_mul.unwrap_or(taps).max(taps);
        let device = param.lazy_device();
        let frozen = device.is_autodiff() && !param.base().is_require_grad();
        let d_offset: Param<Tensor<3>> =
            Initializer::Zeros.init([n * kernel.groups, taps, d_mul], &device);
        let d_offset = match param.is_initialized() {
            true => Param::from_tensor(cast_as(d_offset.val(), &param.base()).detach()),
            false => d_offset,
        };
        let depthwise = Some(DepthwiseKernel {
            D: d_offset.set_require_grad(!frozen),
            identity: identity(taps, d_mul, &device),
            engine: Engine::new(kernel.config(), PaddingConfig2d::Valid, self.cpu_engine),
        });
        if d_mul == taps {
            return (param, depthwise);
        }
        let base = param.map(|weight| {
            let trained = weight.is_require_grad();
            let w = widen(weight.reshape([outputs, n, rows, columns]), Some(d_mul));
            let w = w.reshape(Shape::from([outputs, n, d_mul, 1]));
            w.detach().set_require_grad(trained)
        });
        (base, depthwise)
    }
}

/// The `D` of a kernel that [`OverParameterize`] composes.
#[derive(Module, Debug)]
pub struct DepthwiseKernel {
    /// The offset of `D` from the identity, `[I, M·N, S]`.
    pub D: Param<Tensor<3>>,
    identity: Tensor<3>,
    #[module(skip)]
    engine: Engine,
}

impl DepthwiseKernel {
    /// `[O, I/g, M, N]` of the composed kernel.
    pub(crate) fn weight_shape(&self) -> [usize; 4] {
        self.engine.weight_shape()
    }

    /// What the kernel is composed of: `D`, and `base`, `[O, I/g, …]` of any shape with `S` elements at the end,
    /// as `W`.
    ///
    /// # Errors
    /// For a base of another shape.
    pub(crate) fn factors<const N: usize>(
        &self,
        operation: &'static str,
        base: Tensor<N>,
    ) -> Result<Factors> {
        let shape @ [outputs, n, _, _] = self.engine.weight_shape();
        let dims = base.dims();
        if N < 3 || dims[..2] != [outputs, n] {
            let expected = format!("[{outputs}, {n}, …], as the kernel of {shape:?} has");
            let got = format!("{dims:?}");
            return Err(Error::new(ErrorKind::Shape, operation, "weight", expected, got));
        }
        let w = base.reshape([outputs, n, dims[2..].iter().product()]);
        Ok(Factors { w, d_offset: self.D.val(), identity: self.identity.clone() })
    }
}

impl Reparameterization for DepthwiseKernel {
    const NAME: &'static str = "do_conv";

    /// The composed kernel, `[O, I/g, M, N]`, for `W`, `[O, I/g, …]` of any shape with `S` elements at
    /// the end.
    ///
    /// # Panics
    /// For a `W` and a `D` that were given other shapes.
    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        const OPERATION: &str = "DepthwiseKernel::apply";
        let weight = self.factors(OPERATION, base);
        let weight = weight.and_then(|factors| self.engine.compose(OPERATION, factors));
        let weight = weight.unwrap_or_else(|error| panic!("{error}"));
        weight.reshape(Shape::from(self.engine.weight_shape()))
    }
}
