//! Runs a row in every way that the crate has.

use do_conv::operator::{Conv2dGradientsMut, Convolve};
use do_conv::{Composition, Conv2d, DoConv2d, Scalar};
use ndarray::{Array, Array1, Array2, Array4, ArrayD, Axis, Dimension, Slice};

use crate::common::{Inputs, Numbers, Outputs, assert_within, oracle};
use crate::row::{Row, row};

/// How an array lies in memory.
#[derive(Debug, Clone, Copy)]
enum Layout {
    Ordered,
    ChannelsLast,
    /// Columns before rows.
    Transposed,
    /// Every second element of longer rows.
    EverySecond,
    /// Inside an array that is larger along each axis.
    Cut,
    /// Rows and columns from last to first.
    Reversed,
}

const LAYOUTS: [Layout; 6] = [
    Layout::Ordered,
    Layout::ChannelsLast,
    Layout::Transposed,
    Layout::EverySecond,
    Layout::Cut,
    Layout::Reversed,
];

impl Layout {
    /// The same array, lying so; what lies between its elements isn't a number.
    fn of<T: Scalar>(self, array: &Array4<T>) -> Array4<T> {
        let shape = array.raw_dim();
        match self {
            Self::Ordered => array.clone(),
            Self::ChannelsLast => {
                let order = array.view().permuted_axes([0, 2, 3, 1]);
                order.as_standard_layout().into_owned().permuted_axes([0, 3, 1, 2])
            }
            Self::Transposed => {
                let order = array.view().permuted_axes([0, 1, 3, 2]);
                order.as_standard_layout().into_owned().permuted_axes([0, 1, 3, 2])
            }
            Self::EverySecond => within(array, [0, 0, 0, shape[3]], |axis| match axis {
                3 => Slice::new(0, None, 2),
                _ => Slice::from(..),
            }),
            Self::Cut => within(array, [1, 2, 1, 3], |axis| {
                let start = [1, 1, 0, 2][axis];
                Slice::from(start..start + shape[axis] as isize)
            }),
            Self::Reversed => {
                let mut reversed = array.clone();
                reversed.invert_axis(Axis(2));
                reversed.invert_axis(Axis(3));
                let mut reversed = reversed.as_standard_layout().into_owned();
                reversed.invert_axis(Axis(2));
                reversed.invert_axis(Axis(3));
                reversed
            }
        }
    }
}

/// `array` as the given part of an array that is longer by `more`.
fn within<T: Scalar>(
    array: &Array4<T>,
    more: [usize; 4],
    part: impl Fn(usize) -> Slice,
) -> Array4<T> {
    let mut shape = array.raw_dim();
    for (axis, more) in more.into_iter().enumerate() {
        shape[axis] += more;
    }
    let mut larger = Array4::from_elem(shape, T::nan());
    for axis in 0..4 {
        larger.slice_axis_inplace(Axis(axis), part(axis));
    }
    larger.assign(array);
    larger
}

fn wide<T: Scalar, D: Dimension>(array: &Array<T, D>) -> ArrayD<f64> {
    array.mapv(T::widen).into_dyn()
}

/// Asserts that the row is computed exactly: on small whole numbers, by plain and by over-parameterized
/// layers and by the operator, in both types, on arrays in any layout, by layers that are fresh and by
/// ones that have seen other images.
pub fn exact(row: &Row) {
    let mut numbers = Numbers::new(7);
    let inputs = row.problem.inputs(|| numbers.integer(2));
    let expected = oracle::solve(&row.problem, &inputs);
    over_parameterized::<f32>(row, &inputs, &expected);
    over_parameterized::<f64>(row, &inputs, &expected);

    let mut inputs = row.problem.inputs(|| numbers.integer(2));
    if let Some(d_offset) = &mut inputs.d_offset {
        d_offset.fill(0.0);
    }
    plain(row, &inputs, &oracle::solve(&row.problem, &inputs));
}

/// The same for the plain layer and the operator, whose kernel is `W` where `D` is the identity. So is
/// its gradient.
pub fn plain(row: &Row, inputs: &Inputs, expected: &Outputs) {
    let kept = |name: &str| !matches!(name, "kernel" | "dd_offset");
    let expected: Outputs = expected.iter().filter(|(name, _)| kept(name)).cloned().collect();
    layer::<f32>(row, inputs, &expected);
    layer::<f64>(row, inputs, &expected);
    operator::<f32>(row, inputs, &expected);
    operator::<f64>(row, inputs, &expected);
}

fn check<T: Scalar>(row: &Row, what: &str, got: &Outputs, expected: &Outputs) {
    let equal = got.len() == expected.len() && expected.iter().all(|output| got.contains(output));
    if !equal {
        // Says which element it is.
        let what = format!("{}, {what}, {}: {:?}", row.source, size_of::<T>(), row.problem);
        assert_within(&what, got, expected, expected, |_| 0.0);
        unreachable!("{what}");
    }
}

/// An image and an upstream gradient of more images that are larger, for a layer to be used on.
fn others<T: Scalar>(row: &Row) -> (Array4<T>, Array4<T>) {
    let mut problem = row.problem.clone();
    problem.batch += 1;
    problem.image = [problem.image[0] + 5, problem.image[1] + 19];
    let mut numbers = Numbers::new(11);
    let inputs = problem.inputs(|| numbers.real());
    (inputs.x.mapv(T::round_from), inputs.dy.mapv(T::round_from))
}

fn over_parameterized<T: Scalar>(row: &Row, inputs: &Inputs, expected: &Outputs) {
    let (x, dy) = (inputs.x.mapv(T::round_from), inputs.dy.mapv(T::round_from));
    let others = others(row);
    for composition in row.problem.compositions() {
        let layer: DoConv2d<T> = DoConv2d::from_parameters(
            row.config(composition),
            inputs.d_offset.as_ref().map(|d_offset| d_offset.mapv(T::round_from)),
            inputs.w.mapv(T::round_from),
            inputs.bias.as_ref().map(|bias| bias.mapv(T::round_from)),
        )
        .unwrap_or_else(|error| panic!("{}: {error}", row.source));
        for layout in LAYOUTS {
            let (x, dy) = (layout.of(&x), layout.of(&dy));
            let y = layer.forward(&x).unwrap();
            assert_eq!(layer.forward(&x).unwrap(), y, "{}", row.source);
            let gradients = layer.backward(&x, &dy).unwrap();
            let mut got = vec![
                ("kernel", wide(&layer.weight())),
                ("y", wide(&y)),
                ("dx", wide(&gradients.x.unwrap())),
                ("dw", wide(&gradients.w)),
            ];
            got.extend(gradients.d_offset.map(|dd| ("dd_offset", wide(&dd))));
            got.extend(gradients.bias.map(|db| ("dbias", wide(&db))));
            check::<T>(row, &format!("{composition:?}, {layout:?}"), &got, expected);
            if let Layout::Ordered = layout {
                layer.backward(&others.0, &others.1).unwrap();
            }
        }
    }
}

/// `W` as a kernel.
fn kernel<T: Scalar>(row: &Row, inputs: &Inputs) -> Array4<T> {
    let [rows, cols] = row.problem.kernel_size;
    let shape = (row.problem.out_channels, row.problem.group_inputs(), rows, cols);
    inputs.w.mapv(T::round_from).into_shape_with_order(shape).unwrap()
}

/// Outputs by the oracle's names, of which `dw` lies as the kernel.
fn outputs<T: Scalar>(
    inputs: &Inputs,
    y: &Array4<T>,
    dx: &Array4<T>,
    dweight: &Array4<T>,
    bias: Option<&Array1<T>>,
) -> Outputs {
    let dw = dweight.as_standard_layout().into_owned();
    let dw = dw.into_shape_with_order(inputs.w.raw_dim()).unwrap();
    let mut outputs = vec![("y", wide(y)), ("dx", wide(dx)), ("dw", wide(&dw))];
    outputs.extend(bias.map(|db| ("dbias", wide(db))));
    outputs
}

fn layer<T: Scalar>(row: &Row, inputs: &Inputs, expected: &Outputs) {
    let (x, dy) = (inputs.x.mapv(T::round_from), inputs.dy.mapv(T::round_from));
    let weight: Array4<T> = kernel(row, inputs);
    let others = others(row);
    for layout in LAYOUTS {
        let conv = Conv2d::from_parameters(
            row.config(Composition::Kernel).conv,
            layout.of(&weight),
            inputs.bias.as_ref().map(|bias| bias.mapv(T::round_from)),
        )
        .unwrap_or_else(|error| panic!("{}: {error}", row.source));
        let (x, dy) = (layout.of(&x), layout.of(&dy));
        let once = |what: &str| {
            let y = conv.forward(&x).unwrap();
            let gradients = conv.backward(&x, &dy).unwrap();
            let dx = gradients.x.unwrap();
            let got = outputs(inputs, &y, &dx, &gradients.weight, gradients.bias.as_ref());
            check::<T>(row, &format!("{what} Conv2d, {layout:?}"), &got, expected);
        };
        once("fresh");
        if let Layout::Ordered = layout {
            conv.forward(&others.0).unwrap();
            conv.backward(&others.0, &others.1).unwrap();
            once("used");
        }
    }
}

fn operator<T: Scalar>(row: &Row, inputs: &Inputs, expected: &Outputs) {
    let convolve: Convolve<T> = Convolve::new(&row.config(Composition::Kernel).conv).unwrap();
    let (x, dy) = (inputs.x.mapv(T::round_from), inputs.dy.mapv(T::round_from));
    let weight: Array4<T> = kernel(row, inputs);
    // A column of two.
    let bias = inputs.bias.as_ref().map(|bias| {
        let mut columns = Array2::from_elem((bias.len(), 2), T::nan());
        columns.column_mut(1).assign(&bias.mapv(T::round_from));
        columns
    });
    assert_eq!(convolve.output_shape(x.dim().into()).unwrap(), *dy.shape(), "{}", row.source);
    let solve = |layout: Layout, x: &Array4<T>, dy: &Array4<T>| {
        let blank = |array: &Array4<T>| layout.of(&Array4::from_elem(array.raw_dim(), T::nan()));
        let (mut y, mut dx, mut dweight) = (blank(dy), blank(x), blank(&weight));
        let (x, weight, dy) = (layout.of(x), layout.of(&weight), layout.of(dy));
        let lent = bias.as_ref().map(|columns| columns.column(1));
        convolve.forward_into(x.view(), weight.view(), lent, y.view_mut()).unwrap();
        let mut db = bias.as_ref().map(|_| Array1::from_elem(row.problem.out_channels, T::nan()));
        let gradients = Conv2dGradientsMut {
            x: Some(dx.view_mut()),
            weight: Some(dweight.view_mut()),
            bias: db.as_mut().map(|db| db.view_mut()),
        };
        convolve.backward_into(x.view(), weight.view(), dy.view(), gradients).unwrap();
        outputs(inputs, &y, &dx, &dweight, db.as_ref())
    };
    for layout in LAYOUTS {
        check::<T>(row, &format!("Convolve, {layout:?}"), &solve(layout, &x, &dy), expected);
        if let Layout::Ordered = layout {
            let (x, dy) = others(row);
            solve(layout, &x, &dy);
        }
    }
}

/// PyTorch `test_conv_noncontig_weights`: one filter, expanded to a kernel without a copy.
#[test]
fn kernels_that_repeat_one_filter() {
    for groups in [1, 3] {
        let row = row("", [1, 3, 5, 5], [3, 3 / groups, 3, 3]).no_bias();
        let mut numbers = Numbers::new(5);
        let mut inputs = row.problem.inputs(|| numbers.integer(2));
        inputs.d_offset.as_mut().unwrap().fill(0.0);
        let filter = Array2::from_shape_simple_fn((3, 3), || numbers.integer(2));
        let expanded = filter.broadcast((3, 3 / groups, 3, 3)).unwrap();
        inputs.w.iter_mut().zip(&expanded).for_each(|(w, &tap)| *w = tap);
        let expected = oracle::solve(&row.problem, &inputs);

        let convolve = Convolve::new(&row.config(Composition::Kernel).conv).unwrap();
        let (mut y, mut dx) = (inputs.dy.clone(), inputs.x.clone());
        convolve.forward_into(inputs.x.view(), expanded, None, y.view_mut()).unwrap();
        let gradients = Conv2dGradientsMut { x: Some(dx.view_mut()), weight: None, bias: None };
        convolve.backward_into(inputs.x.view(), expanded, inputs.dy.view(), gradients).unwrap();
        assert!(expected.contains(&("y", y.into_dyn())), "{groups} groups");
        assert!(expected.contains(&("dx", dx.into_dyn())), "{groups} groups");
    }
}

#[test]
fn layouts_hold_the_same_array() {
    let array =
        Array4::from_shape_fn((2, 3, 4, 5), |(b, i, h, w)| (60 * b + 20 * i + 5 * h + w) as f32);
    for layout in LAYOUTS {
        let lying = layout.of(&array);
        assert_eq!(lying, array, "{layout:?}");
        assert_eq!(lying.is_standard_layout(), matches!(layout, Layout::Ordered), "{layout:?}");
    }
}
