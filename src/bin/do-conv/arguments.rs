//! What the command can be told.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::settings::{Reading, pair};

/// Looks into checkpoints with DO-Conv layers (arXiv 2006.12030), and folds these into plain
/// convolutions: safetensors, PyTorch's .pth and .pt, NumPy's .npz.
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
    /// Writes checkpoints (safetensors) with a plain kernel for every DO-Conv layer, each checked on
    /// random input.
    ///
    /// Inputs stay as they are. All outputs and the report appear together once all is well, or none
    /// does.
    Fold(Fold),
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
    /// A checkpoint (safetensors, .pth, .pt or .npz, told by its content) and the safetensors file to
    /// write, or with --out-dir checkpoints only.
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
    /// Folds the batch normalisation BN into the layer CONV before it. BN's tensors are left out, and
    /// CONV has a bias.
    #[arg(long, value_name = "CONV=BN", value_parser = pair)]
    pub fold_batch_norm: Vec<(String, String)>,
    /// What batch normalisations add to the variance.
    #[arg(long, default_value_t = 1e-5)]
    pub eps: f64,
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
  do-conv fold trained.pth --dry-run
  do-conv fold trained.pth folded.safetensors --force --report report.json
  do-conv fold run1.pth run2.pth --out-dir folded";
