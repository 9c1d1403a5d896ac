//! Completions, man pages, and output that can't be printed.

use super::{failure, names, stdout};

#[test]
fn every_shell_has_completions() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = stdout(&["completions", shell], folder.path());
        for word in ["do-conv", "inspect", "fold", "out-dir", "tensorflow"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    failure(2, &["completions", "tcsh"], folder.path());
}

#[test]
fn man_pages_are_printed_or_go_into_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let page = stdout(&["man"], folder.path());
    assert!(page.contains(".TH") && page.contains("fold"), "{page}");
    stdout(&["man", "."], folder.path());
    let pages = ["do\\-conv", "completions", "fold", "inspect", "man", "unfold", "verify"];
    let written = names(folder.path());
    assert_eq!(
        written,
        [
            "do-conv-completions.1",
            "do-conv-fold.1",
            "do-conv-inspect.1",
            "do-conv-man.1",
            "do-conv-unfold.1",
            "do-conv-verify.1",
            "do-conv.1"
        ]
    );
    assert!(pages.iter().all(|word| page.contains(word)), "{page}");
    let fold = std::fs::read_to_string(folder.path().join("do-conv-fold.1")).unwrap();
    assert!(fold.contains("Examples:") && fold.contains("batch"), "{fold}");
    // Again, over those that are there.
    stdout(&["man", "."], folder.path());
    let error = failure(1, &["man", "missing"], folder.path());
    assert!(error.starts_with("error: missing/do-conv.1: can't be written: "), "{error}");
}
