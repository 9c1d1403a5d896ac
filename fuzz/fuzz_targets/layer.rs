//! A layer that is made of parameters, used, and folded.
#![no_main]

use do_conv_fuzz::{case::Case, layer, one_thread};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|case: Case| {
    one_thread();
    match case.double {
        true => layer::check::<f64>(&case),
        false => layer::check::<f32>(&case),
    }
});
