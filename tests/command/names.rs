//! Names from files and arguments as they reach the terminal.

use std::path::Path;

use do_conv::checkpoint::{Checkpoint, SaveOptions};

use super::{command, do_conv, folder, save_small, stdout, tensor};

/// What a command prints, which must be fit for a terminal.
#[track_caller]
fn printed(arguments: &[&str], folder: &Path) -> String {
    let output = do_conv(arguments, folder);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("valid UTF-8");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    assert!(text.lines().all(|line| line.chars().count() < 800), "{text}");
    text
}

#[test]
fn names_from_a_file_reach_the_terminal_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let mut checkpoint = Checkpoint::new();
    checkpoint.insert("\u{1b}[31m.W", tensor(&[1, 1, 1], |_| 1.0));
    let long = format!("{}.W", "\u{202e}".repeat(70_000));
    checkpoint.insert(long, tensor(&[1, 1, 1], |_| 1.0));
    checkpoint.save(folder.path().join("in"), &SaveOptions::default()).unwrap();
    for arguments in [&["inspect", "in"][..], &["fold", "in", "out"]] {
        let got = stdout(arguments, folder.path());
        assert!(!got.contains('\u{1b}') && got.contains("\\u{1b}[31m"), "{got}");
        assert!(!got.contains('\u{202e}'), "{got}");
    }
}

#[test]
fn arguments_reach_the_terminal_escaped_and_short() {
    let folder = folder();
    let long = "x".repeat(10_000);
    let wild = ["a\nerror: forged", "\u{1b}[31mred", "\u{202e}", "a\rb", &long];
    for name in wild {
        let option = format!("--{name}");
        let pair = format!("{name}=1x1");
        for arguments in [
            &["inspect", name][..],
            &["inspect", "in", &option],
            &["inspect", "in", "--format", name],
            &["inspect", "in", "--max-bytes", name],
            &["inspect", "in", "--kernel", name],
            &["inspect", "in", "--kernel", &pair],
            &["inspect", "in", "--kernel", &pair, "--kernel", &pair],
            &["inspect", "in", "--skip", name],
            &["inspect", "in", "--key", name],
            &["fold", "in", "out", "--rename", &pair],
            &["fold", "in", name, "other"],
            &["fold", name, "out"],
            &["fold", name, name],
            &["fold", "in", "--out-dir", name],
            &["man", name],
            &[name],
        ] {
            let text = printed(arguments, folder.path());
            assert!(text.starts_with("error: "), "{text}");
            assert_eq!(
                text.matches("error: forged").count(),
                text.matches("\\nerror: forged").count()
            );
        }
    }
}

#[cfg(unix)]
#[test]
fn paths_of_any_bytes_are_read_and_shown() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let folder = tempfile::tempdir().unwrap();
    let name = OsStr::from_bytes(b"a\xff\n\x1b[31m");
    save_small(&folder.path().join(name));
    for arguments in [["inspect"].as_slice(), &["fold", "--dry-run"]] {
        let output = command(folder.path()).args(arguments).args([name]).output().unwrap();
        assert!(output.status.success());
    }
    let output = command(folder.path()).arg("inspect").args([name, OsStr::new("none")]).output();
    let error = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(error.starts_with("error: none: "), "{error}");
    let both = command(folder.path()).arg("inspect").args([name, name]).output().unwrap();
    let got = String::from_utf8(both.stdout).unwrap();
    assert!(got.starts_with("a\u{fffd}\\n\\u{1b}[31m:\n"), "{got}");
    let output = command(folder.path()).arg("--kernel").args([name]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(!output.stderr.contains(&0x1b));
}
