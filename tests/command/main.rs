//! The command `do-conv` as a user has it.

mod fold;
mod inspect;
mod names;
mod shell;
mod unfold;
mod whole;
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use do_conv::checkpoint::{Checkpoint, Dtype, SaveOptions, Tensor};

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_do-conv"));
    command.current_dir(folder).env_remove("COLUMNS");
    command
}

fn do_conv(arguments: &[&str], folder: &Path) -> Output {
    command(folder).args(arguments).output().unwrap()
}

/// The output of a command that must succeed.
#[track_caller]
fn stdout(arguments: &[&str], folder: &Path) -> String {
    let output = do_conv(arguments, folder);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "no bar without a terminal");
    String::from_utf8(output.stdout).unwrap()
}

/// The error of a command that must fail with that status, and write nothing.
#[track_caller]
fn failure(status: i32, arguments: &[&str], folder: &Path) -> String {
    let before = files(folder);
    let output = do_conv(arguments, folder);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}");
    assert_eq!(files(folder), before);
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

/// The error of a command that must fail, and write nothing.
#[track_caller]
fn stderr(arguments: &[&str], folder: &Path) -> String {
    failure(1, arguments, folder)
}

/// The files in a folder, with their contents; of folders there is only the name.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        paths.map(|path| (path.clone(), fs::read(path).unwrap_or_default())).collect();
    files.sort();
    files
}

/// The names of the files in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn tensor(shape: &[usize], value: impl FnMut(usize) -> f32) -> Tensor {
    let elements: usize = shape.iter().product();
    let bytes: Vec<u8> = (0..elements).map(value).flat_map(f32::to_le_bytes).collect();
    Tensor::new(Dtype::F32, shape, &bytes).unwrap()
}

/// A folder with a checkpoint `in`: a layer of 1×4 taps whose `D` is the identity, one of four groups
/// that pairs as PyTorch does, and a batch normalisation.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("a.W", tensor(&[2, 3, 6], |index| index as f32));
    checkpoint.insert("a.D", tensor(&[3, 6, 6], |_| 0.0));
    checkpoint.insert("g.W", tensor(&[8, 2, 4], |index| index as f32));
    checkpoint.insert("g.D", tensor(&[8, 4, 4], |_| 0.5));
    checkpoint.insert("g.d_diag", tensor(&[8, 4, 4], |index| f32::from(index % 16 % 5 == 0)));
    for (part, value) in [("running_mean", 1.0), ("running_var", 4.0)] {
        checkpoint.insert(format!("bn.{part}"), tensor(&[2], |_| value));
    }
    checkpoint.save(folder.path().join("in"), &SaveOptions::default()).unwrap();
    folder
}

/// A checkpoint of one 1×1 layer.
fn save_small(path: &Path) {
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("a.W", tensor(&[2, 3, 1], |index| index as f32));
    checkpoint.save(path, &SaveOptions::default()).unwrap();
}
