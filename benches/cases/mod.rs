//! What benchmarks have in common.

mod layers;

use std::time::Duration;

use criterion::Criterion;
use do_conv::{Composition, DoConv2d, DoConv2dConfig};

#[allow(unused_imports)] // Not every benchmark uses all.
pub use layers::{image, layers};

/// The layer in each composition.
#[allow(dead_code)]
pub fn forms(config: &DoConv2dConfig) -> [(&'static str, DoConv2d<f32>); 2] {
    [("kernel", Composition::Kernel), ("feature", Composition::Feature)]
        .map(|(name, order)| (name, config.clone().composition(order).init(1).expect("valid")))
}

/// Short runs, since there are many.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}
