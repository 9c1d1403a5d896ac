//! Absurd settings and shapes.
#![no_main]

use do_conv_fuzz::{
    one_thread,
    settings::{self, Settings},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|settings: Settings| {
    one_thread();
    match settings.double {
        true => settings::check::<f64>(&settings),
        false => settings::check::<f32>(&settings),
    }
});
