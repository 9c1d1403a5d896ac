//! A safetensors file: a byte of how many eights its header has, unless that is 255, when the file's
//! own eight bytes of length follow.
#![no_main]

use do_conv_fuzz::examine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        Some((255, file)) => examine(file),
        Some((&eights, rest)) => {
            let len = 8 * u64::from(eights);
            examine(&[&len.to_le_bytes(), rest].concat());
        }
        None => examine(bytes),
    }
});
