//! How much memory a pass takes besides its output, by a counting allocator.

use allocation_counter::{AllocationInfo, measure};
use do_conv::PaddingMode::{Circular, Reflect};
use do_conv::{
    Algorithm, Composition, Conv2d, Conv2dConfig, Conv2dGradients, DoConv2d, DoConv2dConfig,
};
use ndarray::Array4;
use rayon::ThreadPoolBuilder;

const MIB: u64 = 1 << 20;

/// What a call allocates on one thread.
fn count(call: impl FnOnce() + Send) -> AllocationInfo {
    count_of(1, call)
}

/// What a call allocates on the thread that takes the buffers of all, of a pool.
fn count_of(threads: usize, call: impl FnOnce() + Send) -> AllocationInfo {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| measure(call))
}

/// Dense layers and depthwise ones, images that are large, long or many, kernels of any shape.
fn layers() -> Vec<(DoConv2dConfig, [usize; 4])> {
    let layer = DoConv2dConfig::new;
    vec![
        (layer(64, 64, [3, 3]).padding(1), [1, 64, 256, 256]),
        (layer(3, 16, [3, 3]).padding(1), [1, 3, 1500, 1500]),
        (layer(8, 8, [3, 3]).padding(1), [1, 8, 3, 100_000]),
        (layer(8, 8, [3, 3]).padding(1), [1, 8, 100_000, 3]),
        (layer(16, 16, [3, 3]).padding(1).stride([2, 2]), [2, 16, 301, 299]),
        (layer(256, 64, [1, 1]), [2, 256, 56, 56]),
        (layer(128, 128, [3, 3]).padding(1), [300, 128, 2, 2]),
        (layer(8, 8, [3, 3]).padding(200).dilation([200, 200]), [1, 8, 400, 400]),
        (layer(64, 64, [5, 5]).padding(2).groups(64), [1, 64, 500, 500]),
        (layer(32, 32, [3, 3]).padding(1).groups(8), [1, 32, 300, 300]),
        // Tables of what is read where are longest for long kernels, images and other padding.
        (layer(8, 8, [31, 1]).groups(8), [1, 8, 200_000, 1]),
        (layer(8, 8, [3, 1]).groups(8), [1, 8, 200_000, 1]),
        (layer(8, 8, [1, 31]).groups(8), [1, 8, 1, 200_000]),
        (layer(8, 8, [31, 31]).padding(15).groups(8), [1, 8, 100, 100]),
        (layer(8, 8, [3, 3]).padding(1).padding_mode(Reflect), [1, 8, 100_000, 3]),
        (layer(8, 8, [3, 3]).padding(1).padding_mode(Reflect), [1, 8, 3, 100_000]),
        (layer(2, 8, [3, 3]).padding(1).padding_mode(Circular).groups(2), [1, 2, 100_000, 5]),
        (layer(8, 8, [31, 31]).padding(15), [1, 8, 56, 56]),
        (layer(2, 8, [31, 31]).padding(15), [1, 2, 56, 56]),
        (layer(32, 16, [31, 31]).stride([31, 31]), [1, 32, 217, 217]),
        (layer(3, 8, [5, 5]).stride([3, 4]).padding(2), [1, 3, 2000, 700]),
        (layer(8, 8, [9, 9]).padding(4), [4000, 8, 2, 2]),
    ]
}

#[test]
fn a_pass_takes_two_mebibytes_a_thread_at_most() {
    for (config, input) in layers() {
        let layer: DoConv2d<f32> = config.clone().init(1).unwrap();
        let conv: Conv2d<f32> = layer.fold();
        let x = Array4::ones(input);
        let mut y = Array4::zeros(conv.output_shape(input).unwrap());
        // The packed kernel isn't scratch; it has up to a register's lanes of channels more.
        let kernel =
            4 * (conv.weight().len() * 16usize.div_ceil(config.conv.out_channels).max(2)) as u64;
        let info = count(|| conv.forward_into(&x, &mut y).unwrap());
        let forward = info.bytes_max;
        assert!(info.bytes_max <= 2 * MIB + kernel, "forward: {config:?}, {input:?}: {info:?}");
        let mut gradients = conv.gradients(Some(x.dim().into())).unwrap();
        let info = count(|| conv.backward_into(&x, &y, gradients.view_mut()).unwrap());
        assert!(info.bytes_max <= 2 * MIB + kernel, "backward: {config:?}, {input:?}: {info:?}");
        let [forward, backward] = [forward, info.bytes_max].map(|bytes| bytes as f64 / MIB as f64);
        let Conv2dConfig { in_channels, out_channels, kernel_size, groups, .. } = &config.conv;
        println!(
            "{in_channels}→{out_channels}, {kernel_size:?}, {groups} groups, {input:?}: forward \
             {forward:.2} MiB, backward {backward:.2} MiB"
        );
    }
}

/// Layers that Winograd's algorithms apply to: large and long images, many images, channels and phases.
fn winograd_layers() -> Vec<(Conv2dConfig, [usize; 4])> {
    let layer = |inputs, outputs| Conv2dConfig::new(inputs, outputs, [3, 3]).padding(1);
    vec![
        (layer(64, 64), [1, 64, 256, 256]),
        (layer(16, 16), [1, 16, 700, 900]),
        (layer(16, 16), [1, 16, 3, 30_000]),
        (layer(16, 16), [1, 16, 30_000, 3]),
        (layer(16, 16).padding_mode(Reflect), [1, 16, 30_000, 3]),
        (layer(512, 512), [1, 512, 28, 28]),
        (layer(512, 512), [64, 512, 7, 7]),
        (layer(64, 64), [64, 64, 14, 14]),
        (layer(128, 128).groups(4), [8, 128, 56, 56]),
        (layer(256, 256).padding(6).dilation([6, 6]), [2, 256, 33, 33]),
        // As many phases and channels as there may be: of those that are transformed at once, and of others.
        (layer(1820, 16).padding(6).dilation([6, 6]), [1, 1820, 13, 13]),
        (layer(1820, 16).padding(6).dilation([6, 6]), [2, 1820, 40, 40]),
        (layer(809, 36).padding(6).dilation([6, 6]), [1, 809, 13, 13]),
        (layer(2048, 256).padding(6).dilation([6, 6]), [1, 2048, 13, 13]),
        (layer(2048, 2048).padding(6).dilation([6, 6]), [1, 2048, 13, 13]),
        (layer(2048, 256).padding(6).dilation([6, 6]), [2, 2048, 40, 40]),
        (layer(256, 2048).padding(36).dilation([1, 36]), [1, 256, 40, 40]),
    ]
}

#[test]
fn a_pass_by_tiles_takes_bounded_scratch() {
    for (config, input) in winograd_layers() {
        let x = Array4::<f32>::ones(input);
        for (algorithm, points) in [(Algorithm::Winograd2, 16), (Algorithm::Winograd4, 36)] {
            let conv: Conv2d<f32> = config.clone().algorithm(algorithm).init(1).unwrap();
            assert_eq!(conv.algorithm(input).unwrap(), algorithm);
            let mut y = Array4::zeros(conv.output_shape(input).unwrap());
            // The packed kernel isn't scratch: it is transformed, if it is made as a whole, or as it is.
            let [inputs, outputs] =
                [config.in_channels, config.out_channels].map(|all| all / config.groups);
            let taps =
                if points * inputs * outputs * config.groups <= 1 << 20 { points } else { 9 };
            // It has up to a register's lanes of channels more, an odd number of the others, and is made a panel
            // at a time.
            let packed = |from: usize, to: usize| {
                let panel = 4 * 16 * (from | 1) * taps;
                (panel * to.div_ceil(16) * config.groups + 4 * 16 * from * 9) as u64
            };
            let kernels = [packed(inputs, outputs), packed(outputs, inputs)];
            // A tile of each phase of all channels has to find room.
            let is_dilated = config.dilation != [1, 1];
            let most = |threads| if is_dilated { 24 + 10 * threads } else { 6 + 4 * threads };
            for threads in [1, 2] {
                let conv = conv.clone();
                let info = count_of(threads, || conv.forward_into(&x, &mut y).unwrap());
                // A clone has none of the buffers that the forward pass left.
                let conv = conv.clone();
                let mut gradients = conv.gradients(Some(input)).unwrap();
                let backward = |gradients: &mut Conv2dGradients<f32>| {
                    conv.backward_into(&x, &y, gradients.view_mut()).unwrap();
                };
                let of_backward = count_of(threads, || backward(&mut gradients));
                let Conv2dConfig { in_channels, out_channels, dilation, .. } = &config;
                let what = format!(
                    "{algorithm}, {threads} threads, {in_channels}→{out_channels}, {dilation:?}, {input:?}"
                );
                let scratch = [info, of_backward].map(|info| info.bytes_max);
                let [forward, backward] =
                    [0, 1].map(|at| scratch[at].saturating_sub(kernels[at]) as f64 / MIB as f64);
                println!("{what}: forward {forward:.2} MiB, backward {backward:.2} MiB");
                assert!(forward.max(backward) <= f64::from(most(threads as u32)), "{what}");
            }
        }
    }
}

#[test]
fn a_pass_by_features_takes_two_mebibytes_a_thread_at_most() {
    for (config, input) in layers() {
        let taps: usize = config.conv.kernel_size.iter().product();
        if taps > 100 {
            continue; // Seconds of work, and no other tables than those of long kernels of one column.
        }
        let layer: DoConv2d<f32> =
            config.clone().composition(Composition::Feature).init(1).unwrap();
        let x = Array4::ones(input);
        let mut y = Array4::zeros(layer.output_shape(input).unwrap());
        // D, and W packed in up to a register's lanes of channels more.
        let outputs = config.conv.out_channels / config.conv.groups;
        let packed = layer.w().len() * 16usize.div_ceil(outputs).max(2);
        let d = layer.d_offset().map_or(0, |d_offset| d_offset.len());
        let info = count(|| layer.forward_into(&x, &mut y).unwrap());
        let most = 2 * MIB + 4 * (packed + d) as u64;
        assert!(info.bytes_max <= most, "{config:?}, {input:?}: {info:?}");
    }
}

#[test]
fn a_folded_layer_allocates_no_buffers_once_it_is_warm() {
    for (config, input) in layers() {
        let conv = config.clone().init::<f32>(1).unwrap().fold();
        let x = Array4::ones(input);
        let mut y = Array4::zeros(conv.output_shape(input).unwrap());
        count(|| conv.forward_into(&x, &mut y).unwrap());
        let info = count(|| conv.forward_into(&x, &mut y).unwrap());
        // Tables of what is read where, no images and no kernels.
        assert!(info.bytes_max < MIB, "{config:?}, {input:?}: {info:?}");
    }
}

#[cfg(feature = "checkpoint")]
#[test]
fn a_checkpoint_is_folded_in_less_than_twice_its_size() {
    use do_conv::checkpoint::{Checkpoint, FileFormat, FoldOptions, KernelLayout, SaveOptions};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    // Of a depthwise layer most is D, which is held in f64; of a dense one not even W is.
    for (config, most) in [
        (DoConv2dConfig::new(512, 512, [3, 3]), 0.25),
        (DoConv2dConfig::new(4096, 4096, [3, 3]).groups(4096), 2.0),
    ] {
        let layer: DoConv2d<f32> = config.init(1).unwrap();
        let mut checkpoint = Checkpoint::new();
        checkpoint.insert_layer("a", &layer).unwrap();
        checkpoint.save(&path, &SaveOptions::default().overwrite(true)).unwrap();
        drop(checkpoint);
        let plain = FoldOptions::default().overwrite(true);
        let kernel = layer.fold().weight().len() as f64 * 4.0;
        for (options, kernels) in [
            (plain.clone(), 0.0),
            (plain.clone().format(FileFormat::PyTorch), 0.0),
            (plain.layout(KernelLayout::TensorFlow), 1.0),
        ] {
            let used = count(|| {
                let checkpoint = Checkpoint::open(&path).unwrap();
                checkpoint.fold(folder.path().join("folded"), &options).unwrap();
            });
            let share =
                (used.bytes_max as f64 - kernels * kernel) / path.metadata().unwrap().len() as f64;
            assert!(share <= most, "{options:?}: {share}");
        }
    }
}
