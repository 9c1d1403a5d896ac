//! Verifies that two checkpoints compute the same.

mod bound;
mod compare;
mod kernel;
pub mod options;
mod pair;
pub mod report;

use std::collections::{BTreeMap, BTreeSet};

use super::layers::framework::Framework;
use super::state::Checkpoint;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Operation, Result};
use compare::{compare_kernels, compare_tensors};
use options::VerifyOptions;
use pair::{Layer, Side};
use report::{VerifiedLayer, VerifyReport};

/// The operation that errors of verifying name.
const VERIFY: Operation = Operation("Checkpoint::verify");

impl Checkpoint {
    /// Whether two checkpoints compute the same, but for rounding.
    ///
    /// A layer `NAME` that is a DO-Conv layer on either side is compared by its kernel with the other's
    /// `NAME`, which may be a DO-Conv layer too or a plain one, `NAME.weight` `[O, n, M, N]` or, of
    /// TensorFlow, `NAME/kernel` `[M, N, n, O]`. Kernels are composed in `f64` by the definition, without
    /// the code that folds. All other tensors are compared by name. Metadata and identities don't
    /// matter. Batch normalisations are compared as any tensors, so one that was folded in shows as a
    /// difference.
    ///
    /// Elements are compared by value; a not-a-number is the same as one in its place on the other side,
    /// and `−0` the same as `0`. The bound of a kernel's element `k` is
    ///
    /// ```text
    /// Σ max(u·|k|, h) + (S + 2)·2⁻⁵²·Σ (|d_offset| + E)·|W|
    /// ```
    ///
    /// with one term `max(u·|k|, h)`, a rounding, for each element type that the two kernels have, of unit
    /// roundoff `u` and `h` half the distance of its subnormal numbers, and one last term for each side
    /// that is composed: a sum's errors here, and in whatever made the other side of it. Kernels that were
    /// composed in less than `f64` may differ by more. Other tensors of one type have to be equal; of two
    /// floating-point types, they may differ by a rounding to each.
    ///
    /// ```no_run
    /// use do_conv::checkpoint::{Checkpoint, VerifyOptions};
    ///
    /// let trained = Checkpoint::open("trained.pth")?;
    /// let folded = Checkpoint::open("folded.safetensors")?;
    /// let report = trained.verify(&folded, &VerifyOptions::default())?;
    /// for layer in report.layers.iter().filter(|layer| !layer.is_same()) {
    ///     println!("{}: {:?}", layer.name, layer.kernel.worst);
    /// }
    /// assert!(report.is_same());
    /// # Ok::<(), do_conv::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Checkpoint::layers`], of either side; [`ErrorKind::Ambiguous`] for a layer whose pairing isn't
    /// known, or for two plain kernels of a layer's name; [`ErrorKind::File`] and [`ErrorKind::Format`] for
    /// tensors that can't be read. A difference is no error.
    pub fn verify(&self, other: &Self, options: &VerifyOptions) -> Result<VerifyReport> {
        let layers = [self.layers(&options.layers)?, other.layers(&options.other_layers)?];
        let frameworks = [options.layers.framework, options.other_layers.framework];
        // Folded layers keep their separators, in a file that is of no framework any more.
        let separators = match frameworks.contains(&Framework::Gluon) {
            true => Framework::Gluon.separators(),
            false => Framework::PyTorch.separators(),
        };
        let here = Side::new(self, &layers[0], frameworks[0], separators);
        let there = Side::new(other, &layers[1], frameworks[1], separators);
        Verification::default().run(&here, &there)
    }
}

/// What has been compared.
#[derive(Default)]
struct Verification<'a> {
    layers: Vec<VerifiedLayer>,
    /// The keys of tensors here and there that are a layer's.
    compared: [BTreeSet<&'a str>; 2],
    /// The keys of tensors of layers that the other side hasn't got.
    only: [Vec<&'a str>; 2],
}

impl<'a> Verification<'a> {
    fn run(mut self, here: &Side<'a>, there: &Side<'a>) -> Result<VerifyReport> {
        let names: BTreeSet<&str> =
            here.layers.keys().chain(there.layers.keys()).copied().collect();
        for name in names {
            match [here.layer(VERIFY, name)?, there.layer(VERIFY, name)?] {
                [Some(one), Some(other)] => {
                    self.verify_layer(name, [one, other], [here.checkpoint, there.checkpoint])?;
                }
                found => {
                    for (side, layer) in found.into_iter().enumerate() {
                        self.missed(side, layer);
                    }
                }
            }
        }
        let [compared_here, compared_there] = &self.compared;
        let mut tensors = BTreeMap::new();
        let rest_here = here.checkpoint.tensors.iter();
        for (key, tensor) in rest_here.filter(|(key, _)| !compared_here.contains(&***key)) {
            match there.checkpoint.tensors.get(key) {
                Some(other) if !compared_there.contains(&**key) => {
                    let comparison = compare_tensors(VERIFY, [(key, tensor), (key, other)])?;
                    tensors.insert(key.clone(), comparison);
                }
                _ => self.only[0].push(key),
            }
        }
        let rest_there = there.checkpoint.tensors.keys().map(String::as_str);
        let is_new = |key: &&str| !compared_there.contains(key) && !tensors.contains_key(*key);
        self.only[1].extend(rest_there.filter(is_new));
        let [only_here, only_there] = self.only.map(|mut keys| {
            keys.sort_unstable();
            keys.into_iter().map(str::to_owned).collect()
        });
        Ok(VerifyReport { layers: self.layers, tensors, only_here, only_there })
    }

    /// Compares a layer of both sides.
    fn verify_layer(
        &mut self,
        name: &str,
        layers: [Layer<'a>; 2],
        checkpoints: [&'a Checkpoint; 2],
    ) -> Result<()> {
        let tensor = |side: usize, key: &'a str| (key, &checkpoints[side].tensors[key]);
        let keys = layers.each_ref().map(Layer::key);
        let dtypes = [tensor(0, keys[0]).1.dtype(), tensor(1, keys[1]).1.dtype()];
        let kernel = compare_kernels(VERIFY, &layers, dtypes)?;
        let biases = layers.each_ref().map(Layer::bias_key);
        let bias = match biases {
            [Some(here), Some(there)] => {
                Some(compare_tensors(VERIFY, [tensor(0, here), tensor(1, there)])?)
            }
            _ => None,
        };
        for (side, layer) in layers.iter().enumerate() {
            self.compared[side].extend(layer.kernel_keys());
            self.compared[side].extend(biases[side]);
            if bias.is_none() {
                self.only[side].extend(biases[side]);
            }
        }
        self.layers.push(VerifiedLayer {
            name: name.to_owned(),
            keys: keys.map(str::to_owned),
            kernel,
            bias,
        });
        Ok(())
    }

    /// Notes a layer of one side that the other hasn't got; its bias is compared as any tensor.
    fn missed(&mut self, side: usize, layer: Option<Layer<'a>>) {
        let Some(layer) = layer else { return };
        self.compared[side].extend(layer.kernel_keys());
        self.only[side].extend(layer.trained_keys());
    }
}
