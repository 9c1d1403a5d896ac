//! The convolutions that are timed, here, in the adapters' benchmarks and beside other libraries: layers of
//! ResNet, ResNeXt, MobileNet and DeepLab.

#![allow(dead_code)] // Several programs have this file, and none uses all of it.

use do_conv::{Conv2dConfig, DoConv2dConfig};
use ndarray::Array4;

/// A convolution of square images by a square kernel, without a bias.
#[derive(Debug, Clone, Copy)]
pub struct Layer {
    pub name: &'static str,
    pub batch: usize,
    pub inputs: usize,
    pub outputs: usize,
    pub image: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    pub dilation: usize,
    pub groups: usize,
}

/// The 3×3 convolution of the first stage of ResNet-18; what the other layers differ from.
pub const BASE: Layer = Layer {
    name: "r18.l1",
    batch: 8,
    inputs: 64,
    outputs: 64,
    image: 56,
    kernel: 3,
    stride: 1,
    padding: 1,
    dilation: 1,
    groups: 1,
};

pub const LAYERS: [Layer; 11] = [
    Layer { name: "r18.conv1", inputs: 3, image: 224, kernel: 7, stride: 2, padding: 3, ..BASE },
    BASE,
    Layer { name: "r18.l2", inputs: 128, outputs: 128, image: 28, ..BASE },
    Layer { name: "r18.l3", inputs: 256, outputs: 256, image: 14, ..BASE },
    Layer { name: "r18.l4", inputs: 512, outputs: 512, image: 7, ..BASE },
    Layer { name: "r18.l2s", outputs: 128, stride: 2, ..BASE },
    Layer { name: "r50.1x1", inputs: 256, kernel: 1, padding: 0, ..BASE },
    Layer { name: "rx50.g32", inputs: 128, outputs: 128, groups: 32, ..BASE },
    Layer { name: "mbv1.dw", inputs: 256, outputs: 256, image: 28, groups: 256, ..BASE },
    Layer {
        name: "mbv3.dw5",
        inputs: 120,
        outputs: 120,
        image: 28,
        kernel: 5,
        padding: 2,
        groups: 120,
        ..BASE
    },
    Layer {
        name: "dl.aspp6",
        batch: 2,
        inputs: 256,
        outputs: 256,
        image: 33,
        padding: 6,
        dilation: 6,
        ..BASE
    },
];

impl Layer {
    pub fn input_shape(&self) -> [usize; 4] {
        [self.batch, self.inputs, self.image, self.image]
    }

    pub fn weight_shape(&self) -> [usize; 4] {
        [self.outputs, self.inputs / self.groups, self.kernel, self.kernel]
    }

    pub fn output_shape(&self) -> [usize; 4] {
        let reach = self.dilation * (self.kernel - 1);
        let size = (self.image + 2 * self.padding - reach - 1) / self.stride + 1;
        [self.batch, self.outputs, size, size]
    }

    /// `M·N`, the number of elements of one plane of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Multiply-accumulates of one forward pass, those with padding included.
    pub fn maccs(&self) -> f64 {
        let per_output = self.inputs / self.groups * self.taps();
        (self.output_shape().iter().product::<usize>() * per_output) as f64
    }

    /// Whether Winograd's algorithms apply: 3×3 taps of stride 1 and no groups, of which these layers have
    /// too many for their channels.
    pub fn has_winograd(&self) -> bool {
        (self.kernel, self.stride, self.groups) == (3, 1, 1)
    }

    pub fn plain_config(&self) -> Conv2dConfig {
        Conv2dConfig::new(self.inputs, self.outputs, [self.kernel; 2])
            .stride([self.stride; 2])
            .padding(self.padding)
            .dilation([self.dilation; 2])
            .groups(self.groups)
            .bias(false)
    }

    pub fn do_config(&self) -> DoConv2dConfig {
        self.plain_config().into()
    }
}

/// Numbers without subnormals or repetition, the same every time.
pub fn image(shape: [usize; 4]) -> Array4<f32> {
    let mut index = 0u32;
    Array4::from_shape_simple_fn(shape, || {
        index = index.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (index >> 8) as f32 / (1 << 23) as f32 - 1.0
    })
}
