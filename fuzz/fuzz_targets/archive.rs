//! A zip archive byte by byte, whoever's.
#![no_main]

use do_conv_fuzz::examine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| examine(&[b"PK", bytes].concat()));
