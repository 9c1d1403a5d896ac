//! What benchmarks have in common.

pub mod layers;

use std::time::Duration;

use criterion::Criterion;

/// Short runs, since there are many.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}
