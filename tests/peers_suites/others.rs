//! burn, candle, rten and ONNX. A transposed layer is the gradient of the input of the layer that takes
//! its output for an image.

use crate::row::{Row, line, of_file, row};

pub fn burn() -> Vec<Row> {
    let mut rows = of_file("burn-backend-tests tensor/float/module/conv2d.rs", burn_forward());
    rows.extend(of_file("burn-backend-tests tensor/float/module/conv1d.rs", burn_lines()));
    rows.extend(of_file("burn-backend-tests autodiff/conv2d.rs", burn_gradients()));
    rows.extend(of_file("burn-backend-tests cubecl/conv2d.rs", burn_cubecl()));
    rows.extend(of_file("burn-nn modules/conv", burn_modules()));
    rows
}

fn burn_forward() -> Vec<Row> {
    vec![
        row("test_conv2d_simple", [1, 2, 4, 4], [2, 2, 3, 3]).pad(1, 1),
        row("test_conv2d_1x1_strided", [1, 2, 4, 4], [2, 2, 1, 1]).stride(2, 2),
        row("test_conv2d_simple_implicit", [1, 1, 5, 5], [16, 1, 4, 4]).pad(1, 1),
        row("test_conv2d_implicit_padded_in_channels", [1, 3, 4, 4], [16, 3, 3, 3]).pad(1, 1),
        row("test_conv2d_groups_channels_out", [1, 2, 4, 4], [16, 1, 3, 3]).pad(1, 1),
        row("test_conv2d_groups_remainder_padding_regression", [1, 2, 2, 2], [32, 1, 3, 3])
            .pad(1, 1),
        row(
            "test_conv2d_groups_padding_larger_than_output_width_regression",
            [1, 2, 1, 2],
            [32, 1, 1, 8],
        )
        .pad(0, 4),
        row("test_conv2d_groups", [1, 2, 5, 5], [2, 1, 3, 3]),
        row("test_conv2d_groups_multiple_channels", [1, 4, 5, 5], [4, 2, 3, 3]),
        row("test_conv2d_complex", [2, 3, 4, 5], [4, 3, 3, 2])
            .pad(1, 2)
            .stride(2, 3)
            .dilation(1, 2),
        row("test_conv2d_binary_broadcasted", [1, 1, 28, 28], [8, 1, 3, 3]),
    ]
}

fn burn_lines() -> Vec<Row> {
    vec![
        line("test_conv1d_simple", [2, 2, 4], [2, 2, 3]).pad(0, 1),
        line("test_conv1d_dilation", [2, 2, 4], [2, 2, 3]).pad(0, 1).dilation(1, 2),
        line("test_conv1d_groups", [2, 2, 4], [2, 1, 3]).pad(0, 1),
        line("test_conv1d_complex", [2, 3, 4], [4, 3, 3]).pad(0, 1).stride(1, 2),
    ]
}

fn burn_gradients() -> Vec<Row> {
    vec![
        row("test_conv2d_basic", [2, 2, 4, 4], [2, 2, 3, 3]).pad(1, 1),
        row("test_conv2d_different_channels", [2, 2, 4, 4], [3, 2, 3, 3]).pad(1, 1),
        row("test_conv2d_different_kernel_size", [1, 2, 4, 4], [2, 2, 3, 4]).pad(1, 1),
        row("test_conv2d_different_padding", [1, 2, 4, 4], [2, 2, 3, 3]).pad(1, 2),
        row("test_conv2d_different_width", [1, 2, 4, 5], [2, 2, 3, 3]).pad(1, 1),
        row("test_conv2d_stride_2", [1, 2, 6, 6], [2, 2, 3, 3]).pad(1, 1).stride(2, 2),
        row("test_conv2d_different_stride", [1, 2, 8, 8], [2, 2, 3, 3]).pad(1, 1).stride(3, 1),
        row("test_conv2d_dilation_2", [1, 2, 6, 6], [2, 2, 3, 3]).pad(1, 1).dilation(2, 2),
        row("test_conv2d_different_dilation", [1, 2, 6, 6], [2, 2, 3, 3]).pad(1, 1).dilation(2, 3),
        row("test_conv2d_groups", [1, 2, 5, 5], [2, 1, 3, 3]),
        row("test_conv2d_groups_stride_2", [1, 4, 4, 4], [4, 1, 3, 3]).pad(1, 1).stride(2, 2),
        row("test_conv2d_groups_different_channels", [1, 3, 4, 4], [6, 1, 3, 3]),
        row("test_conv2d_complex", [1, 2, 4, 5], [3, 2, 2, 3])
            .pad(1, 2)
            .stride(1, 2)
            .dilation(2, 3),
        row("test_conv2d_groups_stride_2_no_pad", [1, 4, 4, 4], [2, 2, 3, 3]).stride(2, 2),
        row("test_conv2d_groups_depthwise_batched", [2, 2, 4, 4], [2, 1, 3, 3]).pad(1, 1),
        row("test_conv2d_groups_depthwise_batched_multiplier", [2, 2, 4, 4], [4, 1, 3, 3]),
        row("test_conv2d_pointwise", [2, 3, 3, 5], [5, 3, 1, 1]),
    ]
}

fn burn_cubecl() -> Vec<Row> {
    vec![
        row("conv2d_should_match_reference_backend, smaller", [2, 16, 32, 32], [12, 8, 3, 3])
            .stride(2, 3)
            .pad(2, 3)
            .dilation(2, 3),
        row("conv2d_should_match_reference_backend_implicit", [4, 16, 6, 6], [16, 16, 3, 3])
            .pad(2, 2),
        row("conv2d_should_match_reference_backend_bias_regression", [1, 1, 1, 1], [32, 1, 3, 3])
            .pad(1, 1),
        row("conv2d_weight_backward_should_run, smaller", [1, 168, 1, 1], [42, 168, 1, 1]),
        row("conv2d_weight_backward_pointwise", [3, 6, 5, 7], [10, 6, 1, 1]).no_bias(),
        row("conv2d_weight_backward_pointwise_split, smaller", [4, 6, 32, 32], [10, 6, 1, 1])
            .no_bias(),
        row("conv2d_weight_backward_pointwise_odd_contraction", [1, 6, 65, 65], [10, 6, 1, 1])
            .no_bias(),
        row("conv2d_weight_backward_dense_split, smaller", [2, 6, 32, 32], [10, 6, 3, 3])
            .pad(1, 1)
            .no_bias(),
        row(
            "conv2d_weight_backward_dense_strided_padded_dilated, smaller",
            [2, 5, 37, 99],
            [7, 5, 3, 2],
        )
        .stride(2, 2)
        .pad(2, 1)
        .dilation(2, 3)
        .no_bias(),
        row(
            "conv2d_weight_backward_dense_tap_outside_image, smaller",
            [3, 4, 5, 257],
            [5, 4, 3, 2],
        )
        .pad(2, 1)
        .dilation(4, 2)
        .no_bias(),
        row("conv2d_strided_1x1", [2, 6, 3, 3], [10, 6, 1, 1]).stride(2, 2).pad(1, 1).no_bias(),
    ]
}

fn burn_modules() -> Vec<Row> {
    vec![
        row("same_with_even_kernel_uses_asymmetric_padding", [1, 4, 5, 5], [4, 4, 2, 2])
            .same([0, 1], [0, 1])
            .no_bias(),
        line("same_with_even_kernel_uses_asymmetric_padding", [1, 4, 5], [4, 4, 2])
            .same([0, 0], [0, 1])
            .no_bias(),
        row("asymmetric_padding_forward", [1, 2, 4, 5], [3, 2, 3, 3])
            .sides([1, 3], [2, 4])
            .no_bias(),
        line("asymmetric_padding_forward", [1, 2, 4], [3, 2, 3]).sides([0, 0], [1, 2]).no_bias(),
        row("symmetric_explicit_padding_forward", [1, 2, 4, 5], [3, 2, 3, 3]).pad(2, 2).no_bias(),
    ]
}

pub fn candle() -> Vec<Row> {
    let rows = vec![
        line("conv1d", [1, 4, 5], [2, 4, 3]),
        line("conv1d", [1, 4, 5], [2, 4, 3]).pad(0, 1),
        line("conv1d, transposed", [1, 2, 7], [4, 2, 3]),
        line("conv1d, transposed, grouped", [1, 4, 7], [4, 2, 3]),
        line("conv1d_small", [1, 1, 4], [1, 1, 3]),
        line("conv1d_small", [1, 1, 4], [1, 1, 3]).pad(0, 1),
        row("conv2d", [1, 4, 5, 5], [2, 4, 3, 3]),
        row("conv2d, batch", [3, 4, 5, 5], [2, 4, 3, 3]),
        row("conv2d", [1, 4, 5, 5], [2, 4, 3, 3]).dilation(2, 2),
        row("conv2d, transposed", [1, 2, 7, 7], [4, 2, 3, 3]),
        row("conv2d, transposed", [1, 2, 9, 9], [4, 2, 3, 3]).dilation(2, 2),
        row("conv2d_small", [1, 2, 3, 3], [1, 2, 1, 1]),
        row("conv2d_small", [1, 2, 3, 3], [1, 2, 1, 1]).pad(2, 2),
        row("conv2d_small, transposed", [1, 1, 3, 3], [2, 1, 1, 1]),
        row("conv2d_small, transposed", [2, 2, 3, 3], [1, 2, 1, 1]),
        row("conv2d_smaller", [1, 1, 3, 3], [1, 1, 3, 3]),
        row("conv2d_non_square", [1, 2, 4, 2], [1, 2, 1, 1]),
        row("conv2d_grad", [1, 4, 5, 5], [2, 4, 3, 3]).stride(2, 2),
        row("conv2d_grad, part of an image", [1, 4, 4, 4], [2, 4, 3, 3]).stride(2, 2),
        row("conv2d_grad, transposed", [1, 2, 19, 19], [4, 2, 3, 5])
            .stride(3, 3)
            .pad(4, 4)
            .dilation(3, 3),
        row("conv2d_grad, transposed", [1, 2, 14, 12], [4, 2, 3, 5]).stride(2, 2).pad(1, 1),
        row("conv2d_c_eq_h_eq_w", [1, 4, 4, 4], [2, 4, 3, 3]).pad(1, 1),
        row("conv2d_c_eq_h_eq_w", [1, 4, 4, 4], [8, 4, 3, 3]).pad(1, 1),
        row("conv2d_grad_noncontiguous_kernel", [1, 2, 4, 4], [3, 2, 1, 1]).stride(2, 2),
    ];
    let mut rows = of_file("candle-core tests/conv_tests.rs", rows);
    // candle adds no bias in a convolution.
    rows.iter_mut().for_each(|row| row.problem.bias = false);
    rows
}

pub fn rten() -> Vec<Row> {
    let pointwise = "test_conv_pointwise";
    let mut rows = vec![
        row("test_conv", [1, 1, 3, 3], [1, 1, 3, 3]).pad(1, 1).no_bias(),
        row("test_conv", [1, 1, 3, 3], [1, 1, 3, 3]).no_bias(),
        row("test_conv, bias", [1, 1, 3, 3], [1, 1, 3, 3]),
        row("test_conv_same_padding", [1, 1, 3, 3], [1, 1, 3, 3]).same([1, 1], [1, 1]).no_bias(),
        row("test_conv_uneven_padding", [1, 5, 10, 10], [10, 5, 3, 3]).sides([0, 1], [0, 1]),
        row("test_conv_depthwise_uneven_padding", [1, 10, 10, 10], [10, 1, 3, 3])
            .sides([0, 1], [0, 1]),
        row(pointwise, [1, 5, 20, 20], [10, 5, 1, 1]),
        row(pointwise, [2, 5, 20, 20], [10, 5, 1, 1]),
        row(pointwise, [1, 5, 20, 20], [10, 5, 1, 1]).stride(2, 2),
        row("test_conv_depthwise", [1, 3, 2, 2], [3, 1, 2, 2]),
        line("test_conv_depthwise_row_stride_row_len", [1, 1, 10], [1, 1, 3]).no_bias(),
        line("test_conv_shapes", [1, 1, 1], [1, 1, 5]).pad(0, 2).no_bias(),
        line("test_conv_shapes", [1, 1, 1], [1, 1, 1]).sides([0, 0], [2, 0]).stride(1, 2).no_bias(),
        row("test_conv_not_depthwise_or_pointwise", [2, 4, 20, 20], [4, 2, 3, 3]).pad(1, 1),
        row("test_conv_2d_not_depthwise_or_pointwise", [2, 3, 20, 20], [4, 3, 3, 3])
            .pad(1, 1)
            .no_bias(),
        line("test_conv_1d", [1, 5, 20], [10, 5, 3]).same([0, 0], [1, 1]).no_bias(),
        row("test_conv_transpose", [1, 1, 4, 4], [1, 1, 2, 2]).stride(2, 2).no_bias(),
        row("test_conv_transpose_padding", [1, 1, 2, 2], [1, 1, 2, 2])
            .stride(2, 2)
            .pad(1, 1)
            .no_bias(),
        line("test_conv_transpose_1d", [1, 1, 4], [1, 1, 2]).stride(1, 2).no_bias(),
    ];
    for [height, width] in [[2, 2], [3, 3], [1, 3]] {
        for pad in [0, 1] {
            for image in [3, 4, 5, 10, 20] {
                let dense = row("test_conv_strided", [2, 3, image, image], [4, 3, 3, 3]);
                let depthwise =
                    row("test_conv_strided_depthwise", [1, 3, image, image], [3, 1, 3, 3]);
                rows.extend(
                    [dense, depthwise].map(|row| row.stride(height, width).pad(pad, pad).no_bias()),
                );
            }
            for image in [7, 10, 20] {
                let dense = row("test_conv_dilated", [2, 3, image, image], [4, 3, 3, 3]);
                let depthwise =
                    row("test_conv_dilated_depthwise", [2, 3, image, image], [3, 1, 3, 3]);
                rows.extend(
                    [dense, depthwise]
                        .map(|row| row.dilation(height, width).pad(pad, pad).no_bias()),
                );
            }
        }
    }
    of_file("rten src/ops/conv.rs", rows)
}

pub fn onnx() -> Vec<Row> {
    let conv = vec![
        row("test_basic_conv_with_padding", [1, 1, 5, 5], [1, 1, 3, 3]).pad(1, 1),
        row("test_basic_conv_without_padding", [1, 1, 5, 5], [1, 1, 3, 3]),
        row("test_conv_with_strides_padding", [1, 1, 7, 5], [1, 1, 3, 3]).stride(2, 2).pad(1, 1),
        row("test_conv_with_strides_no_padding", [1, 1, 7, 5], [1, 1, 3, 3]).stride(2, 2),
        row("test_conv_with_strides_and_asymmetric_padding", [1, 1, 7, 5], [1, 1, 3, 3])
            .stride(2, 2)
            .pad(1, 0),
        row("test_conv_with_autopad_same", [1, 1, 5, 5], [1, 1, 3, 3]).stride(2, 2).pad(1, 1),
    ];
    let transposed = vec![
        row("test_convtranspose", [1, 2, 5, 5], [1, 2, 3, 3]),
        line("test_convtranspose_1d", [1, 2, 5], [1, 2, 3]),
        row("test_convtranspose_pad", [1, 2, 10, 8], [1, 2, 3, 3]).stride(3, 2),
        row("test_convtranspose_pads", [1, 2, 7, 3], [1, 2, 3, 3]).stride(3, 2).pad(1, 2),
        row("test_convtranspose_dilations", [1, 1, 5, 5], [1, 1, 2, 2]).dilation(2, 2),
        row("test_convtranspose_autopad_same", [1, 2, 6, 6], [1, 2, 3, 3])
            .stride(2, 2)
            .sides([0, 1], [0, 1]),
        row("test_convtranspose_group_2", [1, 2, 5, 5], [2, 1, 3, 3]),
        row("test_convtranspose_group_2_image_3", [3, 2, 5, 5], [2, 1, 3, 3]),
    ];
    let mut rows = of_file("ONNX node/conv.py", conv);
    rows.extend(of_file("ONNX node/convtranspose.py", transposed));
    rows.iter_mut().for_each(|row| row.problem.bias = false);
    rows
}
