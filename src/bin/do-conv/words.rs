//! Refusals of the library, in the words of the command line.

use std::path::Path;

use do_conv::checkpoint::{Checkpoint, LayerInfo};
use do_conv::{Error, ErrorKind};

use crate::failure::Failure;
use crate::nearest::nearest;
use crate::settings::{Format, Reading};
use crate::text::{bytes, listed, shown};

/// What was at work.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    pub reading: &'a Reading,
    pub input: &'a Path,
    /// What the input holds, once that is known.
    pub checkpoint: Option<&'a Checkpoint>,
}

impl Work<'_> {
    /// The refusal as a sentence about the input.
    pub fn failure(&self, error: &Error) -> Failure {
        let Error { kind, operation, field, got, .. } = error;
        match (kind, *operation, &**field) {
            (ErrorKind::File, "Checkpoint::open", _) => self.says(&format!("can't be read: {got}")),
            (ErrorKind::Memory, ..) => {
                self.says(&format!("{field}: there is no room for it in memory"))
            }
            (ErrorKind::Overflow, _, "max_bytes") => self.too_large(error),
            (ErrorKind::Ambiguous, "Checkpoint::open", _) => {
                let sentence = format!("expected {}, got {got}", error.expected);
                self.says(&sentence).hint("--key KEY chooses, --key . takes the whole file")
            }
            (_, "Checkpoint::unfold", _) => self.unfold(error),
            (ErrorKind::Config, _, "key") => self.no_dictionary(error),
            (ErrorKind::Config, _, "kernel_sizes") => self.no_layer("--kernel", got),
            (ErrorKind::Config, _, "skip") => self.no_layer("--skip", got),
            (ErrorKind::Config, _, "batch_norms") => self.batch_norm(error),
            (ErrorKind::Config, _, "rename") => {
                let text = format!("--rename: there is W to rename, and bias, but no {got}");
                self.says(&text).hint("--rename W=kernel")
            }
            (ErrorKind::Config, _, "layers") => self.no_layers(),
            (ErrorKind::Ambiguous, ..) => self.ambiguous(error),
            (_, "Checkpoint::layers", _) => self
                .expected(error)
                .hint("--format says whose checkpoint it is; --skip NAME leaves a layer as it is"),
            _ => self.expected(error),
        }
    }

    fn says(&self, text: &str) -> Failure {
        Failure::of(self.input, text)
    }

    /// What was expected and what came, of a tensor, a layer or an option.
    fn expected(&self, Error { field, expected, got, .. }: &Error) -> Failure {
        let sentence = format!("expected {expected}, got {got}");
        match &**field {
            "format" => self.says(&sentence),
            "metadata" => self.says(&sentence).hint(
                "an output named .safetensors keeps it; unfold --identity tells the pairing too",
            ),
            field if field == library_path(self.input) => self.says(&sentence),
            "eps" | "eps_of" | "strip_prefix" => {
                self.says(&format!("--{}: {sentence}", field.replace('_', "-")))
            }
            "skip_batch_norms" => self.says(&format!("--skip-batch-norm: {sentence}")),
            _ => self.says(&format!("{field}: {sentence}")),
        }
    }

    fn too_large(&self, Error { got, .. }: &Error) -> Failure {
        let size = got.parse().map_or_else(|_| got.clone(), bytes);
        self.says(&format!("it unpacks to {size}, more than --max-bytes allows"))
            .hint(format!("--max-bytes {got} if the file can be trusted"))
    }

    /// Settings have the names of their options.
    fn unfold(&self, error: &Error) -> Failure {
        let Error { kind, field, expected, got, .. } = error;
        let sentence = format!("expected {expected}, got {got}");
        match (kind, &**field) {
            (ErrorKind::Config, "layers") => self.says(&format!("--layer: {sentence}")),
            (ErrorKind::Config, "skip" | "d_mul" | "groups" | "depthwise" | "identity") => {
                self.says(&format!("--{}: {sentence}", field.replace('_', "-")))
            }
            (ErrorKind::Ambiguous, name) => self
                .says(&format!("{name}: {sentence}"))
                .hint(format!("--depthwise {name} or --groups {name}=G")),
            _ => self.expected(error),
        }
    }

    fn no_dictionary(&self, Error { expected, got, .. }: &Error) -> Failure {
        if expected.starts_with("none") {
            return self.says("--key: only PyTorch files have dictionaries in dictionaries");
        }
        let Some(key) = &self.reading.key else { return self.says(&format!("--key: {got}")) };
        let there = self.reading.dictionaries(self.input);
        let failure = self.says(&format!("--key: there is no dictionary {}", shown(key)));
        propose(failure, key, &there, "the dictionaries are")
    }

    fn no_layer(&self, option: &str, name: &str) -> Failure {
        let failure = self.says(&format!("{option}: there is no DO-Conv layer {name}"));
        propose(failure, name, &self.layer_names(), "the layers are")
    }

    fn batch_norm(&self, error: &Error) -> Failure {
        let Error { expected, got, .. } = error;
        if expected.starts_with("the name of a DO-Conv layer") {
            return self.no_layer("--fold-batch-norm", got);
        }
        if expected.starts_with("a batch normalisation") {
            let text = format!("--fold-batch-norm: there is no batch normalisation {got}");
            let there = self.batch_norm_names();
            return propose(self.says(&text), got, &there, "the batch normalisations are");
        }
        self.says(&format!("--fold-batch-norm: expected {expected}, got {got}"))
    }

    fn no_layers(&self) -> Failure {
        let failure = self.says("there is no DO-Conv layer in it");
        match self.reading.format {
            Format::Pytorch => {
                failure.hint("--format tensorflow or --format gluon for checkpoints of these")
            }
            _ => failure.hint("--format says whose checkpoint it is"),
        }
    }

    /// What the first layer that the fold comes to is in want of.
    fn ambiguous(&self, error: &Error) -> Failure {
        let layers = self.layers();
        let is_open =
            |layer: &&LayerInfo| layer.kernel_size().is_none() || layer.pairing().is_none();
        let layer = layers.iter().find(is_open);
        match layer.map(|layer| (layer, layer.kernel_size(), layer.pairing())) {
            Some((layer, None, _)) => self.kernel_size(layer),
            Some((layer, _, None)) => self.pairing(layer),
            _ => self.expected(error).hint(
                "--fold-batch-norm CONV=BN says a pair, --skip-batch-norm CONV leaves one out",
            ),
        }
    }

    fn kernel_size(&self, layer: &LayerInfo) -> Failure {
        const MOST: usize = 8;
        let taps = layer.taps();
        let rows: Vec<_> = (1..=taps).filter(|rows| taps.is_multiple_of(*rows)).collect();
        // The middle of the list has the likeliest.
        let first = rows.len().saturating_sub(MOST) / 2;
        let sizes = rows.iter().skip(first).take(MOST);
        let sizes: Vec<_> = sizes.map(|&rows| size([rows, taps / rows])).collect();
        let name = shown(layer.name());
        let sizes = listed(&sizes, "or");
        let text = format!("{name}: its kernel size can't be told from {taps} taps: {sizes}");
        let failure = self.says(&text);
        let likely = rows.iter().rev().find(|&&rows| rows <= taps / rows).copied().unwrap_or(1);
        failure.hint(format!("--kernel {name}={}", size([likely, taps / likely])))
    }

    fn pairing(&self, layer: &LayerInfo) -> Failure {
        let name = shown(layer.name());
        let groups = layer.groups();
        let text = format!(
            "{name}: nothing in the file tells how D and W are paired, which matters for its {groups} \
             groups of several inputs or outputs"
        );
        self.says(&text).hint(
            "--pairing pytorch if the published PyTorch code trained it, input-channel if do-conv's \
             layers or adapters did",
        )
    }

    fn layers(&self) -> Vec<LayerInfo> {
        let options = self.reading.layer_options().ok();
        let layers = self.checkpoint.zip(options);
        layers
            .and_then(|(checkpoint, options)| checkpoint.layers(&options).ok())
            .unwrap_or_default()
    }

    /// The layers' names; where one is refused, those of what has a tensor `D`.
    fn layer_names(&self) -> Vec<String> {
        let Some(checkpoint) = self.checkpoint else { return Vec::new() };
        match checkpoint.layers(&self.reading.any_layers()) {
            Ok(layers) => layers.iter().map(|layer| layer.name().to_owned()).collect(),
            Err(_) => names_before(checkpoint, &["D"]),
        }
    }

    fn batch_norm_names(&self) -> Vec<String> {
        self.checkpoint
            .map(|checkpoint| names_before(checkpoint, &["running_mean", "moving_mean"]))
            .unwrap_or_default()
    }
}

/// The names of what has a tensor of one of these names.
fn names_before(checkpoint: &Checkpoint, parts: &[&str]) -> Vec<String> {
    let names = checkpoint.tensors().filter_map(|(name, _)| {
        let name = name.strip_suffix(":0").unwrap_or(name);
        let before = parts.iter().find_map(|part| name.strip_suffix(part))?;
        before.strip_suffix(['.', '/', '_'])
    });
    names.map(str::to_owned).collect()
}

/// Adds what may have been meant by a name, or what there is, if that isn't much.
fn propose(failure: Failure, name: &str, there: &[String], are: &str) -> Failure {
    const MOST: usize = 8;
    let all = |names: &mut dyn Iterator<Item = &str>| names.map(shown).collect::<Vec<_>>();
    let near = nearest(name, there.iter().map(String::as_str));
    if !near.is_empty() {
        let near = listed(&all(&mut near.into_iter()), "or");
        return failure.hint(format!("did you mean {near}?"));
    }
    match there.len() {
        1..=MOST => {
            let there = listed(&all(&mut there.iter().map(String::as_str)), "and");
            failure.hint(format!("{are} {there}"))
        }
        _ => failure,
    }
}

/// A path as the library's errors have it.
fn library_path(path: &Path) -> String {
    path.display().to_string().escape_debug().to_string()
}

fn size([rows, cols]: [usize; 2]) -> String {
    format!("{rows}x{cols}")
}

/// The refusal of a file to be written, as a sentence about that.
pub fn unwritable(path: &Path, error: &Error) -> Failure {
    match error.kind {
        ErrorKind::Exists => Failure::of(path, "exists already").hint("--force replaces it"),
        ErrorKind::Config => {
            let Error { expected, got, .. } = error;
            Failure::of(path, &format!("expected {expected}, got {got}"))
                .hint("--output-format safetensors, pytorch or npz")
        }
        _ if error.expected.starts_with("a regular file") => {
            Failure::of(path, &format!("isn't a regular file, but {}", error.got))
        }
        _ => Failure::of(path, &format!("can't be written: {}", error.got)),
    }
}

/// Whether a refusal is about the file to be written.
pub fn is_unwritable(error: &Error) -> bool {
    let of_file = ["a file that can be written", "a regular file"];
    match error.kind {
        ErrorKind::Exists => true,
        ErrorKind::Config => error.expected.starts_with("the extension"),
        ErrorKind::File => of_file.iter().any(|start| error.expected.starts_with(start)),
        _ => false,
    }
}
