//! Which files are read and which are written.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::arguments::Fold;
use crate::failure::Failure;
use crate::settings::FileFormatName;
use crate::text::shown_path;

/// The extension of what is written.
fn extension(arguments: &Fold) -> &'static str {
    match arguments.output_format {
        None | Some(FileFormatName::Safetensors) => "safetensors",
        Some(FileFormatName::Pytorch) => "pth",
        Some(FileFormatName::Npz) => "npz",
    }
}

/// An input, and where its fold goes, if anywhere.
pub struct Job<'a> {
    pub input: &'a Path,
    pub output: Option<PathBuf>,
}

/// What is to be folded; refuses files that would be one.
pub fn jobs(arguments: &Fold) -> Result<Vec<Job<'_>>, Failure> {
    let mut jobs = match &arguments.out_dir {
        Some(folder) => into_folder(&arguments.files, folder, extension(arguments))?,
        None => vec![into_file(arguments)?],
    };
    if arguments.dry_run {
        jobs.iter_mut().for_each(|job| job.output = None);
    }
    let inputs: Vec<_> = jobs.iter().map(|job| job.input).collect();
    let outputs = jobs.iter().filter_map(|job| job.output.as_deref());
    for path in outputs.clone().chain(arguments.report.as_deref()) {
        if inputs.iter().any(|input| is_same(path, input)) {
            return Err(Failure::of(path, "this is an input, which stays as it is"));
        }
    }
    if let Some(report) = &arguments.report
        && outputs.clone().any(|output| is_same(output, report))
    {
        return Err(Failure::of(report, "output and report in one file"));
    }
    Ok(jobs)
}

/// One input, and the file that its fold goes to.
fn into_file(arguments: &Fold) -> Result<Job<'_>, Failure> {
    let usage = "do-conv fold IN OUT, or do-conv fold IN... --out-dir DIR";
    match &arguments.files[..] {
        [input, output] => Ok(Job { input, output: Some(output.clone()) }),
        [input] if arguments.dry_run => Ok(Job { input, output: None }),
        [_] => Err(Failure::usage("where is the folded checkpoint to go?").hint(usage)),
        _ => Err(Failure::usage("several checkpoints are folded into a folder").hint(usage)),
    }
}

/// Every input to a file of its name in a folder.
fn into_folder<'a>(
    inputs: &'a [PathBuf],
    folder: &Path,
    extension: &str,
) -> Result<Vec<Job<'a>>, Failure> {
    let mut taken: BTreeMap<PathBuf, &Path> = BTreeMap::new();
    let mut jobs = Vec::new();
    for input in inputs {
        let Some(stem) = input.file_stem() else {
            return Err(Failure::of(input, "this isn't the name of a file"));
        };
        let mut name = stem.to_owned();
        name.push(".");
        name.push(extension);
        let output = folder.join(name);
        if let Some(other) = taken.insert(output.clone(), input) {
            let (other, output) = (shown_path(other), shown_path(&output));
            return Err(Failure::of(input, &format!("{other} would be {output} too"))
                .hint("fold files of one name into folders of their own"));
        }
        jobs.push(Job { input, output: Some(output) });
    }
    Ok(jobs)
}

/// Whether both are names of one file, which needs not be there yet.
fn is_same(path: &Path, other: &Path) -> bool {
    let whole = |path: &Path| {
        let in_folder = || Some(fs::canonicalize(parent(path)).ok()?.join(path.file_name()?));
        fs::canonicalize(path).ok().or_else(in_folder)
    };
    path == other || whole(path).is_some_and(|path| whole(other) == Some(path))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

/// The output folder, which goes if it was made and nothing came to be in it.
pub struct NewFolder(Option<PathBuf>);

impl NewFolder {
    pub fn make(arguments: &Fold) -> Result<Self, Failure> {
        let Some(folder) = arguments.out_dir.as_ref().filter(|_| !arguments.dry_run) else {
            return Ok(Self(None));
        };
        match fs::create_dir(folder) {
            Ok(()) => Ok(Self(Some(folder.clone()))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {
                Ok(Self(None))
            }
            Err(error) => Err(Failure::of(folder, &format!("can't be made: {error}"))),
        }
    }

    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            // One that isn't empty has somebody else's file in it, and stays.
            let _ = fs::remove_dir(folder);
        }
    }
}
