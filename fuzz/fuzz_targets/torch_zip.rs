//! PyTorch's zip: the first byte tells whether it is compressed, then the pickle and the storages are
//! parts.
#![no_main]

use do_conv_fuzz::{archive, examine, parts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&compressed, rest)) = bytes.split_first() else { return };
    let name = |index: usize| match index {
        0 => "a/data.pkl".to_owned(),
        _ => format!("a/data/{}", index - 1),
    };
    let entries: Vec<_> =
        parts(rest).into_iter().enumerate().map(|(index, part)| (name(index), part)).collect();
    if let Some(file) = archive(&entries, compressed % 2 == 1) {
        examine(&file);
    }
});
