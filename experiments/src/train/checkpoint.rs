//! Checkpoints that are there whole or not at all, so that a run that was killed can be taken up again.

use std::fs;
use std::path::{Path, PathBuf};

use burn::train::checkpoint::{Checkpoint, Checkpointer, CheckpointerError};

const FOLDER: &str = "checkpoint";
const NAMES: [&str; 3] = ["model", "optim", "scheduler"];

/// Files of one kind of record.
pub struct Whole {
    folder: PathBuf,
    name: &'static str,
}

impl Whole {
    /// In the run's folder.
    pub fn new(run: &Path, name: &'static str) -> Self {
        Self { folder: run.join(FOLDER), name }
    }
}

fn path(folder: &Path, name: &str, epoch: usize) -> PathBuf {
    folder.join(format!("{name}-{epoch}.bpk"))
}

impl<R: Checkpoint> Checkpointer<R> for Whole {
    fn save(&self, epoch: usize, record: R) -> Result<(), CheckpointerError> {
        fs::create_dir_all(&self.folder).map_err(CheckpointerError::IOError)?;
        let unfinished = self.folder.join(format!("unfinished-{}.bpk", self.name));
        record.save(unfinished.clone())?;
        let path = path(&self.folder, self.name, epoch);
        fs::rename(unfinished, path).map_err(CheckpointerError::IOError)
    }

    fn restore(&self, epoch: usize) -> Result<R, CheckpointerError> {
        R::load(path(&self.folder, self.name, epoch))
    }

    fn delete(&self, epoch: usize) -> Result<(), CheckpointerError> {
        match fs::remove_file(path(&self.folder, self.name, epoch)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(CheckpointerError::IOError(error))
            }
            _ => Ok(()),
        }
    }
}

/// The last epoch that all records of are there, 0 if there is none.
pub fn last(run: &Path, epochs: usize) -> std::io::Result<usize> {
    let folder = run.join(FOLDER);
    fs::create_dir_all(&folder)?;
    let is_there = |epoch: &usize| NAMES.iter().all(|name| path(&folder, name, *epoch).is_file());
    Ok((1..=epochs).rev().find(is_there).unwrap_or(0))
}
