//! Made-up runs for tests.

use crate::record::{
    DMul, DStart, Epoch, Kind, NetKind, Replaced, RunConfig, RunResult, Schedule, Task,
};

/// A plain residual net.
pub fn config() -> RunConfig {
    RunConfig {
        task: Task::Classify,
        net: NetKind::ResnetV1,
        kind: Kind::Plain,
        d_mul: DMul::Times(1),
        d_init: DStart::Identity,
        decay_offset: true,
        replaced: Replaced::All,
        algorithm: "winograd4".into(),
        learning_rate: 0.1,
        schedule: Schedule::Cosine,
        weight_decay: 5e-4,
        batch: 64,
        epochs: 3,
        images: None,
        blocks: 1,
        data: "fashion-mnist".into(),
        seed: 0,
    }
}

/// The same of DO-Conv.
pub fn do_conv() -> RunConfig {
    RunConfig { kind: Kind::DoConv, ..config() }
}

/// Epochs with these test metrics.
pub fn epochs(metrics: &[f64]) -> Vec<Epoch> {
    let epoch = |(epoch, &test_metric): (usize, &f64)| Epoch {
        epoch,
        train_loss: 2.0 / epoch as f64,
        train_metric: test_metric,
        test_loss: 2.5 / epoch as f64,
        test_metric,
        seconds: 10.0,
    };
    (1..).zip(metrics).map(epoch).collect()
}

/// A run with these test metrics.
pub fn run(config: &RunConfig, seed: u64, metrics: &[f64]) -> RunResult {
    let metric = metrics.last().copied().unwrap_or(f64::NAN);
    RunResult {
        config: RunConfig { seed, epochs: metrics.len(), ..config.clone() },
        epochs: epochs(metrics),
        metric,
        folded_metric: metric,
        other_bits: 0,
        parameters: 78_330,
        folded_parameters: 77_850,
        maccs: 8_130_000,
        folded_maccs: 8_100_000,
        peak_bytes: 123_400_000,
        threads: 1,
        instruction_set: "avx2".into(),
    }
}

/// A run whose loss is lost in its second epoch.
pub fn diverged(config: &RunConfig, seed: u64) -> RunResult {
    let mut run = run(config, seed, &[20.0, 10.0, 10.0]);
    for epoch in &mut run.epochs[1..] {
        (epoch.train_loss, epoch.test_loss) = (f64::NAN, f64::INFINITY);
    }
    run
}
