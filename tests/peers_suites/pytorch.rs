//! PyTorch: `test/nn/test_convolution.py` and the inputs of convolutions in `torch/testing/_internal`.
//! Images of a size that is about a device's memory are smaller here, which the row says.

use do_conv::PaddingMode;

use crate::row::{Row, halves, line, of_file, row};

pub fn rows() -> Vec<Row> {
    let mut tests = same_padding();
    tests.extend(layers());
    tests.extend(groups());
    tests.extend(layouts());
    tests.extend(products());
    let mut rows = of_file("PyTorch test_convolution.py", tests);
    rows.extend(of_file("PyTorch common_nn.py", common_nn()));
    rows.extend(of_file("PyTorch common_methods_invocations.py", sample_inputs()));
    rows.extend(of_file("PyTorch common_modules.py", module_inputs()));
    rows
}

fn same_padding() -> Vec<Row> {
    use PaddingMode::{Reflect, Replicate};
    let modules = "test_Conv2d_module_same_padding";
    let mut rows = vec![
        line("test_Conv1d_module_same_padding", [1, 1, 20], [1, 1, 10]).same([0, 0], [4, 5]),
        line("test_Conv1d_module_same_padding, dilated", [1, 1, 20], [1, 1, 10])
            .dilation(1, 2)
            .same([0, 0], [9, 9]),
        line("test_Conv1d_module_same_padding, replicate", [1, 1, 20], [1, 1, 10])
            .mode(Replicate)
            .same([0, 0], [4, 5]),
        row(modules, [1, 1, 9, 20], [1, 1, 5, 10]).same([2, 2], [4, 5]),
        row(modules, [1, 1, 9, 20], [1, 1, 3, 4]).dilation(1, 2).same([1, 1], [3, 3]),
        row(modules, [1, 1, 9, 20], [1, 1, 3, 4]).mode(Reflect).same([1, 1], [1, 2]),
        line("test_conv1d_same_padding", [1, 1, 12], [1, 1, 3]).same([0, 0], [1, 1]),
        line("test_conv1d_same_padding", [1, 1, 12], [1, 1, 4]).dilation(1, 2).same([0, 0], [3, 3]),
        line("test_conv1d_same_padding", [1, 1, 12], [1, 1, 4]).dilation(1, 3).same([0, 0], [4, 5]),
        line("test_conv1d_same_padding_backward", [1, 1, 12], [1, 1, 4]).same([0, 0], [1, 2]),
        row("test_conv2d_same_padding", [1, 1, 10, 11], [1, 1, 4, 5]).same([1, 2], [2, 2]),
        row("test_conv2d_same_padding", [1, 1, 10, 11], [1, 1, 3, 4])
            .dilation(2, 2)
            .same([2, 2], [3, 3]),
        row("test_conv2d_same_padding", [1, 1, 10, 11], [1, 1, 4, 4])
            .dilation(3, 3)
            .same([4, 5], [4, 5]),
        row("test_conv2d_same_padding_backward", [1, 1, 10, 11], [1, 1, 4, 5])
            .dilation(2, 2)
            .same([3, 3], [4, 4]),
        row("test_conv2d_same_padding_backward", [1, 1, 10, 11], [1, 1, 4, 4]).same([1, 2], [1, 2]),
        line("test_conv1d_valid_padding", [1, 1, 10], [1, 1, 4]),
        row("test_conv2d_valid_padding", [1, 1, 1, 10], [1, 1, 1, 4]),
    ];
    for width in 50..55 {
        for kernel in [1, 2, 3, 8] {
            for dilation in 1..4 {
                let all = line("test_conv1d_same_padding, all", [1, 1, width], [1, 1, kernel]);
                rows.push(all.dilation(1, dilation).same([0, 0], halves(kernel, dilation)));
            }
        }
    }
    for kernel in [4, 5] {
        let scipy = || line("test_conv1d_vs_scipy", [1, 1, 10], [1, 1, kernel]);
        rows.extend([scipy(), scipy().pad(0, kernel / 2)]);
    }
    for [height, width] in [[2, 4], [3, 5]] {
        let scipy = || row("test_conv2d_vs_scipy", [1, 1, 5, 10], [1, 1, height, width]);
        rows.extend([scipy(), scipy().pad(height / 2, width / 2)]);
    }
    rows
}

fn layers() -> Vec<Row> {
    vec![
        row("test_conv_backcompat", [1, 1, 1, 1], [1, 1, 1, 1]),
        row("test_Conv2d_inconsistent_types, same types", [4, 1, 7, 7], [1, 1, 3, 3]).no_bias(),
        row("test_Conv2d_1x1", [1, 2, 5, 5], [2, 2, 1, 1]).no_bias(),
        row("test_Conv2d_size_1_kernel", [2, 3, 5, 5], [3, 3, 1, 1]),
        row("test_Conv2d_backward_twice", [2, 3, 5, 5], [3, 3, 3, 3]),
        row("test_thnn_conv_strided_padded_dilated", [1, 2, 4, 4], [2, 2, 1, 1]).stride(2, 2),
        row("test_thnn_conv_strided_padded_dilated", [1, 2, 4, 4], [2, 2, 1, 1]).pad(1, 1),
        row("test_thnn_conv_strided_padded_dilated", [1, 2, 4, 4], [2, 2, 1, 1])
            .stride(2, 2)
            .pad(1, 1),
        row("test_thnn_conv_strided_padded_dilated", [1, 2, 4, 4], [2, 2, 1, 1]).dilation(2, 2),
        line("test_conv_shapecheck", [3, 1, 2], [1, 1, 2]),
        line("test_conv_shapecheck", [3, 1, 2], [1, 1, 2]).stride(1, 2),
        line("test_conv_shapecheck", [3, 1, 2], [1, 1, 3]).stride(1, 2).pad(0, 1),
        row("test_conv_shapecheck", [3, 1, 3, 3], [1, 1, 3, 3]),
        row("test_conv_shapecheck", [3, 1, 2, 2], [1, 1, 3, 3]).pad(1, 1),
        row("test_functional_grad_conv", [1, 1, 5, 5], [1, 1, 3, 3]).dilation(2, 2),
        line("test_functional_grad_conv, 1d", [1, 1, 5], [1, 1, 3]).dilation(1, 2),
        row("test_Conv2d_deterministic_cudnn", [2, 3, 7, 7], [3, 3, 3, 3]),
        row("test_Conv2d_deterministic_cudnn", [2, 3, 7, 7], [3, 3, 3, 3]).dilation(2, 2),
        row("test_Conv2d_deterministic_cudnn", [2, 3, 7, 7], [3, 3, 3, 3]).dilation(3, 3),
        row("test_Conv2d_large_workspace, smaller", [1, 32, 11, 18], [32, 32, 3, 3]).pad(1, 1),
        row("test_conv_double_backward", [1, 2, 5, 5], [3, 2, 3, 3]).pad(2, 2),
        row("test_conv_double_backward", [1, 2, 5, 5], [3, 2, 3, 3]).pad(2, 2).dilation(2, 2),
        row("test_conv_double_backward", [1, 2, 9, 9], [3, 2, 4, 4]).pad(2, 2),
        row("test_conv_double_backward_no_bias", [2, 2, 5, 5], [4, 2, 3, 3]).stride(2, 2).pad(1, 1),
        row("test_conv_double_backward_stride", [2, 1, 5, 5], [2, 1, 3, 3]).stride(2, 2),
        row("test_conv_double_backward_stride", [2, 1, 5, 5], [2, 1, 3, 3]).stride(2, 2).pad(1, 1),
        row("test_conv_double_backward_stride", [2, 1, 5, 5], [2, 1, 3, 3])
            .stride(2, 2)
            .dilation(2, 2),
        row("test_conv_double_backward_stride", [2, 1, 5, 5], [2, 1, 3, 3])
            .stride(2, 2)
            .dilation(2, 2)
            .pad(1, 1),
        row("test_conv_double_backward_stride", [2, 1, 7, 7], [2, 1, 3, 3]).stride(2, 2),
        row("test_conv_double_backward_stride", [2, 1, 7, 7], [2, 1, 3, 3]).stride(2, 2).pad(1, 1),
        line("test_conv_double_backward_strided_with_3D_input", [2, 3, 6], [3, 3, 3])
            .stride(1, 2)
            .pad(0, 1),
        row("test_conv_ic1_channels_last_for_oneDNN, smaller", [2, 1, 20, 20], [64, 1, 3, 3])
            .pad(1, 1)
            .no_bias(),
        row("test_conv_contiguous_for_oneDNN, smaller", [1, 1, 33, 21], [128, 1, 5, 2])
            .stride(2, 1)
            .pad(0, 1),
        row("test_conv_large_nosplit, smaller", [1, 2, 24, 1000], [2, 2, 8, 8]).stride(8, 8),
        row("test_conv_large_nosplit, 1x1, smaller", [1, 1, 16, 8], [1024, 1, 1, 1]),
        row("test_conv_large, smaller", [33, 2, 16, 16], [2, 2, 8, 8]).stride(8, 8).no_bias(),
        row("test_conv_large_batch_1, smaller", [1, 514, 5, 6], [1, 514, 3, 3]).pad(1, 1),
        row("test_conv_cudnn_nhwc_support", [1, 16, 1, 1], [8, 16, 3, 3])
            .stride(2, 1)
            .pad(1, 1)
            .no_bias(),
    ]
}

fn groups() -> Vec<Row> {
    let mut rows = vec![
        row("test_Conv2d_groups_nobias", [2, 4, 6, 6], [4, 2, 3, 3]).no_bias(),
        row("test_Conv2d_groups_nobias_v2", [2, 4, 6, 6], [16, 2, 3, 3]).no_bias(),
        row("test_Conv2d_naive_groups", [2, 4, 6, 6], [4, 2, 3, 3]),
        row("test_Conv2d_depthwise_naive_groups", [2, 2, 6, 6], [2, 1, 3, 3]),
        row("test_Conv2d_depthwise_naive_groups, multiplier", [2, 2, 6, 6], [4, 1, 3, 3]),
        row("test_Conv2d_backward_depthwise", [2, 2, 4, 20], [2, 1, 3, 5]).stride(1, 10).no_bias(),
        row("test_grouped_conv_cudnn_nhwc_support, smaller", [2, 16, 8, 8], [8, 4, 3, 3])
            .pad(1, 1)
            .no_bias(),
        row("test_conv_double_backward_groups", [2, 4, 6, 6], [8, 2, 3, 3]).pad(2, 2),
        row("test_group_conv_empty", [0, 4, 4, 4], [4, 1, 3, 3]).stride(2, 2).pad(1, 1),
        row("test_depthwise_conv_64bit_indexing, smaller", [100, 2, 5, 7], [2, 1, 3, 3]).pad(1, 1),
        line("test_conv1d_issue_120547", [1, 16, 1], [16, 1, 32]).pad(0, 16),
        row("test_conv3d_issue_120406, a plane", [2, 3, 9, 26], [3, 1, 1, 17]).no_bias(),
    ];
    for groups in [24, 48, 23, 25] {
        for dilation in [1, 2] {
            let one = row("test_Conv2d_OneDNN", [1, groups, 6, 6], [groups, 1, 3, 3]).no_bias();
            rows.push(one.stride(2, 2).pad(1, 1).dilation(dilation, dilation));
        }
    }
    for radius in [0, 1, 2, 7, 8, 31, 63, 127] {
        let test = "test_permute_conv2d_issue_120211, smaller";
        rows.push(row(test, [1, 3, 3, 300], [3, 1, 1, 2 * radius + 1]).no_bias());
    }
    for batch in 1..=3 {
        for groups in [1, 2, 4] {
            rows.push(row("test_conv2d_no_grad", [batch, groups, 8, 8], [8, 1, 3, 3]));
            for [image, kernel] in [[1, 1], [8, 1], [8, 3]] {
                let x = [batch, groups, image, image];
                let relu = row("test_cudnn_convolution_relu", x, [8, groups, kernel, kernel]);
                rows.push(relu.no_bias());
            }
        }
    }
    rows
}

/// Tests of what lies how in memory.
fn layouts() -> Vec<Row> {
    let mut rows = vec![
        row("test_conv2d_discontiguous_weight, smaller", [2, 16, 16, 16], [32, 16, 1, 1]).no_bias(),
        line("test_cudnn_non_contiguous, smaller", [4, 16, 50], [32, 16, 2]),
        row("test_cudnn_not_mutate_stride", [2, 64, 10, 10], [64, 64, 1, 1]).no_bias(),
        row("test_conv_cudnn_memory_layout_dominance", [2, 8, 4, 4], [4, 8, 3, 3]),
        line("test_cudnn_noncontiguous_weight", [1, 1, 3], [1, 1, 2])
            .stride(1, 2)
            .dilation(1, 2)
            .no_bias(),
        row("test_noncontig_conv_grad", [2, 3, 10, 10], [5, 3, 3, 3]).pad(1, 1),
        row("test_conv_noncontig_weights", [1, 3, 5, 5], [3, 3, 3, 3]).no_bias(),
        row("test_conv_noncontig_weights, grouped", [1, 3, 5, 5], [3, 1, 3, 3]).no_bias(),
        line("test_conv_noncontig_weights", [1, 3, 5], [3, 3, 3]).no_bias(),
        line("test_conv_noncontig_weights, grouped", [1, 3, 5], [3, 1, 3]).no_bias(),
        row("test_conv_noncontig_weights_and_bias, smaller", [1, 3, 22, 22], [64, 3, 7, 7])
            .stride(2, 2)
            .pad(3, 3),
        row("test_conv_noncontig_weights_and_bias, smaller", [1, 3, 22, 22], [64, 3, 7, 7])
            .stride(2, 2)
            .pad(3, 3)
            .no_bias(),
        row("test_contig_wrong_stride_cudnn", [1, 16, 5, 5], [1, 16, 1, 1]).no_bias(),
        row("test_conv_thnn_nhwc", [2, 8, 4, 4], [4, 8, 3, 3]),
        row("test_conv_thnn_nhwc", [2, 8, 4, 4], [8, 1, 3, 3]),
        row("test_conv_thnn_nhwc", [2, 1, 10, 10], [8, 1, 3, 3]),
        row("test_conv_thnn_nhwc", [1, 16, 56, 56], [16, 16, 1, 1]),
        row("test_conv_thnn_nhwc", [1, 16, 56, 56], [16, 1, 1, 1]),
        row("test_conv_thnn_nhwc", [2, 8, 11, 13], [16, 8, 3, 3]).dilation(2, 2),
        row("test_conv_thnn_nhwc", [2, 16, 11, 13], [32, 1, 3, 3]).dilation(2, 2),
        row("test_conv_thnn_nhwc, transposed", [2, 4, 6, 6], [8, 4, 3, 3]),
        row("test_conv_thnn_nhwc, transposed", [2, 8, 6, 6], [8, 1, 3, 3]),
        row("test_conv_thnn_nhwc, transposed", [1, 32, 56, 56], [16, 2, 1, 1]),
        row("test_conv_cudnn_nhwc, smaller", [1, 16, 28, 30], [16, 16, 3, 3]),
        row("test_conv_cudnn_nhwc", [1, 16, 56, 56], [16, 1, 3, 3]),
    ];
    for [batch, channels, height, width, outputs, kernel] in [
        [4, 2, 8, 8, 4, 2],
        [4, 1, 8, 8, 4, 2],
        [1, 1, 8, 8, 4, 2],
        [4, 2, 2, 8, 4, 1],
        [4, 2, 1, 8, 4, 1],
        [4, 2, 8, 8, 4, 1],
        [4, 1, 8, 8, 4, 1],
    ] {
        let x = [batch, channels, height, width];
        let test = "test_conv_cudnn_mismatch_memory_format";
        rows.push(row(test, x, [outputs, channels, kernel, kernel]));
    }
    rows
}

/// The tests that are loops over settings.
fn products() -> Vec<Row> {
    let mut rows = Vec::new();
    for [kernel, image] in [[3, 6], [3, 7], [4, 9]] {
        for stride in [1, 2] {
            for padding in [0, 1, 2] {
                // A batch of 3 or 4 is test_nnpack_conv's alone.
                for batch in 1..=4 {
                    let test = "run_grad_conv_test and test_nnpack_conv";
                    let all = || {
                        row(test, [batch, 2, image, image], [3, 2, kernel, kernel])
                            .stride(stride, stride)
                            .pad(padding, padding)
                    };
                    rows.extend([all(), all().no_bias()]);
                }
                for batch in [1, 2] {
                    let all = line("run_grad_conv_test, 1d", [batch, 2, image], [3, 2, kernel]);
                    rows.push(all.stride(1, stride).pad(0, padding));
                }
            }
        }
    }
    for stride in [1, 2] {
        for kernel in [1, 3, 5] {
            for groups in [1, 2, 4] {
                for dilation in [1, 2] {
                    let test = "test_functional_grad_conv2d, smaller";
                    let all = row(test, [2, 8, 9, 19], [16, 8 / groups, kernel, kernel]);
                    let all = all.pad(kernel / 2, kernel / 2).stride(stride, stride);
                    rows.push(all.dilation(dilation, dilation).no_bias());
                }
            }
        }
    }
    // Of the test's 44 sizes of an image.
    for [height, width] in [[13, 13], [22, 16]] {
        for kernel in 2..5 {
            for dilation in 1..5 {
                for stride in 1..4 {
                    for padding in 0..3 {
                        let test = "test_ConvTranspose2d_output_size_downsample_upsample";
                        let all = row(test, [2, 3, height, width], [2, 3, kernel, kernel]);
                        let all = all.stride(stride, stride).pad(padding, padding);
                        rows.push(all.dilation(dilation, dilation));
                    }
                }
            }
        }
    }
    // The sizes that a transposed layer may be asked for, whose input has 6×6 pixels.
    for height in 18..=20 {
        for width in 18..=20 {
            let test = "test_ConvTranspose2d_output_size";
            rows.push(row(test, [2, 4, height, width], [3, 4, 3, 3]).stride(3, 3));
        }
    }
    rows.extend(backends());
    rows
}

/// `test_conv_backend`: 6 channels to 12, plain and depthwise, and empty batches.
fn backends() -> Vec<Row> {
    let mut rows = Vec::new();
    for (batch, groups) in [(2, 3), (2, 6), (0, 3)] {
        for stride in [1, 2] {
            for dilation in [1, 2] {
                let image = || {
                    row("test_conv_backend", [batch, 6, 7, 8], [12, 6 / groups, 3, 3])
                        .stride(stride, stride)
                        .dilation(dilation, dilation)
                };
                let line = || {
                    line("test_conv_backend, 1d", [batch, 6, 7], [12, 6 / groups, 3])
                        .stride(1, stride)
                        .dilation(1, dilation)
                };
                rows.extend([image(), image().no_bias(), line(), line().no_bias()]);
            }
        }
    }
    rows
}

fn common_nn() -> Vec<Row> {
    let mut rows = vec![
        row("Conv2d", [2, 3, 7, 5], [4, 3, 3, 2]),
        row("Conv2d_strided", [2, 3, 6, 6], [4, 3, 3, 3]).stride(2, 2),
        row("Conv2d_padding", [2, 3, 6, 6], [4, 3, 3, 3]).stride(2, 2).pad(1, 1),
        row("Conv2d_dilated", [2, 3, 8, 8], [2, 3, 3, 3]).stride(2, 2).pad(1, 1).dilation(2, 2),
        row("Conv2d_no_bias", [2, 3, 6, 5], [4, 3, 3, 2]).no_bias(),
        row("Conv2d_zero_batch", [0, 3, 7, 5], [4, 3, 3, 2]),
        row("Conv2d_groups", [2, 4, 6, 5], [6, 2, 3, 2]),
        row("Conv2d_pad_valid", [2, 2, 6, 5], [4, 2, 3, 4]),
        row("Conv2d_pad_same", [2, 2, 6, 5], [4, 2, 3, 4]).same([1, 1], [1, 2]),
        row("Conv2d_pad_same_dilated", [2, 2, 6, 5], [4, 2, 3, 4])
            .dilation(2, 2)
            .same([2, 2], [3, 3]),
        row("Conv2d_depthwise", [2, 4, 6, 6], [4, 1, 3, 3]),
        row("Conv2d_depthwise_with_multiplier", [2, 4, 6, 6], [8, 1, 3, 3]),
        row("Conv2d_depthwise_strided", [2, 4, 6, 6], [4, 1, 3, 3]).stride(2, 2),
        row("Conv2d_depthwise_padded", [2, 4, 6, 6], [4, 1, 3, 3]).pad(1, 1),
        row("Conv2d_depthwise_dilated", [2, 4, 5, 5], [4, 1, 2, 2]).dilation(2, 2),
        row("ConvTranspose2d", [1, 4, 20, 12], [3, 4, 3, 3]).stride(3, 2).pad(1, 1),
        row("ConvTranspose2d_dilated", [1, 4, 14, 22], [3, 4, 3, 3])
            .stride(2, 3)
            .pad(1, 1)
            .dilation(2, 2)
            .no_bias(),
        row("ConvTranspose2d_no_bias", [1, 4, 12, 20], [3, 4, 3, 3])
            .stride(2, 3)
            .pad(1, 1)
            .no_bias(),
        row("ConvTranspose2d_groups", [1, 4, 5, 7], [2, 2, 2, 3]),
    ];
    for mode in
        [PaddingMode::Reflect, PaddingMode::Circular, PaddingMode::Replicate, PaddingMode::Zeros]
    {
        rows.push(
            row("Conv2d_{padding_mode}_stride2_pad2", [2, 2, 4, 4], [3, 2, 3, 3])
                .stride(2, 2)
                .pad(1, 2)
                .mode(mode),
        );
        rows.push(
            line("Conv1d_{padding_mode}_stride2_pad2", [2, 2, 4], [3, 2, 3])
                .stride(1, 2)
                .pad(0, 1)
                .mode(mode),
        );
    }
    rows
}

/// `sample_inputs_conv2d`.
fn sample_inputs() -> Vec<Row> {
    let test = "sample_inputs_conv2d";
    vec![
        row(test, [1, 3, 4, 4], [3, 3, 3, 3]).stride(2, 2).pad(2, 2),
        row(test, [2, 4, 8, 8], [2, 2, 3, 3]).stride(3, 2).pad(2, 1).dilation(4, 4),
        row(test, [1, 4, 5, 5], [1, 4, 2, 3]).stride(2, 2).pad(1, 1).dilation(2, 3),
        row(test, [1, 2, 4, 3], [4, 2, 3, 4]).stride(2, 2).pad(1, 1).no_bias(),
        row(test, [1, 4, 5, 5], [1, 4, 2, 3]).stride(2, 2),
        row(test, [1, 4, 5, 5], [1, 4, 2, 3]).dilation(3, 3).same([1, 2], [3, 3]),
        row(test, [2, 4, 6, 6], [4, 1, 3, 3]),
        row(test, [2, 4, 6, 6], [8, 1, 3, 3]),
        row(test, [2, 4, 6, 6], [8, 1, 3, 3]).no_bias(),
        row(test, [2, 4, 6, 6], [4, 1, 3, 3]).stride(3, 2),
        row(test, [2, 4, 6, 6], [4, 1, 3, 3]).pad(1, 1),
        row(test, [2, 4, 5, 5], [4, 1, 2, 2]).dilation(2, 2),
        row(test, [2, 4, 6, 5], [6, 2, 3, 2]),
        row(test, [1, 4, 5, 5], [3, 4, 3, 3]).no_bias(),
    ]
}

/// `module_inputs_torch_nn_ConvNd`.
fn module_inputs() -> Vec<Row> {
    let test = "module_inputs_torch_nn_ConvNd";
    vec![
        line(test, [2, 4, 3], [5, 4, 3]),
        line(test, [2, 4, 3], [5, 4, 3]).same([0, 0], [1, 1]),
        row(test, [2, 4, 3, 4], [5, 4, 3, 3]),
        row(test, [2, 4, 3, 4], [5, 4, 3, 3]).same([1, 1], [1, 1]),
    ]
}
