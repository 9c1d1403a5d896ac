//! NumPy's archives: the first byte tells whether it is compressed, then each array is a part.
#![no_main]

use do_conv_fuzz::{archive, examine, parts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&compressed, rest)) = bytes.split_first() else { return };
    const NAMES: [&str; 6] = ["a.W", "a.D", "a.bias", "b/kernel", "b/D", "c.weight"];
    let names = NAMES.map(|name| format!("{name}.npy"));
    let entries: Vec<_> = names.into_iter().zip(parts(rest)).collect();
    if let Some(file) = archive(&entries, compressed % 2 == 1) {
        examine(&file);
    }
});
