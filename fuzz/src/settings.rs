//! Absurd settings and shapes, which are refused, or work where they ask for little.

use do_conv::operator::{Compose, Convolve};
use do_conv::{
    Algorithm, Composition, Conv2d, DInit, DoConv2d, DoConv2dConfig, Error, Init, Padding,
    PaddingMode, Scalar,
};
use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use ndarray::{Array3, Array4, ArrayView4, arr0};

use crate::case::{COMPOSITIONS, MODES, PAIRINGS, product};
use crate::lent::{sevens, untouched};

/// Elements that a run may allocate at once.
const MOST_ELEMENTS: u128 = 1 << 16;
/// Elements that no machine has room for, so that asking for them allocates nothing.
const NO_ROOM: u128 = 1 << 50;
/// Multiply-accumulates and positions that a run may go through.
const MOST_WORK: u128 = 1 << 18;

/// Settings of a layer and the shape of an input.
#[derive(Debug, Clone)]
pub struct Settings {
    config: DoConv2dConfig,
    input: [usize; 4],
    /// Another shape.
    output: [usize; 4],
    seed: u64,
    /// Whether elements are `f64`.
    pub double: bool,
}

/// Mostly small, else near a power of two, or any.
fn size(bytes: &mut Unstructured) -> Result<usize> {
    Ok(match bytes.int_in_range(0..=31u8)? {
        0..=25 => bytes.int_in_range(0..=5)?,
        26..=29 => {
            let edge = 1usize << bytes.int_in_range(3..=63)?;
            edge.wrapping_add(bytes.int_in_range(0..=4)?).wrapping_sub(2)
        }
        30 => huge(bytes)?,
        _ => bytes.arbitrary()?,
    })
}

/// Near the largest numbers, signed or not, and their halves.
fn huge(bytes: &mut Unstructured) -> Result<usize> {
    Ok((usize::MAX >> bytes.int_in_range(0..=3)?) - bytes.int_in_range(0..=2)?)
}

fn pair(bytes: &mut Unstructured) -> Result<[usize; 2]> {
    Ok([size(bytes)?, size(bytes)?])
}

fn init(bytes: &mut Unstructured) -> Result<Init> {
    let value = f64::from_bits(bytes.arbitrary()?);
    Ok(match bytes.int_in_range(0..=7u8)? {
        0 => Init::KaimingUniform { a: value },
        1 => Init::KaimingNormal { a: value },
        2 => Init::XavierUniform,
        3 => Init::XavierNormal,
        4 => Init::Uniform { bound: value },
        5 => Init::Normal { std: value },
        6 => Init::Constant { value },
        _ => Init::default(),
    })
}

impl<'a> Arbitrary<'a> for Settings {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let groups = size(bytes)?;
        let channels = |bytes: &mut Unstructured<'a>| -> Result<usize> {
            let channels = size(bytes)?;
            // Most that aren't a multiple are refused at once.
            Ok(if bytes.ratio(1, 8)? { channels } else { channels.wrapping_mul(groups) })
        };
        let mut config = DoConv2dConfig::new(channels(bytes)?, channels(bytes)?, pair(bytes)?)
            .groups(groups)
            .stride(pair(bytes)?)
            .dilation(pair(bytes)?);
        let padding = match bytes.int_in_range(0..=3u8)? {
            0 => Padding::Valid,
            1 => Padding::Same,
            // A step as large leaves an output that is small.
            2 => {
                config = config.stride([huge(bytes)?, huge(bytes)?]);
                Padding::Explicit([[huge(bytes)?, size(bytes)?], [size(bytes)?, huge(bytes)?]])
            }
            _ => Padding::Explicit([pair(bytes)?, pair(bytes)?]),
        };
        config = config
            .padding(padding)
            .padding_mode(*bytes.choose(&MODES)?)
            .bias(bytes.arbitrary()?)
            .pairing(*bytes.choose(&PAIRINGS)?)
            .composition(*bytes.choose(&COMPOSITIONS)?);
        if bytes.ratio(1, 3)? {
            config = config.d_mul(size(bytes)?);
        }
        if bytes.ratio(1, 4)? {
            config = config.w_init(init(bytes)?).bias_init(init(bytes)?);
        }
        if bytes.ratio(1, 4)? {
            config = config.d_init(DInit::Random(init(bytes)?));
        }
        let in_channels = if bytes.ratio(1, 8)? { size(bytes)? } else { config.conv.in_channels };
        let mut settings = Self {
            input: [size(bytes)?, in_channels, size(bytes)?, size(bytes)?],
            output: [
                bytes.int_in_range(0..=2)?,
                bytes.int_in_range(0..=5)?,
                bytes.int_in_range(0..=5)?,
                bytes.int_in_range(0..=5)?,
            ],
            config,
            seed: bytes.arbitrary()?,
            double: bytes.arbitrary()?,
        };
        // Last, so that inputs that were found before there was a choice mean what they did.
        settings.config.conv.algorithm = *bytes.choose(&Algorithm::ALL)?;
        Ok(settings)
    }
}

/// Asks everything of the settings.
pub fn check<T: Scalar>(settings: &Settings) {
    let Settings { config, input, .. } = settings;
    let conv = &config.conv;
    let parameters = parameters(config);
    let convolve = told(Convolve::<T>::new(conv));
    let compose = told(Compose::<T>::new(config));
    if let Some(convolve) = &convolve {
        output_of(convolve, conv, *input);
    }
    if parameters.iter().any(|&elements| (MOST_ELEMENTS..NO_ROOM).contains(&elements)) {
        return;
    }
    let valid = told(config.validate()).is_some();
    let valid_conv = told(conv.validate()).is_some();
    let small = parameters.iter().all(|&elements| elements < MOST_ELEMENTS);
    assert!(!valid || valid_conv && (compose.is_some() || conv.kernel_size == [1, 1]));
    assert!(!valid_conv || convolve.is_some());
    assert!(!valid || small, "settings of {parameters:?} elements");

    let nothing = Array3::<T>::zeros((1, 1, 1));
    let bias = conv.bias.then(|| ndarray::Array1::zeros(1));
    let lent = DoConv2d::from_parameters(config.clone(), None, nothing, bias.clone());
    let ones = product(&[conv.in_channels, conv.out_channels, conv.groups]) == 1;
    assert!(told(lent).is_none() || valid && ones && conv.kernel_size == [1, 1]);
    let nothing = Array4::<T>::zeros((1, 1, 1, 1));
    let lent = Conv2d::from_parameters(conv.clone(), nothing, bias);
    assert!(told(lent).is_none() || valid_conv && ones && conv.kernel_size == [1, 1]);

    let depth =
        config.d_mul.unwrap_or(1).max(conv.kernel_size[0].saturating_mul(conv.kernel_size[1]));
    let largest = parameters.iter().max().copied().unwrap_or(0);
    if small && largest.saturating_mul(depth as u128) > MOST_WORK {
        return;
    }
    let plain = told(conv.clone().init::<T>(settings.seed));
    let layer = told(config.clone().init::<T>(settings.seed));
    let plain_is_small = parameters[0].max(parameters[3]) < MOST_ELEMENTS;
    assert!(plain.is_none() || valid_conv && plain_is_small);
    assert!(layer.is_none() || valid && small);
    if let Some(plain) = &plain {
        told(DoConv2d::from_conv2d(plain, config.d_mul));
    }
    if let (Some(layer), Some(plain)) = (layer, plain) {
        images(settings, &layer, &plain);
    }
}

/// Elements of each parameter.
fn parameters(config: &DoConv2dConfig) -> [u128; 4] {
    let conv = &config.conv;
    let [rows, cols] = conv.kernel_size;
    let depth = config.d_mul.unwrap_or_else(|| rows.saturating_mul(cols));
    let inputs = conv.in_channels / conv.groups.max(1);
    [
        product(&[conv.out_channels, inputs, rows, cols]),
        product(&[conv.out_channels, inputs, depth]),
        product(&[conv.in_channels, rows, cols, depth]),
        product(&[conv.out_channels]),
    ]
}

/// What came of a call; an error must say what it is about.
fn told<R>(result: do_conv::Result<R>) -> Option<R> {
    let complete = |error: &Error| {
        let Error { operation, field, expected, got, .. } = error;
        ![operation, field.as_ref(), expected, got].contains(&"")
    };
    assert!(result.as_ref().err().is_none_or(complete), "an error that says too little");
    result.ok()
}

/// The output's shape, if there is one, is that of the formula, in numbers that don't overflow.
fn output_of<T: Scalar>(convolve: &Convolve<T>, conv: &do_conv::Conv2dConfig, input: [usize; 4]) {
    // What positions are counted within, and what arrays of `f64` can be addressed.
    let half = isize::MAX as u128 / 2;
    let addressed = |shape: &[usize]| {
        let extents: Vec<_> = shape.iter().copied().filter(|&extent| extent > 0).collect();
        product(&extents) <= isize::MAX as u128 / 8
    };
    let sizes = |axis: usize| {
        let [kernel, stride, dilation, len] =
            [conv.kernel_size[axis], conv.stride[axis], conv.dilation[axis], input[2 + axis]]
                .map(|size| size as u128);
        let span = dilation * (kernel - 1);
        let padding = match conv.padding {
            Padding::Valid => 0,
            Padding::Same => span,
            Padding::Explicit(sides) => sides[axis].iter().map(|&side| side as u128).sum(),
        };
        assert!(span < half, "a kernel that spans {span} is accepted");
        [len + padding, span, stride]
    };
    let axes = [sizes(0), sizes(1)];
    let lengths = axes
        .map(|[padded, span, stride]| padded.checked_sub(span + 1).map(|room| room / stride + 1));
    match told(convolve.output_shape(input)) {
        Some([batch, channels, rows, cols]) => {
            assert_eq!([batch, channels], [input[0], conv.out_channels]);
            assert_eq!([Some(rows as u128), Some(cols as u128)], lengths);
            assert!(axes.iter().all(|&[padded, ..]| padded <= half), "{axes:?} are accepted");
            assert!(addressed(&input) && addressed(&[batch, channels, rows, cols]));
        }
        None => {
            let sides = match conv.padding {
                Padding::Explicit(sides) => sides,
                _ => [[0; 2]; 2],
            };
            let kernel = conv.kernel_size.iter().chain(&conv.dilation).chain([&conv.out_channels]);
            let all = input.iter().chain(sides.iter().flatten()).chain(kernel);
            let moderate = all.copied().all(|size| size < 1 << 10);
            let fits = lengths.iter().all(|length| length.is_some_and(|length| length < 1 << 12));
            let plain = conv.padding_mode == PaddingMode::Zeros && input[1] == conv.in_channels;
            assert!(!(moderate && fits && plain), "an output of {lengths:?} is refused");
        }
    }
}

/// Images of zero stride, which may be large without taking room, and those of no elements.
fn images<T: Scalar>(settings: &Settings, layer: &DoConv2d<T>, plain: &Conv2d<T>) {
    let input = settings.input;
    let shape = told(layer.output_shape(input));
    assert_eq!(shape, told(plain.output_shape(input)));
    told(layer.cost(input));
    let one = arr0(T::one());
    // Not every shape is one that even a view can have.
    let Some(x): Option<ArrayView4<T>> = one.broadcast(input) else { return };
    let output = shape.unwrap_or(settings.output);
    let conv = &layer.config().conv;
    let kernel = product(&conv.kernel_size);
    let inputs = plain.weight().shape()[1];
    let lines = [product(&input[2..]), product(&output[2..])];
    // The rows and columns count where there are no images, too.
    let work = product(&[inputs, layer.d_mul()])
        .saturating_mul(kernel)
        .saturating_mul(product(&output).max(product(&input)))
        .saturating_add(lines[0])
        .saturating_add(lines[1]);
    let elements = [product(&output), product(&input)];
    let no_room = elements.iter().any(|&elements| elements >= NO_ROOM);
    let between = elements.iter().any(|elements| (MOST_ELEMENTS..NO_ROOM).contains(elements));
    if between || !no_room && work > MOST_WORK {
        return;
    }
    let mut y: Array4<T> = sevens(settings.output);
    let results = [told(layer.forward(&x)).is_some(), told(plain.forward(&x)).is_some()];
    assert!(results == [shape.is_some() && !no_room; 2], "{results:?}");
    for result in [told(layer.forward_into(&x, &mut y)), told(plain.forward_into(&x, &mut y))] {
        match result {
            Some(()) => assert_eq!(shape, Some(settings.output)),
            None => assert!(untouched(&y)),
        }
    }
    if results[0] {
        let y = layer.forward(&x).expect("it was computed before");
        assert_eq!(Some(<[usize; 4]>::from(y.dim())), shape);
        layer.backward(&x, &y).expect("gradients");
        plain.backward(&x, &y).expect("gradients");
        told(layer.check_fold(plain, &x).map(drop));
    }
    if layer.config().composition == Composition::Auto && results[0] {
        assert!(layer.cost(input).is_ok(), "the cost of a small layer");
    }
}
