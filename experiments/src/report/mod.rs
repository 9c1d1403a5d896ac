//! Reports of runs: numbers for other programs, tables, and plots.

pub mod cells;
pub mod csv;
pub mod labels;
pub mod plot;
#[cfg(test)]
pub(crate) mod sample;
pub mod stats;
pub mod table;

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::Builder;

use crate::record::{Kind, RunResult, name};
use crate::report::cells::{Cell, by_baseline, group, split};
use crate::report::labels::labels;

const LEGEND: &str = "\
± is the sample standard deviation over seeds. [low, high] is the 95 % confidence interval of the mean of \
the differences between runs of the same seed (paired, Student's t), in percentage points; bold ones exclude \
zero, as one in twenty does by chance where there is no difference. Epochs to a level are \
means over the runs that reach it, whose number is given where some don't; the levels are 50, 80 and 95 % of the \
way from plain's mean after the first epoch to its mean at the end. Runs that diverged are counted and in no \
mean of metrics, losses and epochs.
";

/// Writes all of a report into a folder, which is made if it isn't there, and says which files that are.
///
/// # Errors
/// Without runs, and where a file cannot be written.
pub fn write(folder: &Path, runs: &[RunResult]) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    if runs.is_empty() {
        return Err("a report expects the results of at least one run, found none".into());
    }
    let cells = group(runs);
    let mut files = vec![
        ("runs.csv".to_owned(), csv::runs(runs)?),
        ("epochs.csv".into(), csv::epochs(runs)?),
        ("summary.csv".into(), csv::summary(&cells)?),
        ("results.json".into(), serde_json::to_string_pretty(runs)? + "\n"),
        ("table.md".into(), tables(&cells)),
    ];
    files.extend(curves(&cells)?);
    files.extend(differences(&cells)?);

    clear(folder, &files)?;
    let written = |(name, content): (String, String)| {
        let path = folder.join(name);
        let failed = |error| format!("{}: the report cannot be written: {error}", path.display());
        replace(&path, &content).map_err(failed)?;
        Ok(path)
    };
    files.into_iter().map(written).collect()
}

/// All tables, those of each task under its name if there are several.
pub fn tables(cells: &[Cell]) -> String {
    let tasks = split(cells, |cell| name(&cell.config.task));
    let several = tasks.len() > 1;
    let of_task = |(task, cells): (String, Vec<Cell>)| {
        let title = if several { format!("## {task}\n\n") } else { String::new() };
        format!(
            "{title}{}\n{}\n{}",
            table::accuracy(&cells),
            table::cost(&cells),
            table::dynamics(&cells),
        )
    };
    let tables: Vec<_> = tasks.into_iter().map(of_task).collect();
    format!("{LEGEND}\n{}", tables.join("\n"))
}

/// Replaces what stands between the lines `<!-- name -->` and `<!-- /name -->` of a Markdown document.
///
/// # Errors
/// Unless the document has each of the two lines once, in that order.
pub fn replace_section(document: &str, name: &str, section: &str) -> Result<String, String> {
    let place = |marker: String| {
        let mut at = 0;
        let mut found = Vec::new();
        for line in document.split_inclusive('\n') {
            if line.trim() == marker {
                found.push(at..at + line.len());
            }
            at += line.len();
        }
        match found.as_slice() {
            [line] => Ok(line.clone()),
            lines => Err(format!("expected one line `{marker}`, found {}", lines.len())),
        }
    };
    let (open, close) = (place(format!("<!-- {name} -->"))?, place(format!("<!-- /{name} -->"))?);
    if close.start < open.end {
        return Err(format!(
            "expected `<!-- /{name} -->` behind `<!-- {name} -->`, found it before"
        ));
    }
    let (before, after) = (&document[..open.end], &document[close.start..]);
    Ok(format!("{before}\n{}\n\n{after}", section.trim()))
}

/// A file for each net of a task, or several where it has more cells than a plot has colours.
fn curves(cells: &[Cell]) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let several = split(cells, |cell| cell.config.task).len() > 1;
    let nets = split(cells, |cell| (cell.config.task, cell.config.net));
    let mut files = Vec::new();
    for ((task, net), cells) in nets {
        let task = if several { format!("{}-", name(&task)) } else { String::new() };
        let labels = labels(&cells);
        for (number, part) in (1..).zip(parts(&cells)) {
            let number = if number > 1 { format!("-{number}") } else { String::new() };
            let labelled = labels.iter().zip(&cells);
            let of_part: Vec<_> = part
                .iter()
                .flat_map(|own| labelled.clone().find(|(_, cell)| cell.config == own.config))
                .map(|(label, _)| label.clone())
                .collect();
            let file = format!("curves-{task}{}{number}.svg", name(&net));
            files.push((file, plot::curves(&part, &of_part)?));
        }
    }
    Ok(files)
}

/// Cells that fit a plot, each with its baseline, which is in every plot that has something to compare with it.
fn parts<'a>(cells: &[Cell<'a>]) -> Vec<Vec<Cell<'a>>> {
    let mut parts: Vec<Vec<Cell>> = Vec::new();
    for (_, group) in by_baseline(cells) {
        let (plain, others): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|cell| cell.config.kind == Kind::Plain);
        let mut new: Vec<_> = others
            .chunks(plot::COLORS - plain.len())
            .map(|others| [plain.as_slice(), others].concat())
            .collect();
        if others.is_empty() {
            new.push(plain);
        }
        for part in new {
            match parts.last_mut() {
                Some(last) if last.len() + part.len() <= plot::COLORS => last.extend(part),
                _ => parts.push(part),
            }
        }
    }
    parts
}

/// A plot, if there is something to compare.
fn differences(cells: &[Cell]) -> Result<Option<(String, String)>, Box<dyn Error>> {
    let difference = |cell: &Cell| cell.ahead_of(cell.baseline(cells)?, |run| run.metric);
    let rows: Vec<_> = labels(cells)
        .into_iter()
        .zip(cells)
        .filter_map(|(label, cell)| Some((label, difference(cell)?)))
        .collect();
    if rows.is_empty() {
        return Ok(None);
    }
    Ok(Some(("differences.svg".into(), plot::differences(&rows)?)))
}

/// Removes the plots of an earlier report that this one doesn't have.
fn clear(folder: &Path, files: &[(String, String)]) -> Result<(), Box<dyn Error>> {
    let Ok(old) = fs::read_dir(folder) else { return Ok(()) };
    for file in old {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        let is_plot = name.starts_with("curves-") || name.starts_with("differences");
        if is_plot && name.ends_with(".svg") && !files.iter().any(|(new, _)| *new == name) {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// Writes a file, whose folder is made if it isn't there, and which has its old content until it has all of the new
/// one.
///
/// # Errors
/// Where it cannot be written.
pub fn replace(path: &Path, content: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut builder = Builder::new();
    builder.prefix(".report-").suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any other new file, not as a secret.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(content.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{DMul, RunConfig, Task};
    use crate::report::sample::{config, diverged, do_conv, run};

    fn many() -> Vec<RunConfig> {
        let options = (1..=12).map(|k| RunConfig { d_mul: DMul::Plus(k), ..do_conv() });
        let other = [config(), do_conv()].map(|config| RunConfig { batch: 32, ..config });
        [config(), do_conv()].into_iter().chain(options).chain(other).collect()
    }

    #[test]
    fn reports_are_written() -> Result<(), Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let folder = folder.path().join("new/report");
        let scene = RunConfig { task: Task::Segment, ..config() };
        let mut runs: Vec<_> = many()
            .iter()
            .flat_map(|config| [1, 2].map(|seed| run(config, seed, &[20.0, 60.0, 70.0])))
            .collect();
        runs.extend([run(&scene, 1, &[50.0]), diverged(&do_conv(), 3), diverged(&scene, 2)]);

        let files = write(&folder, &runs)?;
        // And again, over the old ones, and over a plot of another grid.
        fs::write(folder.join("curves-mobilenet.svg"), "")?;
        assert_eq!(write(&folder, &runs)?, files);
        let mut found: Vec<_> =
            fs::read_dir(&folder)?.map(|file| Ok(file?.path())).collect::<io::Result<_>>()?;
        found.sort();
        let mut expected: Vec<_> = [
            "curves-classify-resnet-v1-2.svg",
            "curves-classify-resnet-v1-3.svg",
            "curves-classify-resnet-v1.svg",
            "curves-segment-resnet-v1.svg",
            "differences.svg",
            "epochs.csv",
            "results.json",
            "runs.csv",
            "summary.csv",
            "table.md",
        ]
        .map(|name| folder.join(name))
        .into();
        assert_eq!(found, expected);
        let mut files = files;
        files.sort();
        expected.sort();
        assert_eq!(files, expected);
        assert!(fs::read_to_string(folder.join("table.md"))?.contains("## segment\n\n| conf"));
        Ok(())
    }

    #[test]
    fn reports_need_runs_and_a_folder() -> Result<(), Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let text = |result: Result<Vec<PathBuf>, Box<dyn Error>>| result.map_err(|e| e.to_string());
        assert!(text(write(folder.path(), &[])).is_err_and(|error| error.contains("found none")));
        let file = folder.path().join("file");
        fs::write(&file, "")?;
        let runs = [run(&config(), 1, &[70.0])];
        assert!(text(write(&file, &runs)).is_err_and(|error| error.contains("file/runs.csv: ")));
        Ok(())
    }

    #[test]
    fn plots_have_their_baseline_and_few_cells() {
        let runs: Vec<_> = many().iter().map(|config| run(config, 1, &[70.0])).collect();
        let cells = group(&runs);
        let parts = parts(&cells);
        let counts: Vec<_> = parts.iter().map(Vec::len).collect();
        // 13 cells and twice their baseline, then the other two.
        assert_eq!(counts, [8, 7, 2]);
        assert!(parts.iter().all(|part| part[0].config.kind == Kind::Plain));
    }

    #[test]
    fn sections_are_replaced() {
        let document = "# A\n<!-- top -->\nold\n<!-- /top -->\nmore\n";
        let expected = "# A\n<!-- top -->\n\n| new |\n\n<!-- /top -->\nmore\n";
        let once = replace_section(document, "top", "| new |\n");
        assert_eq!(once.as_deref(), Ok(expected));
        assert_eq!(replace_section(expected, "top", "| new |\n").as_deref(), Ok(expected));

        let error = |document, name| replace_section(document, name, "").unwrap_err();
        assert_eq!(error(document, "other"), "expected one line `<!-- other -->`, found 0");
        let twice = document.repeat(2);
        assert_eq!(error(&twice, "top"), "expected one line `<!-- top -->`, found 2");
        let turned = "<!-- /top -->\n<!-- top -->\n";
        assert!(error(turned, "top").contains("found it before"));
        assert!(error("<!-- top -->", "top").contains("`<!-- /top -->`, found 0"));
    }
}
