//! Checkpoints that the published PyTorch code wrote, layer by layer and as nets.
//!
//! The stored outputs were computed in `f32` as well, so a bound on the difference counts the
//! rounding of one computation twice.

use do_conv::{BatchNorm, Composition, Conv2d, Pairing};
use ndarray::{Array, Array1, Array2, Array3, Array4, Axis, Dimension};
use safetensors::SafeTensors;
use serde_json::Value;

use super::golden::{numbers, problem, read, tensor};
use super::{Inputs, Outputs, Problem, gamma, oracle};

/// What both nets' batch norms add to the variance.
pub const EPS: f64 = 1e-5;

/// A state dict and what the reference computed from it.
pub struct Checkpoint {
    pub state: Vec<u8>,
    pub io: Vec<u8>,
    pub geometry: Value,
}

/// A layer with its stored input, kernel and output.
pub struct Layer {
    pub name: String,
    pub problem: Problem,
    pub inputs: Inputs,
    pub kernel: Array4<f64>,
    pub y: Array4<f64>,
    /// The identity that the checkpoint stores beside `D`.
    pub d_diag: Option<Array3<f64>>,
}

impl Checkpoint {
    pub fn read(name: &str) -> Self {
        let file = |suffix: &str| read(&format!("reference_checkpoints/{name}{suffix}"));
        Self {
            state: file(".safetensors"),
            io: file(".io.safetensors"),
            geometry: serde_json::from_slice(&file(".json")).unwrap(),
        }
    }

    /// A tensor of the state dict.
    pub fn state<D: Dimension>(&self, name: &str) -> Option<Array<f64, D>> {
        tensor(&SafeTensors::deserialize(&self.state).unwrap(), name)
    }

    /// A tensor that the reference read or computed.
    pub fn io<D: Dimension>(&self, name: &str) -> Array<f64, D> {
        tensor(&SafeTensors::deserialize(&self.io).unwrap(), name).unwrap()
    }

    pub fn layers(&self) -> Vec<Layer> {
        let fields = self.geometry.as_object().unwrap();
        let layers = fields.iter().filter(|(_, value)| value.is_object());
        layers.map(|(name, _)| self.layer(name)).collect()
    }

    pub fn layer(&self, name: &str) -> Layer {
        let geometry = &self.geometry[name];
        let x: Array4<f64> = self.io(&format!("{name}/x"));
        let y: Array4<f64> = self.io(&format!("{name}/y"));
        let bias = self.state(&format!("{name}.bias"));
        assert_eq!(geometry["bias"], bias.is_some(), "{name}");
        let padding = numbers(&geometry["padding"]).map(|side| [side; 2]);
        Layer {
            name: name.to_owned(),
            problem: Problem { pairing: Pairing::PyTorch, ..problem(geometry, &x, padding) },
            inputs: Inputs {
                x,
                d_offset: self.state(&format!("{name}.D")),
                w: self.state(&format!("{name}.W")).unwrap(),
                bias,
                dy: Array4::zeros(y.raw_dim()),
            },
            kernel: self.io(&format!("{name}/kernel")),
            y,
            d_diag: self.state(&format!("{name}.d_diag")),
        }
    }
}

/// A batch norm as the state dict has it.
pub struct Norm {
    pub weight: Array1<f64>,
    pub bias: Array1<f64>,
    pub running_mean: Array1<f64>,
    pub running_var: Array1<f64>,
}

impl Norm {
    pub fn read(checkpoint: &Checkpoint, name: &str) -> Self {
        let vector = |field: &str| checkpoint.state(&format!("{name}.{field}")).unwrap();
        Self {
            weight: vector("weight"),
            bias: vector("bias"),
            running_mean: vector("running_mean"),
            running_var: vector("running_var"),
        }
    }

    pub fn scale(&self, channel: usize) -> f64 {
        self.weight[channel] / (self.running_var[channel] + EPS).sqrt()
    }

    pub fn fold_into(&self, conv: &Conv2d<f32>) -> Conv2d<f32> {
        let [weight, bias, running_mean, running_var] =
            [&self.weight, &self.bias, &self.running_mean, &self.running_var]
                .map(|values| values.mapv(|value| value as f32).to_vec());
        conv.fold_batch_norm(&BatchNorm {
            weight: Some(&weight),
            bias: Some(&bias),
            running_mean: &running_mean,
            running_var: &running_var,
            eps: EPS,
        })
        .unwrap()
    }
}

/// A layer, the batch norm after it if there is one, and a ReLU.
pub struct Stage {
    pub layer: Layer,
    pub norm: Option<Norm>,
}

impl Stage {
    /// The stage as one convolution.
    pub fn folded(&self) -> Conv2d<f32> {
        let Layer { problem, inputs, .. } = &self.layer;
        let folded = problem.layer(inputs, Composition::Kernel).fold();
        match &self.norm {
            None => folded,
            Some(norm) => norm.fold_into(&folded),
        }
    }

    /// What goes into the ReLU for an input `x`, and the error bound of an `f32` computation of it.
    pub fn solve(&self, x: &Array4<f64>) -> (Array4<f64>, Array4<f64>) {
        let problem = &self.layer.problem;
        let inputs = Inputs { x: x.clone(), ..self.layer.inputs.clone() };
        let mut z = take(oracle::solve(problem, &inputs), "y");
        let mut sums = take(oracle::absolute_sums(problem, &inputs), "y");
        let mut roundings = problem.roundings("y");
        if let Some(norm) = &self.norm {
            // eps, square root, division, mean, scale and shift.
            roundings += 6;
            for ((_, c, ..), z) in z.indexed_iter_mut() {
                *z = (*z - norm.running_mean[c]) * norm.scale(c) + norm.bias[c];
            }
            for ((_, c, ..), sum) in sums.indexed_iter_mut() {
                let centred = *sum + norm.running_mean[c].abs();
                *sum = centred * norm.scale(c).abs() + norm.bias[c].abs();
            }
        }
        (z, sums * gamma::<f32>(roundings))
    }

    /// The gradient of the stage's input for that of what goes into its ReLU.
    pub fn input_gradient(&self, mut dz: Array4<f64>) -> Array4<f64> {
        if let Some(norm) = &self.norm {
            for ((_, c, ..), dz) in dz.indexed_iter_mut() {
                *dz *= norm.scale(c);
            }
        }
        let inputs = Inputs { dy: dz, ..self.layer.inputs.clone() };
        take(oracle::solve(&self.layer.problem, &inputs), "dx")
    }
}

fn take(outputs: Outputs, name: &str) -> Array4<f64> {
    let found = outputs.into_iter().find(|(found, _)| *found == name);
    found.unwrap().1.into_dimensionality().unwrap()
}

/// Stages, the mean over the image, and a linear layer or nothing.
pub struct Net {
    pub stages: Vec<Stage>,
    pub head: Option<(Array2<f64>, Array1<f64>)>,
    pub x: Array4<f64>,
    pub logits: Array2<f64>,
}

impl Net {
    pub fn mnist_tutorial() -> Self {
        let stages = [("0", None), ("2", None), ("4", None)];
        Self::read("mnist_tutorial", &stages)
    }

    pub fn mixed() -> Self {
        let stages = [
            ("stem", Some("bn1")),
            ("dw", None),
            ("pw", None),
            ("group", Some("bn2")),
            ("over", None),
            ("mult", None),
        ];
        Self::read("mixed", &stages)
    }

    pub fn read(name: &str, stages: &[(&str, Option<&str>)]) -> Self {
        let checkpoint = Checkpoint::read(name);
        let stage = |&(layer, norm): &(&str, Option<&str>)| Stage {
            layer: checkpoint.layer(layer),
            norm: norm.map(|norm| Norm::read(&checkpoint, norm)),
        };
        let head = checkpoint.state("head.weight");
        Self {
            stages: stages.iter().map(stage).collect(),
            head: head.map(|weight| (weight, checkpoint.state("head.bias").unwrap())),
            x: checkpoint.io("x"),
            logits: checkpoint.io("logits"),
        }
    }

    /// The logits that the folded layers compute.
    pub fn folded_logits(&self) -> Array2<f64> {
        self.logits_by(Stage::folded)
    }

    /// The logits with each stage as a convolution.
    pub fn logits_by(&self, conv: impl Fn(&Stage) -> Conv2d<f32>) -> Array2<f64> {
        let mut x = self.x.mapv(|value| value as f32);
        for stage in &self.stages {
            x = conv(stage).forward(&x).unwrap();
            x.mapv_inplace(|z| z.max(0.0));
        }
        self.pool(&x.mapv(f64::from))
    }

    /// The mean over the image, and the head.
    pub fn pool(&self, x: &Array4<f64>) -> Array2<f64> {
        let means = x.mean_axis(Axis(3)).unwrap().mean_axis(Axis(2)).unwrap();
        match &self.head {
            None => means,
            Some((weight, bias)) => means.dot(&weight.t()) + bias,
        }
    }

    /// What `logit` multiplies the mean of `channel` by.
    pub fn head_weight(&self, logit: usize, channel: usize) -> f64 {
        match &self.head {
            Some((weight, _)) => weight[[logit, channel]],
            None => f64::from(u8::from(logit == channel)),
        }
    }

    /// The logits in `f64`, and the first-order error bound of an `f32` computation of each: the
    /// sum, over all elements of all stages, of that element's bound times how much the logit
    /// changes with it.
    pub fn exact_logits(&self) -> (Array2<f64>, Array2<f64>) {
        let mut x = self.x.clone();
        let mut traces = Vec::new();
        for stage in &self.stages {
            let (z, bound) = stage.solve(&x);
            x = z.mapv(|z| z.max(0.0));
            traces.push((stage, z, bound));
        }
        let (_, channels, rows, cols) = x.dim();
        let pixels = (rows * cols) as f64;

        // The pooling's own roundings, and the head's.
        let absolute = Self {
            head: self.head.as_ref().map(|(weight, bias)| (weight.abs(), bias.abs())),
            stages: Vec::new(),
            x: self.x.clone(),
            logits: self.logits.clone(),
        };
        let mut bounds = absolute.pool(&x) * gamma::<f32>(rows * cols + channels + 2);
        for (logit, mut bounds) in bounds.columns_mut().into_iter().enumerate() {
            let share = |(_, c, _, _)| self.head_weight(logit, c) / pixels;
            let mut dx = Array4::from_shape_fn(x.raw_dim(), share);
            for (index, (stage, z, bound)) in traces.iter().enumerate().rev() {
                dx.zip_mut_with(z, |dx, &z| *dx *= f64::from(u8::from(z > 0.0)));
                let changes = (dx.abs() * bound).sum_axis(Axis(3)).sum_axis(Axis(2));
                bounds += &changes.sum_axis(Axis(1));
                if index > 0 {
                    dx = stage.input_gradient(dx);
                }
            }
        }
        (self.pool(&x), bounds)
    }

    /// Asserts that `f32` computations of the logits are within their error bounds.
    pub fn assert_logits(&self, computations: &[(&str, Array2<f64>)]) {
        let (exact, bounds) = self.exact_logits();
        let largest = exact.iter().fold(0.0, |largest: f64, logit| largest.max(logit.abs()));
        assert!(bounds.iter().all(|&bound| bound < 0.003 * largest), "bounds that say something");
        for (what, got) in computations {
            assert_eq!(got.shape(), exact.shape(), "{what}");
            for ((index, &exact), bound) in exact.indexed_iter().zip(&bounds) {
                let got = got[index];
                assert!((got - exact).abs() <= *bound, "{what} {index:?}: {got}, in f64 {exact}");
            }
        }
    }
}
