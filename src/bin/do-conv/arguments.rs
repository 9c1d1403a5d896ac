//! What the command can be told.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::settings::{
    FileFormatName, Format, LayoutName, Reading, TargetName, numbered, pair, pair_or_auto,
};

/// Looks into checkpoints with DO-Conv layers (arXiv 2006.12030), folds these into plain convolutions,
/// makes them of plain ones, and compares: safetensors, PyTorch's .pth and .pt, NumPy's .npz.
#[derive(Parser)]
#[command(version, name = "do-conv", bin_name = "do-conv")]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Lists the DO-Conv layers of checkpoints.
    Inspect(Inspect),
    /// Writes checkpoints with a plain kernel for every DO-Conv layer, each checked on
    /// random input.
    ///
    /// Inputs stay as they are. All outputs and the report appear together once all is well, or none
    /// does.
    Fold(Fold),
    /// Writes a checkpoint with a DO-Conv layer for every plain convolution of more than one tap: the
    /// same function, to be trained on.
    Unfold(Unfold),
    /// Tells whether two checkpoints' layers compute the same, up to the rounding of their elements: exit
    /// status 0 if they do, 1 if not, 2 where that can't be told.
    Verify(Verify),
    /// Prints a script that completes the command's arguments in a shell.
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Prints the command's man page, or writes those of all subcommands to a folder.
    #[command(after_help = MAN)]
    Man {
        /// The folder, as /usr/local/share/man/man1.
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
    },
}

const COMPLETIONS: &str = "\
Examples:
  do-conv completions bash > ~/.local/share/bash-completion/completions/do-conv
  do-conv completions zsh > ~/.zfunc/_do-conv
  do-conv completions fish > ~/.config/fish/completions/do-conv.fish";

const MAN: &str = "\
Examples:
  do-conv man | man -l -
  do-conv man ~/.local/share/man/man1";

#[derive(Args)]
#[command(after_help = INSPECT)]
pub struct Inspect {
    /// The checkpoints: safetensors, .pth, .pt or .npz, told by their content.
    #[arg(value_name = "FILE", required = true)]
    pub inputs: Vec<PathBuf>,
    /// Prints a JSON document: an object of one file, an array of several.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub reading: Reading,
}

const INSPECT: &str = "\
Examples:
  do-conv inspect trained.pth
  do-conv inspect run1.pth run2.pth
  do-conv inspect trained.pth --json

Tables are as wide as the terminal, or as COLUMNS says; where neither is known they are as wide as they
get.";

#[derive(Args)]
#[command(after_help = FOLD, override_usage = "\
do-conv fold [OPTIONS] IN OUT
       do-conv fold [OPTIONS] IN... --out-dir DIR
       do-conv fold [OPTIONS] IN [OUT] --dry-run")]
pub struct Fold {
    /// A checkpoint (safetensors, .pth, .pt or .npz, told by its content) and the file to write, whose
    /// name says the format (.safetensors or none, .pth, .pt, .npz), or with --out-dir checkpoints only.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Folds every FILE into this folder, under its own name with the output's extension. The folder is
    /// made if need be.
    #[arg(long, value_name = "DIR")]
    pub out_dir: Option<PathBuf>,
    #[command(flatten)]
    pub reading: Reading,
    /// How folded kernels (W) or their biases (bias) are called; W=weight is what torch.nn.Conv2d
    /// loads, and the default.
    #[arg(long, value_name = "W=NAME", value_parser = pair)]
    pub rename: Vec<(String, String)>,
    /// Folds the batch normalisation BN into the convolution CONV before it, also a plain one; both may
    /// have *, as layer*.conv*=layer*.bn*. auto finds the pairs by their names, and refuses doubtful ones.
    /// BN's tensors are left out, and CONV has a bias.
    #[arg(long, value_name = "CONV=BN|auto", value_parser = pair_or_auto)]
    pub fold_batch_norm: Vec<Option<(String, String)>>,
    /// Convolutions that auto leaves without their batch normalisation; may have *.
    #[arg(long, value_name = "CONV")]
    pub skip_batch_norm: Vec<String>,
    /// What batch normalisations add to the variance [default: 1e-3 of Keras' and TensorFlow's, which have
    /// a moving_variance, 1e-5 of others].
    #[arg(long, allow_negative_numbers = true)]
    pub eps: Option<f64>,
    /// The same of one batch normalisation, or of those of a pattern with *.
    #[arg(long, value_name = "BN=EPS", value_parser = numbered::<f64>)]
    pub eps_of: Vec<(String, f64)>,
    /// The format to write, whatever the file's name.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub output_format: Option<FileFormatName>,
    /// The order of the axes of folded kernels.
    #[arg(long, value_enum, default_value_t)]
    pub layout: LayoutName,
    /// Folds and checks, and writes nothing but the report, if one is asked for.
    #[arg(long)]
    pub dry_run: bool,
    /// Writes what was chosen and folded, and the checks, to a JSON file: an object, or with --out-dir
    /// an array of one for each FILE.
    #[arg(long, value_name = "FILE.json")]
    pub report: Option<PathBuf>,
    /// Replaces existing files. They keep their permissions; a symbolic link stays, and the file that it
    /// names is replaced; other hard links keep the old contents.
    #[arg(long)]
    pub force: bool,
}

const FOLD: &str = "\
Examples:
  do-conv fold trained.pth folded.safetensors
  do-conv fold trained.pth folded.pth --fold-batch-norm auto
  do-conv fold trained.pth --dry-run
  do-conv fold trained.pth folded.safetensors --force --report report.json
  do-conv fold run1.pth run2.pth --out-dir folded";

#[derive(Args)]
#[command(after_help = UNFOLD)]
pub struct Unfold {
    /// The plain checkpoint: safetensors, .pth, .pt or .npz, told by its content.
    #[arg(value_name = "PLAIN")]
    pub input: PathBuf,
    /// The file to write, whose name says the format (.safetensors or none, .pth, .pt, .npz).
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
    /// What is to load it.
    #[arg(long = "for", value_enum, default_value_t)]
    pub target: TargetName,
    /// Convolutions to unfold; may have *. Without it, all of more than one tap.
    #[arg(long, value_name = "CONV")]
    pub layer: Vec<String>,
    /// Convolutions to leave as they are; may have *.
    #[arg(long, value_name = "CONV")]
    pub skip: Vec<String>,
    /// The depth multiplier S, at least the number of taps, which is the default; of all layers or, as
    /// CONV=S, of some.
    #[arg(long, value_name = "[CONV=]S", value_parser = numbered::<usize>)]
    pub d_mul: Vec<(String, usize)>,
    /// The groups of convolutions, which a checkpoint doesn't tell; CONV may have *.
    #[arg(long, value_name = "CONV=G", value_parser = numbered::<usize>)]
    pub groups: Vec<(String, usize)>,
    /// Convolutions of as many groups as outputs; may have *.
    #[arg(long, value_name = "CONV")]
    pub depthwise: Vec<String>,
    /// Writes the identity too, as the published PyTorch code's state dicts have it.
    #[arg(long)]
    pub identity: bool,
    /// Makes 1x1 convolutions layers with a W, too.
    #[arg(long)]
    pub pointwise: bool,
    /// Seeds what is drawn where S is no multiple of the taps.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// The dictionary of a PyTorch file that the state dict is in; . is the whole file.
    #[arg(long)]
    pub key: Option<String>,
    /// Cuts this off the start of names; an empty one cuts nothing.
    #[arg(long, value_name = "PREFIX")]
    pub strip_prefix: Option<String>,
    /// The most bytes that all tensors may have [default: eight times the file's, and 1 MiB].
    #[arg(long, value_name = "N")]
    pub max_bytes: Option<u64>,
    /// The format to write, whatever the file's name.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub output_format: Option<FileFormatName>,
    /// Replaces an existing file.
    #[arg(long)]
    pub force: bool,
}

const UNFOLD: &str = "\
Examples:
  do-conv unfold resnet18.pth start.pth --identity
  do-conv unfold mobilenet.pth start.safetensors --for do-conv --depthwise 'features.*.conv.0.0'
  do-conv unfold resnet18.pth start.pth --layer 'layer*.conv*' --d-mul 18";

#[derive(Args)]
#[command(after_help = VERIFY)]
pub struct Verify {
    /// A checkpoint.
    #[arg(value_name = "A")]
    pub input: PathBuf,
    /// The checkpoint to compare it with.
    #[arg(value_name = "B")]
    pub other: PathBuf,
    #[command(flatten)]
    pub reading: Reading,
    /// Whose DO-Conv code B comes from, if not A's.
    #[arg(long, value_enum)]
    pub other_format: Option<Format>,
    /// The dictionary that the state dict of B is in; --key is of A.
    #[arg(long, value_name = "KEY")]
    pub other_key: Option<String>,
    /// Prints a JSON document.
    #[arg(long)]
    pub json: bool,
}

const VERIFY: &str = "\
Examples:
  do-conv verify trained.pth folded.safetensors
  do-conv verify resnet18.pth start.pth --json";
