//! DO-Conv as a reparameterization of burn's own layers.

// Fields have the names of the published code's parameters.
#![allow(non_snake_case)]

use std::collections::HashMap;

use burn::module::{
    DisplaySettings, Module, ModuleDisplay, ModuleVisitor, Param, ParamGroup, ParamId,
    Reparameterization, Reparameterizer,
};
use burn::nn::Initializer;
use burn::tensor::{Shape, Tensor};
use do_conv::{Error, ErrorKind, Pairing, Result};

use crate::compose::{compose, identity};
use crate::layer::widen;

/// Turns the [`Conv2d`](burn::nn::conv::Conv2d) layers of any model into DO-Conv layers, and
/// [`Module::materialize`] turns them back: the model's type and its code stay as they are, and its
/// `weight`s become composed kernels.
///
/// The kernel becomes `W`, trained on from where it is, and `D`, the identity at first, becomes the
/// parameter `weight.do_conv.D`. Kernels of 1×1 have no `D` and stay as they are.
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
/// let model = model.apply_reparameterization(over);
/// // … train it …
/// let model = model.materialize(); // plain layers again, by the composed kernels
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct OverParameterize {
    /// The kernels to compose, and the groups of their layers.
    groups: HashMap<ParamId, usize>,
    d_mul: Option<usize>,
    param_group: ParamGroup,
}

impl OverParameterize {
    /// Finds the `Conv2d` layers of a model, with a `d_mul` of `M·N` for each.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a model that has reparameterizations already, and for a layer whose
    /// number of groups the model doesn't show when it is displayed.
    pub fn new<M: Module + ModuleDisplay>(model: &M) -> Result<Self> {
        let mut kernels = Kernels::default();
        model.visit(&mut kernels);
        if let Some(path) = kernels.reparameterized {
            let expected = "a parameter without a reparameterization";
            return Err(config_error(path, expected, "one that has one"));
        }
        // burn's visitors pass by what is no parameter, but a module displays it.
        let settings =
            DisplaySettings::new().with_show_all_attributes(true).with_show_param_id(true);
        let displayed = model.format(settings);
        let groups = kernels.found.into_iter().map(|(path, id)| {
            let groups = displayed_groups(&displayed, id).ok_or_else(|| {
                config_error(path, "a Conv2d that displays its groups", "one that doesn't")
            })?;
            Ok((id, groups))
        });
        Ok(Self {
            groups: groups.collect::<Result<_>>()?,
            d_mul: None,
            param_group: ParamGroup::all(),
        })
    }

    /// Sets the depth multiplier `S` for every layer; one smaller than a layer's `M·N` becomes that.
    pub fn with_d_mul(mut self, d_mul: usize) -> Self {
        self.d_mul = Some(d_mul);
        self
    }

    /// Sets which kernels are composed: those in the group, by id or by the path of `weight`. Default:
    /// all.
    pub fn with_param_group(mut self, group: ParamGroup) -> Self {
        self.param_group = group;
        self
    }
}

fn config_error(path: String, expected: &str, got: &str) -> Error {
    Error::new(ErrorKind::Config, "OverParameterize::new", path, expected, got)
}

/// The number of groups of the `Conv2d` with that weight, as its module displays it: after the weight
/// and no parameter but the bias.
fn displayed_groups(displayed: &str, weight: ParamId) -> Option<usize> {
    let (_, after) = displayed.split_once(&format!("id: {weight}}}"))?;
    let (between, number) = after.split_once("groups: ")?;
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    let others = between.matches("ParamTensor {").count();
    (others <= 1).then(|| digits.parse().ok()).flatten()
}

/// Collects the weights of `Conv2d` layers.
#[derive(Default)]
struct Kernels {
    /// Names and types of the modules around.
    path: Vec<(String, String)>,
    found: Vec<(String, ParamId)>,
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
            self.found.push((self.path(), param.id));
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
        let groups = match self.groups.get(&param.id) {
            Some(&groups) if self.param_group.matches(&param.id, Some(path)) => groups,
            _ => return (param, None),
        };
        let [outputs, n, rows, columns] = param.lazy_shape().dims();
        let taps = rows * columns;
        if taps == 1 {
            return (param, None);
        }
        let device = param.lazy_device();
        let d_mul = self.d_mul.unwrap_or(taps).max(taps);
        let depthwise = DepthwiseKernel {
            D: Initializer::Zeros.init([n * groups, taps, d_mul], &device),
            identity: identity(taps, d_mul, &device),
            kernel_size: [rows, columns],
            groups,
        };
        if d_mul == taps {
            return (param, Some(depthwise));
        }
        let base = param.map(|weight| {
            let trained = weight.is_require_grad();
            let weight: Tensor<4> = weight.reshape([outputs, n, rows, columns]);
            let w = widen(weight, Some(d_mul));
            let w = w.reshape(Shape::from([outputs, n, d_mul, 1]));
            w.detach().set_require_grad(trained)
        });
        (base, Some(depthwise))
    }
}

/// The `D` of a kernel that [`OverParameterize`] composes.
#[derive(Module, Debug)]
pub struct DepthwiseKernel {
    /// The offset of `D` from the identity, `[I, M·N, S]`.
    pub D: Param<Tensor<3>>,
    identity: Tensor<3>,
    kernel_size: [usize; 2],
    groups: usize,
}

impl Reparameterization for DepthwiseKernel {
    const NAME: &'static str = "do_conv";

    /// The composed kernel, `[O, I/g, M, N]`, for `W`, `[O, I/g, …]` of any shape with `S` elements at
    /// the end.
    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let dims = base.dims();
        let [outputs, n, rest @ ..] = &dims[..] else { return base };
        let w: Tensor<3> = base.clone().reshape([*outputs, *n, rest.iter().product()]);
        let (d_offset, identity) = (self.D.val(), self.identity.clone());
        let weight = compose(d_offset, identity, w, self.groups, Pairing::InputChannel);
        let [rows, columns] = self.kernel_size;
        weight.reshape(Shape::from([*outputs, *n, rows, columns]))
    }
}
