//! The paper's questions, by name.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use do_conv_experiments::report::cells::group;
use do_conv_experiments::report::table;
use do_conv_experiments::studies::{Images, STUDIES, Study};

use super::document::Document;
use super::{Machine, Result, own, report, say};

#[derive(Args)]
pub struct Command {
    /// Names of studies, or `all`; without, they are listed
    names: Vec<String>,

    /// A version of about four minutes for all, of fewer and shorter runs on what is in the repository
    #[arg(long)]
    quick: bool,

    /// Folder of MNIST's four IDX files, raw or `.gz`; the quick version goes without
    #[arg(long, value_name = "DIR")]
    mnist: Option<PathBuf>,

    /// Folder of Fashion-MNIST's four IDX files, raw or `.gz`; the quick version goes without
    #[arg(long, value_name = "DIR")]
    fashion: Option<PathBuf>,

    /// Where results, tables and plots go. Runs that are done are there for the next start, and for other studies
    #[arg(long, value_name = "DIR", default_value = "target/experiments")]
    out: PathBuf,

    /// Puts the tables into this Markdown document, between its lines `<!-- STUDY TABLE -->` and
    /// `<!-- /STUDY TABLE -->`, and plots and numbers into a folder beside it
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,

    #[command(flatten)]
    machine: Machine,
}

impl Command {
    pub fn run(&self) -> Result<()> {
        if self.names.is_empty() {
            for study in &STUDIES {
                say(format_args!("{}: {}", study.name, study.question))?;
                study
                    .options(self.quick)
                    .try_for_each(|grid| say(format_args!("    grid {grid}")))?;
            }
            return Ok(());
        }
        let mut failed = Vec::new();
        for study in self.studies()? {
            let start = Instant::now();
            say(format_args!("\n{}: {}", study.name, study.question))?;
            study.options(self.quick).try_for_each(|grid| say(format_args!("grid {grid}")))?;
            // The others don't depend on it.
            if let Err(error) = self.study(study) {
                eprintln!("{}: {error}", study.name);
                failed.push(study.name);
            }
            say(format_args!("{}: {:.0} s", study.name, start.elapsed().as_secs_f64()))?;
        }
        if failed.is_empty() {
            Ok(())
        } else {
            Err(format!("failed: {}", failed.join(", ")).into())
        }
    }

    fn studies(&self) -> Result<Vec<&'static Study>> {
        let all = || STUDIES.iter().map(|study| study.name).collect::<Vec<_>>().join(", ");
        let of_name = |wanted: &String| {
            let found = STUDIES.iter().find(|study| study.name == wanted);
            found.ok_or_else(|| format!("expected all or studies among {}, got {wanted:?}", all()))
        };
        if self.names == ["all"] {
            return Ok(STUDIES.iter().collect());
        }
        Ok(self.names.iter().map(of_name).collect::<std::result::Result<_, _>>()?)
    }

    /// The folder that was given for its images, or what is in the repository, which is enough for the quick version.
    fn images(&self, study: &Study) -> Result<PathBuf> {
        let (given, option, part) = match study.images {
            Images::Mnist => (&self.mnist, "--mnist", "../examples/mnist/data"),
            Images::Fashion => (&self.fashion, "--fashion", "data/fashion-mnist"),
        };
        match given {
            Some(folder) => Ok(folder.clone()),
            None if self.quick => Ok(own(part)),
            None => Err(format!("expected {option} DIR with the full set, or --quick").into()),
        }
    }

    fn study(&self, study: &Study) -> Result<()> {
        let document = self.document.as_deref().map(Document::read).transpose()?;
        let out = self.out.join(study.name);
        let data = self.images(study)?;
        let runs = |data: &str| study.runs(self.quick, data);
        let report = report(runs, &data, &self.machine, &self.out, &out)?;
        let cells = group(&report.results);
        let accuracy = table::accuracy(&cells);
        say(format_args!("\n{accuracy}\nmore in {}", out.display()))?;
        if let Some(mut document) = document {
            let tables = [
                ("accuracy", accuracy),
                ("cost", table::cost(&cells)),
                ("dynamics", table::dynamics(&cells)),
            ];
            for (table, content) in tables {
                let place = format!("{} {table}", study.name);
                if document.has(&place) {
                    document = document.replace(&place, &content)?;
                }
            }
            let files = report.files.iter().map(PathBuf::as_path);
            document.keep(files.filter(|file| is_kept(file)), study.name)?;
            document.write()?;
        }
        report.verdict()
    }
}

/// Whether a document keeps a report's file: plots and numbers, but not a line for each epoch of each run.
fn is_kept(file: &Path) -> bool {
    let has = |extension: &str| file.extension().is_some_and(|found| found == extension);
    has("svg") || has("csv") && !file.ends_with("epochs.csv")
}
