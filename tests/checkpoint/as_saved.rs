//! Checkpoints as training scripts really save them: what `tests/data/as_saved/manifest.json`, which
//! Python writes with them, says must come of each.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process::Command;
use std::{fs, str};

use do_conv::Error;
use do_conv::checkpoint::{Checkpoint, Dtype, FoldOptions, LayerOptions, OpenOptions};
use serde::Deserialize;

use super::data;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    arrays: BTreeMap<usize, Array>,
    files: BTreeMap<String, Vec<Check>>,
}

/// A tensor's element type, or none for a kernel, its shape and its numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Array {
    Tensor(String, Vec<usize>, Vec<Number>),
    Kernel(Vec<usize>, Vec<Number>),
}

/// A number that JSON has, a truth value, or the name of one that JSON hasn't.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Value(f64),
    Truth(bool),
    Name(String),
}

/// A file opened with these options: one of the outcomes must come of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    #[serde(default)]
    options: Options,
    outcomes: Vec<Outcome>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Options {
    key: Option<String>,
    strip_prefix: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Taken(Taken),
    Refused(Refused),
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = [("key", &self.key), ("strip_prefix", &self.strip_prefix)];
        options.into_iter().try_for_each(|(name, option)| match option {
            Some(option) => write!(f, ", {name} {option:?}"),
            None => Ok(()),
        })
    }
}

/// What is there of an opened file; `tensors` and `kernels` are numbers of arrays.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Taken {
    tensors: BTreeMap<String, usize>,
    key: Option<String>,
    prefix: String,
    /// Names, and words that are said of each.
    passed_over: BTreeMap<String, String>,
    layers: Vec<String>,
    kernels: BTreeMap<String, usize>,
    refused_fold: Option<Refused>,
}

/// The kind of an error and words in its text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    kind: String,
    #[serde(default)]
    words: Vec<String>,
}

/// What is wrong, a line each.
type Faults = Vec<String>;

impl Number {
    fn value(&self) -> f64 {
        match self {
            Self::Value(value) => *value,
            Self::Truth(truth) => f64::from(u8::from(*truth)),
            Self::Name(name) => name.parse().unwrap(),
        }
    }
}

impl Array {
    fn numbers(&self) -> Vec<f64> {
        let (Self::Tensor(_, _, numbers) | Self::Kernel(_, numbers)) = self;
        numbers.iter().map(Number::value).collect()
    }
}

impl Manifest {
    /// Checks every file in the folder; gives all faults at once.
    fn faults(&self, folder: &Path) -> Faults {
        let mut faults = Faults::new();
        for (file, checks) in &self.files {
            for check in checks {
                // Whatever is wrong with one file, the others are looked at.
                let work = AssertUnwindSafe(|| self.check(&folder.join(file), check));
                let of_check = panic::catch_unwind(work).unwrap_or(vec!["a panic".into()]);
                let what = format!("{file}{}", check.options);
                faults.extend(of_check.iter().map(|fault| format!("{what}: {fault}")));
            }
        }
        faults
    }

    /// The faults of the outcome that has the fewest.
    fn check(&self, path: &Path, check: &Check) -> Faults {
        let mut options = OpenOptions::default();
        if let Some(key) = &check.options.key {
            options = options.key(key);
        }
        if let Some(prefix) = &check.options.strip_prefix {
            options = options.strip_prefix(prefix);
        }
        let opened = Checkpoint::open_with(path, &options);
        let outcomes = check.outcomes.iter().map(|outcome| match (outcome, &opened) {
            (Outcome::Taken(taken), Ok(checkpoint)) => self.compare(taken, checkpoint),
            (Outcome::Taken(_), Err(error)) => vec![error.to_string()],
            (Outcome::Refused(refused), Err(error)) => refused.compare(error),
            (Outcome::Refused(refused), Ok(checkpoint)) => {
                vec![format!("{} expected, got {:?}", refused.kind, checkpoint.opened())]
            }
        });
        outcomes.min_by_key(Vec::len).unwrap()
    }

    fn compare(&self, taken: &Taken, checkpoint: &Checkpoint) -> Faults {
        let mut faults = Faults::new();
        let opened = checkpoint.opened();
        expect(&mut faults, "key", &taken.key, &opened.key);
        expect(&mut faults, "prefix", &taken.prefix, &opened.prefix);
        faults.extend(taken.compare_passed_over(checkpoint));
        let names: Vec<&str> = taken.tensors.keys().map(String::as_str).collect();
        let got: Vec<&str> = checkpoint.tensors().map(|(name, _)| name).collect();
        expect(&mut faults, "names", &names, &got);
        for (name, index) in &taken.tensors {
            if checkpoint.get(name).is_some() {
                faults.extend(self.arrays[index].compare(checkpoint, name));
            }
        }
        if faults.is_empty() {
            faults.extend(self.compare_layers(taken, checkpoint));
        }
        faults
    }

    fn compare_layers(&self, taken: &Taken, checkpoint: &Checkpoint) -> Faults {
        let layers = match checkpoint.layers(&LayerOptions::default()) {
            Ok(layers) => layers,
            Err(error) => return vec![error.to_string()],
        };
        let mut faults = Faults::new();
        let names: Vec<&str> = layers.iter().map(|layer| layer.name()).collect();
        expect(&mut faults, "layers", &taken.layers[..], &names[..]);
        let checked = checkpoint.check_fold(&FoldOptions::default());
        match (&taken.refused_fold, checked) {
            (Some(refused), Err(error)) => faults.extend(refused.compare(&error)),
            (Some(refused), Ok(_)) => {
                faults.push(format!("fold: {} expected, got none", refused.kind))
            }
            (None, _) if taken.kernels.is_empty() => {}
            (None, Err(error)) => faults.push(error.to_string()),
            (None, Ok(_)) => faults.extend(self.compare_kernels(taken, checkpoint)),
        }
        faults
    }

    fn compare_kernels(&self, taken: &Taken, checkpoint: &Checkpoint) -> Faults {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("folded");
        checkpoint.fold(&path, &FoldOptions::default()).unwrap();
        let folded =
            Checkpoint::open_with(&path, &OpenOptions::default().strip_prefix("")).unwrap();
        let mut faults = Faults::new();
        for (layer, index) in &taken.kernels {
            let name = if layer.is_empty() { "weight" } else { &format!("{layer}.weight") };
            match folded.get(name) {
                Some(_) => faults.extend(self.arrays[index].compare(&folded, name)),
                None => faults.push(format!("{name}: a kernel expected, got none")),
            }
        }
        faults
    }
}

impl Taken {
    /// Every name that was passed over is expected, or of a part of what is, and none is missing.
    fn compare_passed_over(&self, checkpoint: &Checkpoint) -> Faults {
        let mut faults = Faults::new();
        let passed_over = &checkpoint.opened().passed_over;
        let belongs = |name: &str, whole: &str| {
            name == whole || name.strip_prefix(whole).is_some_and(|rest| rest.starts_with('.'))
        };
        for (whole, words) in &self.passed_over {
            match passed_over.iter().find(|other| belongs(&other.name, whole)) {
                None => {
                    faults.push(format!("{whole}: expected to be passed over, and isn't named"))
                }
                Some(other) if other.name == *whole && !other.what.contains(words) => {
                    faults.push(format!("{whole}: {words:?} expected, got {:?}", other.what));
                }
                Some(_) => {}
            }
        }
        for other in passed_over {
            if !self.passed_over.keys().any(|whole| belongs(&other.name, whole)) {
                faults.push(format!("{}: passed over as {:?}", other.name, other.what));
            }
        }
        faults
    }
}

impl Refused {
    fn compare(&self, error: &Error) -> Faults {
        let (kind, text) = (format!("{:?}", error.kind), error.to_string());
        let missing = self.words.iter().filter(|words| !text.contains(&***words));
        let mut faults: Faults =
            missing.map(|words| format!("{words:?} expected in: {text}")).collect();
        if kind != self.kind {
            faults.push(format!("{} expected, got {kind}: {text}", self.kind));
        }
        faults
    }
}

impl Array {
    /// Compares with a tensor, whose numbers must be the same, or with a kernel, which is rounded once.
    fn compare(&self, checkpoint: &Checkpoint, name: &str) -> Faults {
        let mut faults = Faults::new();
        let Some(tensor) = checkpoint.get(name) else { return vec![format!("{name}: none")] };
        let (shape, roundoff) = match self {
            Self::Tensor(dtype, shape, _) => {
                expect(&mut faults, name, dtype, &format!("{:?}", tensor.dtype()));
                (shape, 0.0)
            }
            Self::Kernel(shape, _) => (shape, unit_roundoff(tensor.dtype())),
        };
        expect(&mut faults, name, &shape[..], tensor.shape());
        let got = match checkpoint.read(name) {
            Ok(bytes) => numbers(tensor.dtype(), &bytes),
            Err(error) => return vec![error.to_string()],
        };
        let expected = self.numbers();
        let same = |(expected, got): (&f64, &f64)| {
            expected == got
                || expected.is_nan() && got.is_nan()
                || (expected - got).abs() <= expected.abs() * roundoff
        };
        if expected.len() != got.len() || !expected.iter().zip(&got).all(same) {
            faults.push(format!("{name}: expected {expected:?}, got {got:?}"));
        }
        faults
    }
}

fn expect<T: PartialEq<U> + Debug + ?Sized, U: Debug + ?Sized>(
    faults: &mut Faults,
    what: &str,
    expected: &T,
    got: &U,
) {
    if expected != got {
        faults.push(format!("{what}: expected {expected:?}, got {got:?}"));
    }
}

/// Half the distance of 1 and the next number, and a little for the oracle's own rounding.
fn unit_roundoff(dtype: Dtype) -> f64 {
    let bits = match dtype {
        Dtype::F16 => 11,
        Dtype::BF16 => 8,
        _ => 24,
    };
    0.5f64.powi(bits) * (1.0 + 1e-6)
}

/// The numbers of little-endian elements: of complex ones both parts, of one-byte floats the byte.
fn numbers(dtype: Dtype, bytes: &[u8]) -> Vec<f64> {
    fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.chunks_exact(N).map(|element| number(element.try_into().unwrap())).collect()
    }
    match dtype {
        Dtype::F16 => each(bytes, |bytes| half::f16::from_le_bytes(bytes).to_f64()),
        Dtype::BF16 => each(bytes, |bytes| half::bf16::from_le_bytes(bytes).to_f64()),
        Dtype::F32 | Dtype::C64 => each(bytes, |bytes| f32::from_le_bytes(bytes).into()),
        Dtype::F64 => each(bytes, f64::from_le_bytes),
        Dtype::I8 => each(bytes, |bytes| i8::from_le_bytes(bytes).into()),
        Dtype::I16 => each(bytes, |bytes| i16::from_le_bytes(bytes).into()),
        Dtype::I32 => each(bytes, |bytes| i32::from_le_bytes(bytes).into()),
        Dtype::I64 => each(bytes, |bytes| i64::from_le_bytes(bytes) as f64),
        Dtype::U16 => each(bytes, |bytes| u16::from_le_bytes(bytes).into()),
        Dtype::U32 => each(bytes, |bytes| u32::from_le_bytes(bytes).into()),
        Dtype::U64 => each(bytes, |bytes| u64::from_le_bytes(bytes) as f64),
        _ => each(bytes, |[byte]| byte.into()),
    }
}

/// Checks all files of a folder by its manifest.
fn assert_as_the_manifest_says(folder: &Path) {
    let manifest = fs::read(folder.join("manifest.json")).unwrap();
    let manifest: Manifest = serde_json::from_slice(&manifest).unwrap();
    assert!(manifest.files.len() > 150, "{}", manifest.files.len());
    let faults = manifest.faults(folder);
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn every_kept_file_is_opened_as_its_manifest_says() {
    assert_as_the_manifest_says(data("as_saved").as_ref());
}

#[test]
fn every_file_made_anew_is_opened_as_its_manifest_says() {
    let python = std::env::var("DO_CONV_PYTHON").unwrap_or_else(|_| "python3".into());
    let imports = Command::new(&python).args(["-c", "import torch, safetensors"]).output();
    if !imports.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no Python with torch (DO_CONV_PYTHON names one)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = data("make_checkpoints.py");
    let output = Command::new(python).args(["-B", &script]).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", str::from_utf8(&output.stderr).unwrap());
    assert_as_the_manifest_says(folder.path());
}
