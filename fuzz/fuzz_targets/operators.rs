//! The operators, by arrays that are lent.
#![no_main]

use do_conv_fuzz::{case::Case, one_thread, operators};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|case: Case| {
    one_thread();
    match case.double {
        true => operators::check::<f64>(&case),
        false => operators::check::<f32>(&case),
    }
});
