//! `do-conv fold`.

use std::error::Error;
use std::fs;
use std::io::{Write, stdout};
use std::path::Path;

use do_conv::checkpoint::{FoldOptions, FoldReport};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tempfile::{Builder, NamedTempFile};

use crate::arguments::{Fold, unique};
use crate::hint::Untold;
use crate::table::{Table, shown};

pub fn run(arguments: &Fold) -> Result<(), Box<dyn Error>> {
    let Fold { input, output, report, .. } = arguments;
    let output = output.as_deref().filter(|_| !arguments.dry_run);
    for path in [output, report.as_deref()].into_iter().flatten() {
        if is_same(path, &input.path) {
            return Err(
                format!("{}: this is the input, which stays as it is", path.display()).into()
            );
        }
    }
    if let (Some(output), Some(report)) = (output, report)
        && is_same(output, report)
    {
        return Err(format!("{}: output and report in one file", report.display()).into());
    }
    // Before anything is written: whether there can be a report.
    let report = match report {
        Some(path) => Some((path, report_file(path, arguments.force)?)),
        None => None,
    };

    let checkpoint = input.open()?;
    let mut options = FoldOptions::default()
        .layers(input.layer_options()?)
        .eps(arguments.eps)
        .overwrite(arguments.force);
    options.rename = unique("--rename", &arguments.rename)?;
    options.batch_norms.extend(unique("--fold-batch-norm", &arguments.fold_batch_norm)?);
    let bar = ProgressBar::new(0);
    let style = "{bar:40} {decimal_bytes}/{decimal_total_bytes} {elapsed}";
    bar.set_style(ProgressStyle::with_template(style)?);
    let progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let folded = match output {
        Some(output) => checkpoint.fold_with(output, &options, &progress),
        None => checkpoint.check_fold_with(&options, &progress),
    };
    bar.finish_and_clear();
    let folded = folded.map_err(|error| Untold::of(error, &checkpoint, &options.layers))?;

    if let Some((path, mut file)) = report {
        let json = json!({
            "input": input.path.display().to_string(),
            "output": output.map(|output| output.display().to_string()),
            "folded": folded,
        });
        serde_json::to_writer_pretty(&mut file, &json)?;
        writeln!(file)?;
        let named = match arguments.force {
            true => file.persist(path),
            false => file.persist_noclobber(path),
        };
        named.map_err(|error| format!("{}: {}", path.display(), error.error))?;
    }
    print(&folded, output)?;
    Ok(())
}

fn print(folded: &FoldReport, output: Option<&Path>) -> std::io::Result<()> {
    let mut table =
        Table::new(["layer", "type", "folded", "shape", "dtype", "largest error", "bound"]);
    let [mut before, mut after] = [0, 0];
    for layer in &folded.layers {
        table.push([
            shown(&layer.name),
            layer.form.to_string(),
            shown(&layer.key),
            format!("{:?}", layer.weight_shape),
            layer.dtype.to_string(),
            format!("{:.2e}", layer.difference),
            format!("{:.2e}", layer.bound),
        ]);
        before += layer.parameters.trained;
        after += layer.parameters.folded;
    }
    let mut out = stdout().lock();
    table.print(&mut out)?;
    writeln!(
        out,
        "\n{} layers folded and checked, {before} parameters to {after}",
        folded.layers.len()
    )?;
    match output {
        Some(output) => {
            let FoldReport { tensors, bytes, .. } = folded;
            writeln!(out, "{}: {tensors} tensors, {bytes} bytes", output.display())
        }
        None => writeln!(out, "nothing was written"),
    }
}

/// Whether both are names of one file, which needs not be there yet.
fn is_same(path: &Path, other: &Path) -> bool {
    let whole = |path: &Path| {
        let in_folder = || Some(fs::canonicalize(folder(path)).ok()?.join(path.file_name()?));
        fs::canonicalize(path).ok().or_else(in_folder)
    };
    whole(path).is_some_and(|path| whole(other) == Some(path))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

/// A temporary file where the report will be.
fn report_file(path: &Path, force: bool) -> Result<NamedTempFile, Box<dyn Error>> {
    if !force && path.symlink_metadata().is_ok() {
        let text = format!("{}: exists; --force overwrites it", path.display());
        return Err(text.into());
    }
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(format!("{}: not a regular file", path.display()).into());
    }
    let mut builder = Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666)); // less what the process's mask says
    }
    builder.tempfile_in(folder(path)).map_err(|error| format!("{}: {error}", path.display()).into())
}
