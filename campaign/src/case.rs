//! One layer on one input: sizes, settings, how its arrays lie in memory and what runs it.

use std::fmt::Write;

use do_conv::{Algorithm, Composition, DoConv2d, DoConv2dConfig, PaddingMode, Pairing, Scalar};
use ndarray::{Array1, Array3};

use crate::draw::Draw;
use crate::oracle::Inputs;

/// The numbers of threads that cases run on.
pub const THREADS: [usize; 4] = [1, 2, 3, 16];

/// A layer and its input. Channels are counted by group, so that any numbers are valid.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Images.
    pub batch: usize,
    /// Groups.
    pub groups: usize,
    /// Input channels of a group.
    pub inputs: usize,
    /// Output channels of a group.
    pub outputs: usize,
    /// Rows and columns of an image.
    pub image: [usize; 2],
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Step of the output.
    pub stride: [usize; 2],
    /// Distance of the taps.
    pub dilation: [usize; 2],
    /// `[[top, bottom], [left, right]]`.
    pub padding: [[usize; 2]; 2],
    /// What stands in the padding.
    pub mode: PaddingMode,
    /// `S - M·N`; without meaning for a 1×1 kernel.
    pub extra: usize,
    /// Which channel of `D` goes with which slice of `W`.
    pub pairing: Pairing,
    /// The order of `D` and `W`.
    pub composition: Composition,
    /// How it is computed.
    pub algorithm: Algorithm,
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether elements are `f64`.
    pub double: bool,
    /// Threads of the pool that runs it.
    pub threads: usize,
    /// What the strides of its arrays are drawn from; 0 for standard layout.
    pub layout: u64,
    /// What its values are drawn from.
    pub values: u64,
}

impl Default for Case {
    /// One pixel, one tap.
    fn default() -> Self {
        Self {
            batch: 1,
            groups: 1,
            inputs: 1,
            outputs: 1,
            image: [1, 1],
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            padding: [[0; 2]; 2],
            mode: PaddingMode::Zeros,
            extra: 0,
            pairing: Pairing::InputChannel,
            composition: Composition::Kernel,
            algorithm: Algorithm::Direct,
            bias: true,
            double: false,
            threads: 1,
            layout: 0,
            values: 0,
        }
    }
}

impl Case {
    /// `I`.
    pub fn in_channels(&self) -> usize {
        self.groups * self.inputs
    }

    /// `O`.
    pub fn out_channels(&self) -> usize {
        self.groups * self.outputs
    }

    /// `M·N`.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// `S`, 1 for a 1×1 kernel.
    pub fn depth(&self) -> usize {
        if self.taps() == 1 { 1 } else { self.taps() + self.extra }
    }

    /// Rows and columns of the output; none if the image is too small for the kernel or the padding.
    pub fn output(&self) -> Option<[usize; 2]> {
        let mut output = [0; 2];
        for (axis, output) in output.iter_mut().enumerate() {
            let ([near, far], image) = (self.padding[axis], self.image[axis]);
            let most = near.max(far);
            let room = match self.mode {
                PaddingMode::Zeros => true,
                PaddingMode::Reflect => most == 0 || most < image,
                PaddingMode::Circular => most <= image,
                PaddingMode::Replicate => most == 0 || image > 0,
            };
            let extent = (self.kernel[axis] - 1) * self.dilation[axis] + 1;
            let spare = (image + near + far).checked_sub(extent).filter(|_| room)?;
            *output = spare / self.stride[axis] + 1;
        }
        Some(output)
    }

    /// Whether the layer can exist.
    pub fn is_layer(&self) -> bool {
        self.composition != Composition::Feature
            || self.groups == 1
            || match self.pairing {
                Pairing::InputChannel => true,
                Pairing::PyTorch => self.outputs == 1,
                Pairing::TensorFlow => self.inputs == 1,
            }
    }

    /// Multiply-accumulates of a forward pass, both compositions of them counted if both may run.
    pub fn products(&self) -> usize {
        let [rows, cols] = self.output().unwrap_or([0, 0]);
        let (pixels, depth) = (self.batch * rows * cols, self.depth());
        let kernels = self.out_channels() * self.inputs;
        let compose = kernels * self.taps() * depth + self.in_channels() * self.taps() * depth;
        let feature = match self.composition {
            Composition::Kernel => 0,
            _ => self.in_channels() * self.taps() * depth + kernels * depth,
        };
        compose + pixels * (kernels * self.taps() + feature) + self.elements()
    }

    /// Elements of the input and the output, of one image if there are none: other inputs have some.
    fn elements(&self) -> usize {
        let [rows, cols] = self.output().unwrap_or([0, 0]);
        let images = self.in_channels() * self.image[0] * self.image[1];
        self.batch.max(1) * (images + self.out_channels() * rows * cols)
    }

    /// `[B, I, H, W]`.
    pub fn x_shape(&self) -> [usize; 4] {
        [self.batch, self.in_channels(), self.image[0], self.image[1]]
    }

    /// `[B, O, OH, OW]`; no pixels if there is no output.
    pub fn y_shape(&self) -> [usize; 4] {
        let [rows, cols] = self.output().unwrap_or([0, 0]);
        [self.batch, self.out_channels(), rows, cols]
    }

    /// `[O, I/g, S]`.
    pub fn w_shape(&self) -> [usize; 3] {
        [self.out_channels(), self.inputs, self.depth()]
    }

    /// `[I, M·N, S]`.
    pub fn offset_shape(&self) -> [usize; 3] {
        [self.in_channels(), self.taps(), self.depth()]
    }

    /// `[O, I/g, M, N]`.
    pub fn weight_shape(&self) -> [usize; 4] {
        [self.out_channels(), self.inputs, self.kernel[0], self.kernel[1]]
    }

    /// The configuration of the layer.
    pub fn config(&self) -> DoConv2dConfig {
        let config = DoConv2dConfig::new(self.in_channels(), self.out_channels(), self.kernel)
            .stride(self.stride)
            .dilation(self.dilation)
            .padding(self.padding)
            .padding_mode(self.mode)
            .groups(self.groups)
            .bias(self.bias)
            .pairing(self.pairing)
            .composition(self.composition)
            .algorithm(self.algorithm);
        if self.taps() == 1 { config } else { config.d_mul(self.depth()) }
    }

    /// The layer with these parameters.
    ///
    /// # Errors
    /// As `DoConv2d::from_parameters`.
    pub fn layer<T: Scalar>(&self, inputs: &Inputs<f64>) -> do_conv::Result<DoConv2d<T>> {
        let rounded = |values: &[f64]| values.iter().map(|&value| T::round_from(value)).collect();
        let array3 = |shape: [usize; 3], values: &[f64]| {
            Array3::from_shape_vec(shape, rounded(values)).expect("values for the shape")
        };
        DoConv2d::from_parameters(
            self.config(),
            (self.taps() > 1).then(|| array3(self.offset_shape(), &inputs.offset)),
            array3(self.w_shape(), &inputs.w),
            self.bias.then(|| Array1::from_vec(rounded(&inputs.bias))),
        )
    }

    /// Inputs of values that `draw` gives; `x` and `dy` have one value along an axis that they are
    /// broadcast along.
    pub fn inputs<N: Copy>(&self, mut draw: impl FnMut(&mut Draw) -> N) -> Inputs<N> {
        let source = &mut Draw::new(self.values, "values", 0);
        let mut fill = |shape: &[usize]| -> Vec<N> {
            (0..shape.iter().product()).map(|_| draw(source)).collect()
        };
        let mut inputs = Inputs {
            x: fill(&self.x_shape()),
            offset: if self.taps() == 1 { Vec::new() } else { fill(&self.offset_shape()) },
            w: fill(&self.w_shape()),
            bias: if self.bias { fill(&[self.out_channels()]) } else { Vec::new() },
            dy: fill(&self.y_shape()),
        };
        if let Some(axis) = self.broadcast() {
            for (values, shape) in
                [(&mut inputs.x, self.x_shape()), (&mut inputs.dy, self.y_shape())]
            {
                let step: usize = shape[axis + 1..].iter().product();
                for index in 0..values.len() {
                    values[index] = values[index - index / step % shape[axis] * step];
                }
            }
        }
        inputs
    }

    /// The axis that `x` and `dy` are broadcast along.
    pub fn broadcast(&self) -> Option<usize> {
        let choice = (self.layout >> 8) as usize % 16;
        (self.layout != 0 && choice < 4).then_some(choice)
    }

    /// Whether whole numbers up to 2 in `x` and `dy`, 1 in `W`, the bias and `d_offset` give sums that
    /// are exact in `f32`, in any order.
    pub fn is_exact_in_f32(&self) -> bool {
        let (taps, depth) = (self.taps(), self.depth());
        let [rows, cols] = self.output().unwrap_or([0, 0]);
        let kernel = depth + 3; // D has up to three ones of the identity for a tap.
        // How often a tap reads one pixel of an image.
        let reads = match self.mode {
            PaddingMode::Zeros => 1,
            PaddingMode::Reflect | PaddingMode::Circular => 9,
            PaddingMode::Replicate => {
                let [tops, sides] = self.padding.map(|[near, far]| near + far + 1);
                rows.min(tops) * cols.min(sides)
            }
        };
        let y = self.inputs * taps * kernel * 2 + 1;
        let dx = self.outputs * taps * kernel * 2 * reads;
        let pixels = self.batch * rows * cols;
        let dkernel = pixels * 4;
        y.max(dx).max(dkernel * 2 * taps).max(dkernel * self.out_channels()) < 1 << 24
    }

    /// The case as a line to paste, and everything that makes it again.
    pub fn describe(&self) -> String {
        let mut text = format!(
            "DoConv2dConfig::new({}, {}, {:?})",
            self.in_channels(),
            self.out_channels(),
            self.kernel
        );
        let plain = Self::default();
        // Writing to a string can't fail.
        let mut say = |differs: bool, setter: String| {
            if differs {
                let _ = write!(text, ".{setter}");
            }
        };
        say(self.stride != plain.stride, format!("stride({:?})", self.stride));
        say(self.dilation != plain.dilation, format!("dilation({:?})", self.dilation));
        say(self.padding != plain.padding, format!("padding({:?})", self.padding));
        say(self.mode != plain.mode, format!("padding_mode(PaddingMode::{:?})", self.mode));
        say(self.groups > 1, format!("groups({})", self.groups));
        say(!self.bias, "bias(false)".into());
        say(self.taps() > 1 && self.extra > 0, format!("d_mul({})", self.depth()));
        say(self.pairing != plain.pairing, format!("pairing(Pairing::{:?})", self.pairing));
        say(
            self.composition != plain.composition,
            format!("composition(Composition::{:?})", self.composition),
        );
        say(
            self.algorithm != plain.algorithm,
            format!("algorithm(Algorithm::{:?})", self.algorithm),
        );
        let _ = write!(
            text,
            " on {} x {:?}, y {:?}, {} threads\n{self:?}",
            if self.double { "f64" } else { "f32" },
            self.x_shape(),
            self.y_shape(),
            self.threads
        );
        text
    }
}
