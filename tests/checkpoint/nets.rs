//! Networks under the keys that frameworks give them, with few channels, for folds of batch
//! normalisations; and what these folds must give.

use do_conv::checkpoint::{BatchNormSource, Checkpoint, FoldOptions, FoldReport};
use do_conv::{ErrorKind, Result};
use ndarray::{ArrayD, Axis};

use super::fold::fold;
use super::tensor;
use crate::common::Numbers;

/// How a framework calls the tensors of convolutions and batch normalisations.
#[derive(Clone, Copy)]
pub struct Keys {
    pub kernel: &'static str,
    pub bias: &'static str,
    /// Scale, shift, mean and variance.
    pub norm: [&'static str; 4],
    /// The kernel's axis of output channels.
    pub axis: usize,
}

pub const TORCH: Keys = Keys {
    kernel: ".weight",
    bias: ".bias",
    norm: [".weight", ".bias", ".running_mean", ".running_var"],
    axis: 0,
};

pub const BURN: Keys = Keys { norm: [".gamma", ".beta", ".running_mean", ".running_var"], ..TORCH };

pub const KERAS: Keys = Keys {
    kernel: "/kernel:0",
    bias: "/bias:0",
    norm: ["/gamma:0", "/beta:0", "/moving_mean:0", "/moving_variance:0"],
    axis: 3,
};

/// A network that is being put together.
pub struct Net {
    pub checkpoint: Checkpoint,
    pub keys: Keys,
    numbers: Numbers,
}

impl Net {
    pub fn new(keys: Keys) -> Self {
        Self { checkpoint: Checkpoint::new(), keys, numbers: Numbers::new(11) }
    }

    fn put(&mut self, key: String, shape: &[usize], least: f32) {
        let mut values = || self.numbers.integer(63) as f32 / 32.0;
        let values = tensor(shape, |_| if least > 0.0 { values().abs() + least } else { values() });
        self.checkpoint.insert(key, values);
    }

    /// A plain kernel of that shape.
    pub fn kernel(&mut self, name: &str, shape: &[usize]) {
        self.put(format!("{name}{}", self.keys.kernel), shape, 0.0);
    }

    /// A plain square kernel `[outputs, inputs, size, size]`, as the framework has it.
    pub fn conv(&mut self, name: &str, [outputs, inputs, size]: [usize; 3]) {
        match self.keys.axis {
            0 => self.kernel(name, &[outputs, inputs, size, size]),
            _ => self.kernel(name, &[size, size, inputs, outputs]),
        }
    }

    pub fn bias(&mut self, name: &str, channels: usize) {
        self.put(format!("{name}{}", self.keys.bias), &[channels], 0.0);
    }

    /// A 3×3 DO-Conv layer.
    pub fn do_conv(&mut self, name: &str, [outputs, inputs]: [usize; 2]) {
        self.put(format!("{name}.W"), &[outputs, inputs, 9], 0.0);
        self.put(format!("{name}.D"), &[inputs, 9, 9], 0.0);
    }

    pub fn norm(&mut self, name: &str, channels: usize) {
        for (part, least) in self.keys.norm.into_iter().zip([0.0, 0.0, 0.0, 0.5]) {
            self.put(format!("{name}{part}"), &[channels], least);
        }
        if self.keys.axis == 0 {
            self.checkpoint.insert(format!("{name}.num_batches_tracked"), tensor(&[], |_| 1.0));
        }
    }

    /// Convolutions, each with a batch normalisation.
    pub fn pairs(&mut self, pairs: &[(&str, &str, [usize; 3])]) {
        for (conv, norm, shape) in pairs {
            self.conv(conv, *shape);
            self.norm(norm, shape[0]);
        }
    }

    /// Folds, checks every number, and gives the pairs that were folded by their names.
    pub fn fold(&self, options: &FoldOptions) -> Result<FoldReport> {
        let (folded, report) = fold(&self.checkpoint, options)?;
        self.check(&folded, &report, options.eps);
        Ok(report)
    }

    /// That pairs are folded and all else is as it was.
    fn check(&self, folded: &Checkpoint, report: &FoldReport, eps: Option<f64>) {
        let Keys { kernel, bias, norm, axis } = self.keys;
        // As the frameworks have it whose names these are.
        let eps = eps.unwrap_or(if norm[3].contains("moving") { 1e-3 } else { 1e-5 });
        let mut left: Vec<String> =
            self.checkpoint.tensors().map(|(key, _)| key.to_owned()).collect();
        for pair in &report.batch_norms {
            let (conv, bn) = (&pair.layer, &pair.batch_norm);
            let values = |key: String| self.checkpoint.values(&key).unwrap();
            let [gamma, beta, mean, var] = norm.map(|part| values(format!("{bn}{part}")));
            left.retain(|key| !key.starts_with(&format!("{bn}{}", &norm[0][..1])));
            let own = self.checkpoint.values(&format!("{conv}{bias}"));
            let shift = folded.values(&format!("{conv}{bias}")).unwrap();
            left.retain(|key| *key != format!("{conv}{bias}"));
            for o in 0..mean.len() {
                let own = own.as_ref().map_or(0.0, |own| own[o]);
                let expected = gamma[o] * ((own - mean[o]) / (var[o] + eps).sqrt()) + beta[o];
                near(shift[o], expected, conv);
            }
            let key = format!("{conv}{kernel}");
            if !left.contains(&key) {
                left.retain(|key| !key.starts_with(&format!("{conv}.")));
                continue; // a DO-Conv layer
            }
            let (before, after) = (values(key.clone()), folded.values(&key).unwrap());
            assert_eq!(before.shape(), after.shape());
            let rows = before.axis_iter(Axis(axis)).zip(after.axis_iter(Axis(axis)));
            for (o, (before, after)) in rows.enumerate() {
                let root = (var[o] + eps).sqrt();
                let pairs = before.iter().zip(&after);
                pairs.for_each(|(before, after)| near(*after, before * gamma[o] / root, conv));
            }
            left.retain(|other| *other != key);
        }
        for key in left.iter().filter(|key| !key.ends_with(".W") && !key.ends_with(".D")) {
            let same: [ArrayD<f64>; 2] =
                [&self.checkpoint, folded].map(|of| of.values(key).unwrap());
            assert_eq!(same[0], same[1], "{key}");
        }
    }
}

/// One rounding to `f32`.
fn near(got: f64, expected: f64, name: &str) {
    let bound = 2f64.powi(-24) * expected.abs() * (1.0 + 1e-6) + 1e-14;
    assert!((got - expected).abs() <= bound, "{name}: {got} {expected}");
    assert_eq!(got, f64::from(got as f32));
}

/// Options that pair by names.
pub fn auto() -> FoldOptions {
    FoldOptions::default().auto_batch_norms(true)
}

/// The pairs of a report as lines `conv bn`, all of that source.
pub fn listed(report: &FoldReport, source: BatchNormSource) -> Vec<String> {
    let pairs = report.batch_norms.iter();
    pairs
        .map(|pair| {
            assert_eq!(pair.source, source, "{pair:?}");
            format!("{} {}", pair.layer, pair.batch_norm)
        })
        .collect()
}

/// That a network is folded by its names into just these pairs, lines `conv bn` in the order of names.
pub fn expect_auto(net: &Net, expected: &str, left: &[&str]) {
    let report = net.fold(&auto()).unwrap();
    let mut expected: Vec<_> = expected.lines().map(str::trim).collect();
    expected.retain(|line| !line.is_empty());
    expected.sort_unstable();
    assert_eq!(listed(&report, BatchNormSource::Auto), expected);
    assert_eq!(report.batch_norms_left, left);
    let plain = report.plain.iter().map(|plain| (plain.name.as_str(), plain.batch_norm.as_str()));
    let layers = report.layers.iter();
    let layers =
        layers.filter_map(|layer| Some((layer.name.as_str(), layer.batch_norm.as_deref()?)));
    let mut folded: Vec<_> = plain.chain(layers).map(|(conv, bn)| format!("{conv} {bn}")).collect();
    folded.sort_unstable();
    assert_eq!(folded, expected);
    assert!(report.plain.iter().all(|plain| plain.difference <= plain.bound));
}

/// That a fold by names is refused as ambiguous with that text.
pub fn refused_auto(net: &Net, options: &FoldOptions, field: &str, got: &str) {
    let error = net.fold(options).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Ambiguous, "{error}");
    assert_eq!((&*error.field, error.got.as_str()), (field, got));
}
