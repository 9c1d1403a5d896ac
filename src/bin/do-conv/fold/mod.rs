//! `do-conv fold`.

mod files;
mod report;

use std::path::Path;

use do_conv::checkpoint::{
    AtomicFile, BatchNormSource, FoldOptions, FoldReport, KernelLayout, LayerInfo, Opened,
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::arguments::Fold;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::print::print;
use crate::settings::unique;
use crate::table::{Kind, Table, columns};
use crate::taken::taken;
use crate::text::{bytes, count, counted, shown, shown_path};
use crate::words::{Work, is_unwritable, unwritable};
use files::{Job, NewFolder};

pub fn run(arguments: &Fold) -> Result<(), Failure> {
    let jobs = files::jobs(arguments)?;
    let options = options(arguments)?;
    let interrupt = Interrupt::listen()?;
    let folded = interrupt.during(|| {
        let folder = NewFolder::make(arguments)?;
        let folded = fold_all(arguments, &jobs, &options, &interrupt)?;
        folder.keep();
        Ok(folded)
    })?;
    print(&summary(&jobs, &folded, options.layout)).map_err(|failure| match arguments.dry_run {
        true => failure,
        false => failure.hint("the files are written, only this summary is lost"),
    })
}

fn options(arguments: &Fold) -> Result<FoldOptions, Failure> {
    let mut options = FoldOptions::default()
        .layers(arguments.reading.layer_options()?)
        .overwrite(arguments.force);
    options.rename = unique("--rename", &arguments.rename)?;
    let pairs: Vec<_> = arguments.fold_batch_norm.iter().flatten().cloned().collect();
    options.batch_norms.extend(unique("--fold-batch-norm", &pairs)?);
    options.auto_batch_norms = arguments.fold_batch_norm.iter().any(Option::is_none);
    options.skip_batch_norms.clone_from(&arguments.skip_batch_norm);
    options.eps = arguments.eps;
    options.eps_of.clone_from(&arguments.eps_of);
    options.format = arguments.output_format.map(Into::into);
    options.layout = arguments.layout.into();
    Ok(options)
}

/// What came of an input.
struct Folded {
    opened: Opened,
    layers: Vec<LayerInfo>,
    report: FoldReport,
}

/// Folds every input, and gives all files their names together.
fn fold_all(
    arguments: &Fold,
    jobs: &[Job],
    options: &FoldOptions,
    interrupt: &Interrupt,
) -> Result<Vec<Folded>, Failure> {
    // Before the work: whether there can be a report.
    let report = match &arguments.report {
        Some(path) => {
            let file = AtomicFile::new(path, arguments.force);
            Some((path, file.map_err(|error| unwritable(path, &error))?))
        }
        None => None,
    };
    let (mut files, mut all) = (Vec::new(), Vec::new());
    for job in jobs {
        let (folded, file) = fold_one(arguments, job, options, interrupt)?;
        files.extend(file);
        all.push(folded);
    }
    if let Some((path, mut file)) = report {
        let written = report::write(&mut file, arguments, jobs, &all);
        written.map_err(|error| Failure::of(path, &format!("can't be written: {error}")))?;
        files.push(file);
    }
    interrupt.check()?;
    AtomicFile::persist_all(files).map_err(|error| {
        let paths = jobs.iter().filter_map(|job| job.output.as_deref());
        let mut paths = paths.chain(arguments.report.as_deref());
        let path = paths.find(|path| shown_path(path) == shown(&error.field));
        unwritable(path.unwrap_or(Path::new(&*error.field)), &error)
    })?;
    Ok(all)
}

fn fold_one(
    arguments: &Fold,
    job: &Job,
    options: &FoldOptions,
    interrupt: &Interrupt,
) -> Result<(Folded, Option<AtomicFile>), Failure> {
    let reading = &arguments.reading;
    let mut work = Work { reading, input: job.input, checkpoint: None };
    let checkpoint = reading.open(job.input).map_err(|error| work.failure(&error))?;
    work.checkpoint = Some(&checkpoint);
    let bar = bar();
    let progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        interrupt.flow()
    };
    let folded = match &job.output {
        Some(output) => checkpoint
            .fold_unnamed(output, options, &progress)
            .map(|(report, file)| (report, Some(file))),
        None => checkpoint.check_fold_with(options, &progress).map(|report| (report, None)),
    };
    bar.finish_and_clear();
    let (report, file) = folded.map_err(|error| match &job.output {
        Some(output) if is_unwritable(&error) => unwritable(output, &error),
        _ => work.failure(&error),
    })?;
    let layers = checkpoint.layers(&options.layers).map_err(|error| work.failure(&error))?;
    Ok((Folded { opened: checkpoint.opened().clone(), layers, report }, file))
}

/// A bar on the terminal, if there is one.
fn bar() -> ProgressBar {
    let style = "{bar:40} {decimal_bytes}/{decimal_total_bytes} {elapsed}";
    let style = ProgressStyle::with_template(style);
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// What was folded, for every input.
fn summary(jobs: &[Job], all: &[Folded], layout: KernelLayout) -> String {
    let parts = jobs.iter().zip(all).map(|(job, folded)| {
        let heading = match jobs {
            [_] => String::new(),
            _ => format!("{}:\n", shown_path(job.input)),
        };
        heading + &taken(&folded.opened) + &part(job, &folded.report, layout)
    });
    parts.collect::<Vec<_>>().join("\n")
}

fn part(job: &Job, report: &FoldReport, layout: KernelLayout) -> String {
    let mut table = Table::new([
        ("layer", Kind::Name),
        ("type", Kind::Text),
        ("folded", Kind::Name),
        ("shape", Kind::Text),
        ("dtype", Kind::Text),
        ("largest error", Kind::Number),
        ("bound", Kind::Number),
    ]);
    let [mut trained, mut folded] = [0, 0];
    for layer in &report.layers {
        table.push([
            shown(&layer.name),
            layer.form.to_string(),
            shown(&layer.key),
            format!("{:?}", layer.weight_shape),
            layer.dtype.to_string(),
            format!("{:.2e}", layer.difference),
            format!("{:.2e}", layer.bound),
        ]);
        trained += layer.parameters.trained;
        folded += layer.parameters.folded;
    }
    for plain in &report.plain {
        table.push([
            shown(&plain.name),
            "plain".to_owned(),
            shown(&plain.key),
            format!("{:?}", plain.shape),
            plain.dtype.to_string(),
            format!("{:.2e}", plain.difference),
            format!("{:.2e}", plain.bound),
        ]);
    }
    let mut layers = counted(report.layers.len(), "layer");
    if !report.plain.is_empty() {
        layers += &format!(" and {}", counted(report.plain.len(), "plain convolution"));
    }
    let tensors = counted(report.tensors, "tensor");
    let written = match &job.output {
        Some(output) => {
            format!("{}: {tensors}, {}", shown_path(output), bytes(report.bytes))
        }
        None => "nothing was written".to_owned(),
    };
    let (trained, folded) = (counted(trained, "parameter"), count(folded));
    let layout = match layout {
        KernelLayout::TensorFlow => {
            ", kernels of DO-Conv layers with TensorFlow's axes, [M, N, n, O], and all else as it was"
        }
        _ => "",
    };
    format!(
        "{}\n{}{layers} folded and checked, {trained} to {folded}\n{written}{layout}\n",
        table.text(columns()),
        batch_norms(report),
    )
}

/// Which batch normalisations were folded, and which stay.
fn batch_norms(report: &FoldReport) -> String {
    let mut text = String::new();
    if !report.batch_norms.is_empty() {
        let mut table = Table::new([
            ("convolution", Kind::Name),
            ("batch normalisation", Kind::Name),
            ("eps", Kind::Number),
            ("told by", Kind::Text),
        ]);
        for pair in &report.batch_norms {
            let source = match pair.source {
                BatchNormSource::Named => "its name",
                BatchNormSource::Pattern => "a pattern",
                _ => "auto",
            };
            table.push([
                shown(&pair.layer),
                shown(&pair.batch_norm),
                format!("{:e}", pair.eps),
                source.to_owned(),
            ]);
        }
        text += &format!("{}\n", table.text(columns()));
    }
    if !report.batch_norms_left.is_empty() {
        let left: Vec<_> = report.batch_norms_left.iter().map(|name| shown(name)).collect();
        text += &format!("batch normalisations left as they are: {}\n", left.join(", "));
    }
    text
}
