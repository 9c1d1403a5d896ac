//! Output and report appear whole and together, or not at all.

#![cfg(unix)]

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{command, do_conv, folder, names, save_small, stdout};

/// A safetensors file of one 1×1 layer and a tensor of so many zeros, which take no room on the disk.
fn save_sparse(path: &Path, zeros: u64) {
    let header = format!(
        r#"{{"a.W":{{"dtype":"F32","shape":[1,1,1],"data_offsets":[0,4]}},"z":{{"dtype":"U8","shape":[{zeros}],"data_offsets":[4,{}]}}}}"#,
        zeros + 4
    );
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + 4 + zeros).unwrap();
}

/// Runs the command in a shell, after what is to be set.
fn in_shell(setting: &str, arguments: &str, folder: &Path) -> Output {
    let script = format!("{setting}; exec '{}' {arguments}", env!("CARGO_BIN_EXE_do-conv"));
    Command::new("sh").args(["-c", &script]).current_dir(folder).output().unwrap()
}

/// Sends a signal once the fold has a temporary file; gives how it ended.
fn interrupted(signal: &str, arguments: &[&str], folder: &Path) -> (Option<i32>, String) {
    let child =
        command(folder).args(arguments).stderr(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut child = child.unwrap();
    let start = Instant::now();
    while !names(folder).iter().any(|name| name.ends_with(".part")) {
        assert!(start.elapsed() < Duration::from_secs(60));
        sleep(Duration::from_millis(1));
    }
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let mut error = String::new();
    child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    (child.wait().unwrap().code(), error)
}

/// Whether the tests, and what they start, ignore a signal.
fn is_ignored(signal: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal - 1) & 1 == 1)
}

#[test]
fn signals_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    save_sparse(&path.join("in"), 4 << 30);
    let signals = [("-INT", 2, 130), ("-TERM", 15, 143), ("-HUP", 1, 129)];
    // Under `nohup` the last one is ignored, and stays so.
    for (signal, _, status) in signals.into_iter().filter(|(_, number, _)| !is_ignored(*number)) {
        let fold = ["fold", "in", "out", "--report", "report"];
        let (code, error) = interrupted(signal, &fold, path);
        assert_eq!(code, Some(status), "{error}");
        assert_eq!(error, "error: interrupted; nothing was written\n");
        assert_eq!(names(path), ["in"]);
    }
    let (code, _) =
        interrupted("-TERM", &["fold", "in", "out", "--report", "report", "--dry-run"], path);
    assert_eq!(code, Some(143));
    assert_eq!(names(path), ["in"]);
}

#[test]
fn a_file_beyond_the_limit_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    save_sparse(&path.join("in"), 4 << 20);
    let output = in_shell("ulimit -f 100", "fold in out --report report", path);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.starts_with("error: out: can't be written: "), "{error}");
    assert_eq!(names(path), ["in"]);
}

#[cfg(target_os = "linux")]
#[test]
fn room_that_can_not_be_had_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let header =
        r#"{"a.W":{"dtype":"F32","shape":[1,8589934592,1],"data_offsets":[0,34359738368]}}"#;
    let mut file = File::create(path.join("in")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + (32 << 30)).unwrap();
    let output = in_shell("ulimit -v 8000000", "fold in out", path);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("there is no room for it in memory"), "{error}");
    assert_eq!(names(path), ["in"]);
}

#[test]
fn a_second_file_that_can_not_have_its_name_takes_the_first_with_it() {
    let folder = folder();
    let path = folder.path();
    fs::write(path.join("out"), "old").unwrap();
    // A report in a folder that files can be made in, but not renamed: it is taken away meanwhile.
    save_sparse(&path.join("large"), 1 << 29);
    fs::create_dir(path.join("inner")).unwrap();
    let fold = ["fold", "large", "out", "--force", "--report", "inner/report"];
    let mut child =
        command(path).args(fold).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    while fs::read_dir(path.join("inner")).unwrap().count() == 0 {
        sleep(Duration::from_millis(1));
    }
    fs::create_dir(path.join("inner/report")).unwrap();
    let mut error = String::new();
    child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{error}");
    assert!(error.starts_with("error: inner/report: "), "{error}");
    assert_eq!(fs::read(path.join("out")).unwrap(), b"old");
    assert_eq!(names(path), ["in", "inner", "large", "out"]);
    assert_eq!(names(&path.join("inner")), ["report"]);
}

#[test]
fn force_keeps_modes_and_links() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    save_small(&path.join("in"));
    fs::write(path.join("real"), "old").unwrap();
    fs::set_permissions(path.join("real"), Permissions::from_mode(0o600)).unwrap();
    symlink("real", path.join("out")).unwrap();
    stdout(&["fold", "in", "out", "--force"], path);
    assert!(path.join("out").is_symlink());
    assert_ne!(fs::read(path.join("real")).unwrap(), b"old");
    let mode = path.join("real").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // The input by another name.
    symlink("in", path.join("link")).unwrap();
    let output = do_conv(&["fold", "in", "link", "--force"], path);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error, "error: link: this is an input, which stays as it is\n");
}

#[test]
fn output_that_can_not_be_printed_is_no_panic_and_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    save_small(&path.join("in"));
    let full = Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    let run = |arguments: &str| {
        let output = in_shell(":", arguments, path);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = run("fold in out --report report > /dev/full");
    assert_eq!(code, Some(1));
    assert!(error.starts_with("error: can't print to standard output: "), "{error}");
    assert!(error.ends_with("hint: the files are written, only this summary is lost\n"), "{error}");
    assert_eq!(names(path), ["in", "out", "report"]);
    for arguments in ["inspect in", "inspect in --json", "completions bash", "man", "--help"] {
        let (code, error) = run(&format!("{arguments} > /dev/full"));
        assert_eq!(code, Some(1), "{arguments}: {error}");
        assert!(error.starts_with("error: can't print"), "{arguments}: {error}");
    }
    for (arguments, status) in [
        ("inspect missing 2> /dev/full", 1),
        ("inspect missing 2>&-", 1),
        ("inspect --wrong 2> /dev/full", 2),
        ("inspect in >&-", 0),
        ("inspect in >&- 2>&- <&-", 0),
        ("fold in closed >&- 2>&-", 0),
    ] {
        assert_eq!(run(arguments).0, Some(status), "{arguments}");
    }
    assert!(path.join("closed").exists());
}

#[test]
fn a_broken_pipe_is_fine() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    save_small(&path.join("in"));
    let child = command(path).args(["fold", "in", "out"]).stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    assert!(path.join("out").exists());
}
