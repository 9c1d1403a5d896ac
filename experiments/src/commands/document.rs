//! A Markdown document that has places for tables.

use std::fs;
use std::path::{Path, PathBuf};

use do_conv_experiments::report::{replace, replace_section};

use super::Result;

pub struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |error| format!("{}: {error}", path.display());
        Ok(Self { path: path.to_owned(), text: fs::read_to_string(path).map_err(failed)? })
    }

    /// Whether it has a place of that name.
    pub fn has(&self, name: &str) -> bool {
        self.text.contains(&format!("<!-- {name} -->"))
    }

    /// The document with that at the place of that name.
    pub fn replace(self, name: &str, section: &str) -> Result<Self> {
        let failed = |error| format!("{}: {error}", self.path.display());
        let text = replace_section(&self.text, name, section).map_err(failed)?;
        Ok(Self { text, ..self })
    }

    /// Copies files into a folder beside the document, which has its name, and there into one of the given name.
    pub fn keep<'a>(&self, files: impl Iterator<Item = &'a Path>, folder: &str) -> Result<()> {
        let folder = self.path.with_extension("").join(folder);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for file in files {
            let Some(name) = file.file_name() else { continue };
            let failed = |error| format!("{}: {error}", file.display());
            fs::copy(file, folder.join(name)).map_err(failed)?;
        }
        Ok(())
    }

    pub fn write(&self) -> Result<()> {
        let failed = |error| format!("{}: {error}", self.path.display());
        Ok(replace(&self.path, &self.text).map_err(failed)?)
    }
}
