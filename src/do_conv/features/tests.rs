//! Both paths on every instruction set of this machine: the same bits on real numbers, and on small
//! integers, where every sum is exact, those of kernel composition.

use super::{blocked, direct};
use crate::compose::{Composer, Factors};
use crate::config::Pairing;
use crate::config::algorithm::Algorithm;
use crate::config::geometry::{Geometry, Spec};
use crate::config::padding::PaddingMode;
use crate::conv::{self, engine::Engine, weights::Direction, weights::Weights};
use crate::error::Operation;
use crate::machine::Machine;
use crate::machine::element::Element;
use crate::machine::isa::Isa;
use crate::machine::memory::Memory;

const BASE: Spec = Spec {
    in_channels: 4,
    out_channels: 4,
    groups: 2,
    kernel_size: [3, 3],
    stride: [1, 1],
    dilation: [1, 1],
    padding: [[1, 1], [1, 1]],
    mode: PaddingMode::Zeros,
    algorithm: Algorithm::Direct,
};

/// Layers, features of a channel, and images `[B, H, W]`: lines of fewer pixels than a register and of
/// more, alone and two together; features in as many pieces as there are; channels in several parts.
fn layers() -> Vec<(Spec, usize, [usize; 3])> {
    let depthwise = Spec { in_channels: 3, out_channels: 3, groups: 3, ..BASE };
    let wide = Spec { padding: [[5, 4], [3, 6]], ..BASE };
    vec![
        (BASE, 9, [2, 6, 35]),
        (BASE, 10, [3, 5, 3]),
        (depthwise, 9, [2, 7, 7]),
        (Spec { kernel_size: [5, 5], ..depthwise }, 25, [1, 9, 33]),
        (Spec { out_channels: 48, stride: [2, 3], ..depthwise }, 12, [2, 11, 60]),
        (Spec { dilation: [2, 3], ..wide }, 9, [2, 7, 20]),
        (Spec { mode: PaddingMode::Reflect, ..BASE }, 9, [2, 4, 18]),
        (Spec { in_channels: 130, groups: 1, ..BASE }, 9, [2, 5, 17]),
        (Spec { kernel_size: [1, 2], stride: [3, 3], ..wide }, 2, [3, 2, 40]),
    ]
}

/// Writes `y` for `D`'s offset, `W`, `x` and the bias, each of numbers that `draw` gives.
fn compare<T: Element>(isa: Isa, draw: impl Fn(usize) -> f64, exact: bool) {
    let drawn = |len: usize, seed: usize| -> Vec<T> {
        (0..len).map(|index| T::from(draw(7919 * (index + seed))).unwrap()).collect()
    };
    for (spec, d_mul, [batch, rows, cols]) in layers() {
        let memory = Memory::default();
        let machine = Machine { isa, parallel_above: 0, memory: &memory };
        let engine = Engine { machine, ..Engine::new(&memory) };
        let input = [batch, spec.in_channels, rows, cols];
        let geometry = Geometry::new(Operation("test"), &spec, input).unwrap();
        let composer = &Composer::new(&spec, d_mul, Pairing::InputChannel);
        let count = |shape: [usize; 4]| shape.iter().product::<usize>();
        let (d_offset, w) = (
            &drawn(spec.in_channels * spec.taps() * d_mul, 1)[..],
            &drawn(spec.out_channels * spec.group_inputs() * d_mul, 2)[..],
        );
        let factors = Factors { composer, d_offset, w };
        let (x, bias) = (drawn(count(input), 3), drawn(spec.out_channels, 4));
        let what = format!("{isa:?}, {spec:?}, {d_mul}");

        let mut ys = [(); 3].map(|()| vec![T::nan(); count(geometry.output_shape())]);
        let [by_pixels, by_channels, by_kernel] = &mut ys;
        direct::forward(&engine, &geometry, factors, &x, Some(&bias), by_pixels).unwrap();
        blocked::forward(&engine, &geometry, factors, &x, Some(&bias), by_channels).unwrap();
        assert_eq!(by_pixels, by_channels, "{what}");
        if exact {
            let mut weight = vec![T::zero(); composer.weight_len()];
            composer.compose(&machine, d_offset, w, &mut weight).unwrap();
            let weights = Weights::new(&engine, &geometry, Direction::Forward, &weight).unwrap();
            conv::forward(&engine, &geometry, &x, &weights, Some(&bias), by_kernel).unwrap();
            assert_eq!(by_pixels, by_kernel, "{what}");
        }
    }
}

#[test]
fn both_paths_sum_in_the_same_order() {
    let real = |index: usize| (index % 1013) as f64 / 500.0 - 1.0;
    for isa in Isa::all_available() {
        compare::<f32>(isa, real, false);
        compare::<f64>(isa, real, false);
    }
}

#[test]
fn features_give_what_the_composed_kernel_gives() {
    let integer = |index: usize| (index % 1013 % 5) as f64 - 2.0;
    for isa in Isa::all_available() {
        compare::<f32>(isa, integer, true);
        compare::<f64>(isa, integer, true);
    }
}
