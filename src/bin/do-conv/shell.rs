//! What a shell and `man` are told of the command.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use do_conv::checkpoint::AtomicFile;

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::print::print;
use crate::text::shown_path;

/// `do-conv completions`.
pub fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "do-conv", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// `do-conv man`: the page of the command, or a folder of that and one for each subcommand.
pub fn man(folder: Option<&Path>) -> Result<(), Failure> {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let Some(folder) = folder else {
        return print(&String::from_utf8_lossy(&page(&command)?));
    };
    let interrupt = Interrupt::listen()?;
    interrupt.during(|| {
        let mut files = Vec::new();
        for command in [&command].into_iter().chain(command.get_subcommands()) {
            let name = command.get_display_name().unwrap_or(command.get_name());
            let path = folder.join(format!("{name}.1"));
            let failed = |error: &dyn std::fmt::Display| Failure::of(&path, &error.to_string());
            let file = AtomicFile::new(&path, true);
            let mut file =
                file.map_err(|error| failed(&format!("can't be written: {}", error.got)))?;
            file.write_all(&page(command)?).map_err(|error| failed(&error))?;
            files.push(file);
        }
        interrupt.check()?;
        AtomicFile::persist_all(files).map_err(|error| Failure::of(folder, &error.got))
    })?;
    print(&format!("{}: man pages written\n", shown_path(folder)))
}

fn page(command: &clap::Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    let rendered = Man::new(command.clone()).render(&mut page);
    rendered.map_err(|error| Failure::new(format!("man page: {error}")))?;
    Ok(page)
}
