//! The fold of a checkpoint as a file, beside reading and writing a file of that size: a ResNet-34 with
//! DO-Conv layers, 92 MB. Both end when the new file is on the disk.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;
use std::path::Path;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use do_conv::checkpoint::{Checkpoint, Dtype, FoldOptions, SaveOptions, Tensor};
use do_conv::{DoConv2d, DoConv2dConfig};

/// Writes the checkpoint.
fn resnet34(path: &Path) {
    let mut checkpoint = Checkpoint::new();
    let mut insert = |name: String, inputs: usize, outputs: usize, side: usize| {
        let config = DoConv2dConfig::new(inputs, outputs, [side, side]).bias(false);
        let layer: DoConv2d<f32> = config.init(outputs as u64).unwrap();
        checkpoint.insert_layer(&name, &layer).unwrap();
        for part in ["weight", "bias", "running_mean", "running_var"] {
            let ones: Vec<u8> = (0..outputs).flat_map(|_| 1f32.to_le_bytes()).collect();
            let tensor = Tensor::new(Dtype::F32, &[outputs], &ones).unwrap();
            checkpoint.insert(format!("{name}.norm.{part}"), tensor);
        }
    };
    insert("stem".into(), 3, 64, 7);
    let mut inputs = 64;
    for (stage, (outputs, blocks)) in
        [(64, 3), (128, 4), (256, 6), (512, 3)].into_iter().enumerate()
    {
        for block in 0..blocks {
            let name = format!("layer{stage}.{block}");
            if inputs != outputs {
                insert(format!("{name}.shortcut"), inputs, outputs, 1);
            }
            insert(format!("{name}.conv1"), inputs, outputs, 3);
            insert(format!("{name}.conv2"), outputs, outputs, 3);
            inputs = outputs;
        }
    }
    checkpoint.save(path, &SaveOptions::default()).unwrap();
}

fn fold(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let [input, output] = ["input", "output"].map(|name| folder.path().join(name));
    resnet34(&input);
    // Each run writes a new file; the old one goes before the clock starts.
    let clear = || drop(fs::remove_file(&output));
    let mut group = c.benchmark_group("checkpoint");
    group.sample_size(10);
    group.bench_function("read and write", |bencher| {
        let copy = |()| {
            let bytes = fs::read(&input).unwrap();
            let mut file = File::create_new(&output).unwrap();
            file.write_all(&bytes).unwrap();
            file.sync_all().unwrap();
        };
        bencher.iter_batched(clear, copy, BatchSize::PerIteration);
    });
    group.bench_function("fold", |bencher| {
        let fold = |()| {
            let checkpoint = Checkpoint::open(&input).unwrap();
            black_box(checkpoint.fold(&output, &FoldOptions::default()).unwrap());
        };
        bencher.iter_batched(clear, fold, BatchSize::PerIteration);
    });
}

criterion_group!(benches, fold);
criterion_main!(benches);
