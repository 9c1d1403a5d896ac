//! `do-conv unfold`.

use do_conv::checkpoint::{GroupsSource, SaveOptions, UnfoldOptions, UnfoldReport};

use crate::arguments::Unfold;
use crate::failure::Failure;
use crate::print::print;
use crate::settings::Reading;
use crate::table::{Kind, Table, columns};
use crate::taken::taken;
use crate::text::{count, counted, shown, shown_path};
use crate::words::{Work, is_unwritable, unwritable};

pub fn run(arguments: &Unfold) -> Result<(), Failure> {
    let reading = Reading {
        key: arguments.key.clone(),
        strip_prefix: arguments.strip_prefix.clone(),
        max_bytes: arguments.max_bytes,
        ..Reading::default()
    };
    let mut work = Work { reading: &reading, input: &arguments.input, checkpoint: None };
    let plain = reading.open(&arguments.input).map_err(|error| work.failure(&error))?;
    work.checkpoint = Some(&plain);
    let (unfolded, report) =
        plain.unfold(&options(arguments)).map_err(|error| work.failure(&error))?;
    let mut save = SaveOptions::default().overwrite(arguments.force);
    save.format = arguments.output_format.map(Into::into);
    unfolded.save(&arguments.output, &save).map_err(|error| match is_unwritable(&error) {
        true => unwritable(&arguments.output, &error),
        false => work.failure(&error),
    })?;
    print(&(taken(plain.opened()) + &summary(arguments, &report)))
        .map_err(|failure| failure.hint("the file is written, only this summary is lost"))
}

fn options(arguments: &Unfold) -> UnfoldOptions {
    let mut options = UnfoldOptions::default()
        .target(arguments.target.into())
        .identity(arguments.identity)
        .pointwise(arguments.pointwise)
        .seed(arguments.seed);
    for pattern in &arguments.layer {
        options = options.layer(pattern);
    }
    for pattern in &arguments.skip {
        options = options.skip(pattern);
    }
    for pattern in &arguments.depthwise {
        options = options.depthwise(pattern);
    }
    for (pattern, d_mul) in &arguments.d_mul {
        options = options.d_mul(pattern, *d_mul);
    }
    for (pattern, groups) in &arguments.groups {
        options = options.groups(pattern, *groups);
    }
    options
}

fn summary(arguments: &Unfold, report: &UnfoldReport) -> String {
    let mut table = Table::new([
        ("layer", Kind::Name),
        ("type", Kind::Text),
        ("kernel", Kind::Text),
        ("W", Kind::Text),
        ("D", Kind::Text),
        ("groups", Kind::Number),
        ("", Kind::Text),
    ]);
    for layer in &report.layers {
        let source = match layer.groups_source {
            GroupsSource::Options => "told",
            GroupsSource::Assumed => "assumed",
            _ => "",
        };
        table.push([
            shown(&layer.name),
            layer.form.to_string(),
            format!("{:?}", layer.weight_shape),
            format!("{:?}", layer.w_shape),
            layer.d_shape.map_or("-".to_owned(), |shape| format!("{shape:?}")),
            count(layer.groups),
            source.to_owned(),
        ]);
    }
    let left = report.left.iter().map(|left| format!("{} ({})", shown(&left.key), left.reason));
    let left: Vec<_> = left.collect();
    let left = match left.is_empty() {
        true => String::new(),
        false => format!("left as they are: {}\n", left.join(", ")),
    };
    let parameters = report.parameters();
    format!(
        "{}\n{left}{} unfolded, {} to {}\n{}\n",
        table.text(columns()),
        counted(report.layers.len(), "layer"),
        counted(parameters.folded, "parameter"),
        count(parameters.trained),
        shown_path(&arguments.output),
    )
}
