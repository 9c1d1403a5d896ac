//! Files appear whole or not at all, alone and together.

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use do_conv::ErrorKind;
use do_conv::checkpoint::{AtomicFile, Checkpoint, FoldOptions};

use super::tensor;
use crate::common::refused;

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn written(path: &Path, overwrite: bool, text: &str) -> AtomicFile {
    let mut file = AtomicFile::new(path, overwrite).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn several_files_appear_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("old"), "old").unwrap();
    let files = || {
        let all = [("new", false), ("old", true), ("last", false)];
        all.map(|(name, overwrite)| written(&path(name), overwrite, name.trim_start_matches('o')))
    };

    let waiting = files();
    fs::write(path("last"), "another's").unwrap();
    let error = AtomicFile::persist_all(waiting).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exists, "{error}");
    assert_eq!(names(folder.path()), ["last", "old"]);
    assert_eq!(fs::read(path("old")).unwrap(), b"old");
    assert_eq!(fs::read(path("last")).unwrap(), b"another's");

    fs::remove_file(path("last")).unwrap();
    AtomicFile::persist_all(files()).unwrap();
    assert_eq!(names(folder.path()), ["last", "new", "old"]);
    assert_eq!(fs::read(path("old")).unwrap(), b"ld");
    assert_eq!(fs::read(path("new")).unwrap(), b"new");

    drop(written(&path("dropped"), false, "text"));
    assert_eq!(names(folder.path()), ["last", "new", "old"]);
}

#[cfg(unix)]
#[test]
fn a_replaced_file_keeps_its_mode_and_the_links_to_it() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("inner")).unwrap();
    fs::write(path("inner/file"), "old").unwrap();
    fs::set_permissions(path("inner/file"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(path("inner/file"), path("hard")).unwrap();
    symlink("inner/file", path("soft")).unwrap();
    symlink("soft", path("softer")).unwrap();

    let file = written(&path("softer"), true, "new");
    let waiting = fs::read_dir(path("inner")).unwrap().map(|entry| entry.unwrap());
    for entry in waiting {
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0, "nobody reads it who couldn't: {:?}", entry.path());
    }
    file.persist().unwrap();
    assert_eq!(fs::read(path("inner/file")).unwrap(), b"new");
    let mode = path("inner/file").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
    assert_eq!(fs::read_link(path("softer")).unwrap(), Path::new("soft"));
    assert_eq!(fs::read(path("hard")).unwrap(), b"old");

    symlink("nothing", path("dangling")).unwrap();
    let error = AtomicFile::new(path("dangling"), true).unwrap_err();
    assert_eq!(error.kind, ErrorKind::File, "{error}");
    let error = AtomicFile::new(path("dangling"), false).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exists, "{error}");
    assert_eq!(names(folder.path()), ["dangling", "hard", "inner", "soft", "softer"]);
    assert_eq!(names(&path("inner")), ["file"]);
}

#[test]
fn a_fold_stops_when_it_is_told_to_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("a.W", tensor(&[200, 30, 9], |index| index as f32));
    checkpoint.insert("a.D", tensor(&[30, 9, 9], |_| 0.5));
    checkpoint.insert("copied", tensor(&[1 << 18], |_| 1.0));
    let options = FoldOptions::default();
    for most in [1, 3 << 18] {
        let stop = |done, _| match done < most {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        };
        let folded = checkpoint.fold_with(folder.path().join("out"), &options, &stop);
        let text = "Checkpoint::fold: progress: expected leave to go on, got a wish to stop";
        refused(folded, ErrorKind::Cancelled, text);
        let checked = checkpoint.check_fold_with(&options, &stop).unwrap_err();
        assert_eq!(checked.kind, ErrorKind::Cancelled);
        assert!(names(folder.path()).is_empty());
    }
}

#[test]
fn a_folded_file_waits_for_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("a.W", tensor(&[2, 3, 1], |index| index as f32));
    let go_on = |_, _| ControlFlow::Continue(());
    let (report, file) = checkpoint.fold_unnamed(&path, &FoldOptions::default(), &go_on).unwrap();
    assert!(!path.exists());
    file.persist().unwrap();
    assert_eq!(names(folder.path()), ["out"]);
    assert_eq!(path.metadata().unwrap().len(), report.bytes);
}
