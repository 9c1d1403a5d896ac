//! What the command can be told.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use do_conv::Pairing;
use do_conv::checkpoint::{Checkpoint, Framework, LayerOptions, OpenOptions};

/// Looks into checkpoints with DO-Conv layers (arXiv 2006.12030), and folds these into plain
/// convolutions: safetensors, PyTorch's .pth and .pt, NumPy's .npz.
#[derive(Parser)]
#[command(version)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Lists the DO-Conv layers of a checkpoint.
    Inspect(Inspect),
    /// Writes a checkpoint (safetensors) with a plain kernel for every DO-Conv layer, each checked on
    /// random input. The input stays as it is, and without success there is no output.
    Fold(Fold),
}

#[derive(Args)]
pub struct Inspect {
    #[command(flatten)]
    pub input: Input,
}

#[derive(Args)]
pub struct Fold {
    #[command(flatten)]
    pub input: Input,
    /// The safetensors file to write.
    #[arg(value_name = "OUT", required_unless_present = "dry_run")]
    pub output: Option<PathBuf>,
    /// How folded kernels (W) or their biases (bias) are called; W=weight is what torch.nn.Conv2d
    /// loads, and the default.
    #[arg(long, value_name = "W=NAME", value_parser = pair)]
    pub rename: Vec<(String, String)>,
    /// Folds the batch normalisation BN into the layer CONV before it. BN's tensors are left out, and
    /// CONV has a bias.
    #[arg(long, value_name = "CONV=BN", value_parser = pair)]
    pub fold_batch_norm: Vec<(String, String)>,
    /// What batch normalisations add to the variance.
    #[arg(long, default_value_t = 1e-5)]
    pub eps: f64,
    /// Folds and checks, and writes nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Writes what was folded, and the checks, to a JSON file.
    #[arg(long, value_name = "FILE.json")]
    pub report: Option<PathBuf>,
    /// Overwrites existing files.
    #[arg(long)]
    pub force: bool,
}

/// A checkpoint, and how to read it.
#[derive(Args)]
pub struct Input {
    /// The checkpoint: safetensors, .pth, .pt or .npz, told by its content.
    #[arg(value_name = "FILE")]
    pub path: PathBuf,
    /// Whose DO-Conv code the checkpoint comes from: their keys, shapes and pairing.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Which slice of D goes with which of W in layers of several groups; the default is what the
    /// file says by its metadata or d_diag, else that of the format tensorflow or gluon.
    #[arg(long, value_enum)]
    pub pairing: Option<PairingName>,
    /// The rows and columns of a layer's kernel, needed where their product isn't a square.
    #[arg(long, value_name = "NAME=MxN", value_parser = kernel)]
    pub kernel: Vec<(String, [usize; 2])>,
    /// Leaves a layer as it is.
    #[arg(long, value_name = "NAME")]
    pub skip: Vec<String>,
    /// The dictionary of a PyTorch file that the state dict is in, as state_dict.
    #[arg(long)]
    pub key: Option<String>,
    /// Cuts this off the start of names, as module.
    #[arg(long, value_name = "PREFIX")]
    pub strip_prefix: Option<String>,
    /// The most bytes that all tensors may have [default: eight times the file's, and 1 MiB].
    #[arg(long, value_name = "N")]
    pub max_bytes: Option<u64>,
}

impl Input {
    pub fn open(&self) -> do_conv::Result<Checkpoint> {
        let mut options = OpenOptions::default();
        options.key.clone_from(&self.key);
        options.strip_prefix.clone_from(&self.strip_prefix);
        options.max_bytes = self.max_bytes;
        Checkpoint::open_with(&self.path, &options)
    }

    pub fn layer_options(&self) -> Result<LayerOptions, String> {
        let mut options = LayerOptions::default().framework(match self.format {
            Format::Pytorch => Framework::PyTorch,
            Format::Tensorflow => Framework::TensorFlow,
            Format::Gluon => Framework::Gluon,
        });
        options.pairing = self.pairing.map(|pairing| match pairing {
            PairingName::InputChannel => Pairing::InputChannel,
            PairingName::Pytorch => Pairing::PyTorch,
            PairingName::Tensorflow => Pairing::TensorFlow,
        });
        options.kernel_sizes = unique("--kernel", &self.kernel)?;
        options.skip = self.skip.iter().cloned().collect();
        Ok(options)
    }
}

#[derive(Clone, Copy, Default, ValueEnum)]
pub enum Format {
    /// W [O, n, S], D [I, MN, S], d_diag, bias.
    #[default]
    Pytorch,
    /// kernel [S, n, O], D [MN, S, I], bias.
    Tensorflow,
    /// weight [O, n, M, N], D [MN, MN, I], bias.
    Gluon,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum PairingName {
    /// The channel that W[o, i] reads.
    InputChannel,
    /// (o mod g)·n + i, as the published PyTorch code computes.
    Pytorch,
    /// i·g + (o div r), as the published TensorFlow and GluonCV code computes.
    Tensorflow,
}

/// What an option was told for each name.
pub fn unique<T: Clone>(option: &str, told: &[(String, T)]) -> Result<BTreeMap<String, T>, String> {
    let mut by_name = BTreeMap::new();
    for (name, value) in told {
        if by_name.insert(name.clone(), value.clone()).is_some() {
            return Err(format!("{option} twice for {}", name.escape_debug()));
        }
    }
    Ok(by_name)
}

/// Two names with an equals sign between.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('=') {
        Some((from, to)) if !to.is_empty() => Ok((from.to_owned(), to.to_owned())),
        _ => Err("expected two names with = between".to_owned()),
    }
}

fn kernel(text: &str) -> Result<(String, [usize; 2]), String> {
    let parsed = text.rsplit_once('=').and_then(|(name, size)| {
        let (rows, cols) = size.split_once('x')?;
        Some((name.to_owned(), [rows.parse().ok()?, cols.parse().ok()?]))
    });
    parsed.ok_or_else(|| "expected a name and a kernel size, as conv1=3x5".to_owned())
}
