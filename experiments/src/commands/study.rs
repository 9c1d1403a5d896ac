//! The paper's questions, by name.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use do_conv_experiments::report::cells::group;
use do_conv_experiments::report::{replace_section, table, write};
use do_conv_experiments::schedule::Schedule;
use do_conv_experiments::studies::{Images, STUDIES, Study};

use super::{Machine, Result, name, own};

/// What a document has of a study's report, beside its tables.
const KEPT: [&str; 2] = ["svg", "csv"];
/// A line for each epoch of each run, which would be most of a document.
const NOT_KEPT: &str = "epochs.csv";

#[derive(Args)]
pub struct Command {
    /// Names of studies, or `all`; without, they are listed
    names: Vec<String>,

    /// A version of five minutes for all, of fewer and shorter runs on what is in the repository
    #[arg(long)]
    quick: bool,

    /// Folder of MNIST's four IDX files, raw or `.gz` [default: a part of it]
    #[arg(long, value_name = "DIR")]
    mnist: Option<PathBuf>,

    /// Folder of Fashion-MNIST's four IDX files, raw or `.gz` [default: a part of it]
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
            for Study { name, question, options, .. } in &STUDIES {
                println!("{name}: {question}\n    grid {options}");
            }
            return Ok(());
        }
        let studies = self.studies()?;
        for study in studies {
            let start = Instant::now();
            println!("\n{}: {}", study.name, study.question);
            println!("grid {}", study.words(self.quick).join(" "));
            self.study(study).map_err(|error| format!("{}: {error}", study.name))?;
            println!("{}: {:.0} s", study.name, start.elapsed().as_secs_f64());
        }
        Ok(())
    }

    fn studies(&self) -> Result<Vec<&'static Study>> {
        let all = || STUDIES.iter().map(|study| study.name).collect::<Vec<_>>().join(", ");
        let of_name = |wanted: &String| {
            let found = STUDIES.iter().find(|study| study.name == wanted);
            found
                .ok_or_else(|| format!("expected a study, all or one of {}, got {wanted:?}", all()))
        };
        if self.names == ["all"] {
            return Ok(STUDIES.iter().collect());
        }
        Ok(self.names.iter().map(of_name).collect::<std::result::Result<_, _>>()?)
    }

    fn study(&self, study: &Study) -> Result<()> {
        let data = match study.images {
            Images::Mnist => self.mnist.clone().unwrap_or(own("../examples/mnist/data")),
            Images::Fashion => self.fashion.clone().unwrap_or(own("data/fashion-mnist")),
        };
        let schedule = Schedule {
            folder: &self.out.join("runs"),
            data: &data,
            jobs: self.machine.jobs.into(),
            threads: self.machine.threads(),
            dashboard: self.machine.dashboard,
        };
        let results = schedule.results(&study.grid(self.quick)?.runs(&name(&data)?))?;
        let files = write(&self.out.join(study.name), &results)?;
        let cells = group(&results);
        let tables = [
            ("accuracy", table::accuracy(&cells)),
            ("cost", table::cost(&cells)),
            ("dynamics", table::dynamics(&cells, None)),
        ];
        println!("\n{}", tables[0].1);
        println!("more in {}", self.out.join(study.name).display());
        match &self.document {
            Some(document) => fill(document, study, &tables, &files),
            None => Ok(()),
        }
    }
}

/// Puts tables and files of a study into a document.
fn fill(
    document: &Path,
    study: &Study,
    tables: &[(&str, String)],
    files: &[PathBuf],
) -> Result<()> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| -> Box<dyn Error> { format!("{path}: {error}").into() }
    };
    let mut text = fs::read_to_string(document).map_err(failed(document))?;
    for (table, content) in tables {
        let section = format!("{} {table}", study.name);
        if text.contains(&format!("<!-- {section} -->")) {
            text = replace_section(&text, &section, content)?;
        }
    }
    let folder = document.with_extension("").join(study.name);
    fs::create_dir_all(&folder).map_err(failed(&folder))?;
    for file in files {
        let is_kept = file.extension().is_some_and(|e| KEPT.iter().any(|kept| e == *kept));
        if let Some(name) = file.file_name().filter(|name| is_kept && *name != NOT_KEPT) {
            fs::copy(file, folder.join(name)).map_err(failed(file))?;
        }
    }
    fs::write(document, text).map_err(failed(document))
}
