//! PyTorch's older files: pickles and storages one after the other.
#![no_main]

use do_conv_fuzz::examine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| examine(bytes));
