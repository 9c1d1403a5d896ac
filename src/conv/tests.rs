//! Every instruction set of this machine at block sizes forced down to 1, 2 and 3, against loops over
//! the definitions. Small integers, so that every order of summation is exact.

use std::ops::Range;

use super::engine::{Blocking, Engine};
use super::input_gradient::{self, InputGradient};
use super::weights::{Direction, Weights};
use super::{KernelGradient, forward, kernel_axes};
use crate::config::algorithm::Algorithm;
use crate::config::geometry::{Geometry, Spec};
use crate::config::padding::PaddingMode;
use crate::error::Operation;
use crate::machine::Machine;
use crate::machine::element::Element;
use crate::machine::isa::Isa;
use crate::machine::memory::{Memory, Scratch};

const OPERATION: Operation = Operation("test");
/// What stands around an output, and must stay.
const CANARY: f64 = 12_345.0;

/// What an engine is made of, apart from its buffers.
#[derive(Debug, Clone, Copy)]
struct Setup {
    isa: Isa,
    parallel_above: usize,
    blocking: Blocking,
}

impl Setup {
    /// The sizes that layers are computed with.
    fn usual(isa: Isa) -> Self {
        Self { isa, ..Self::of(&Engine::new(&Memory::<f32>::default())) }
    }

    fn of<T>(engine: &Engine<T>) -> Self {
        let Engine { machine: Machine { isa, parallel_above, .. }, blocking } = *engine;
        Self { isa, parallel_above, blocking }
    }

    fn engine<T>(self, memory: &Memory<T>) -> Engine<'_, T> {
        let Self { isa, parallel_above, blocking } = self;
        Engine { machine: Machine { isa, parallel_above, memory }, blocking }
    }
}

fn setups() -> Vec<Setup> {
    let mut setups = Vec::new();
    for isa in Isa::all_available() {
        for [depth, pixels, panels, gradient] in
            [[1, 1, 1, 1], [2, 3, 3, 2], [3, 5, 2, 300], [20, 40, 1, 30]]
        {
            let blocking = Blocking {
                depth,
                pixels,
                strip: 20 * pixels,
                panels,
                gradient,
                gradient_panels: panels,
                ..Blocking::default()
            };
            setups.push(Setup { isa, parallel_above: usize::MAX, blocking });
        }
        setups.push(Setup { parallel_above: 0, ..Setup::usual(isa) });
    }
    setups
}

fn number<T: Element>(value: f64) -> T {
    T::from(value).expect("a number that floats have")
}

fn integers<T: Element>(len: usize, seed: usize) -> Vec<T> {
    let integer = |index: usize| ((index + seed) * 7919 % 1013 % 7) as f64 - 3.0;
    (0..len).map(|index| number(integer(index))).collect()
}

/// `(input pixel, kernel element, output pixel)` of every product of the convolution.
fn products(geometry: &Geometry) -> Vec<[usize; 3]> {
    let Geometry { rows, cols, spec, batch } = geometry;
    let (n, r) = (spec.group_inputs(), spec.group_outputs());
    let source = |position: usize, padding: usize, len: usize| {
        let inside = position >= padding && position < padding + len;
        inside.then(|| position - padding)
    };
    let mut products = Vec::new();
    for image in 0..*batch {
        for channel in 0..spec.out_channels {
            for row in 0..rows.output {
                for col in 0..cols.output {
                    let y = ((image * spec.out_channels + channel) * rows.output + row)
                        * cols.output
                        + col;
                    for input in 0..n {
                        let plane = image * spec.in_channels + channel / r * n + input;
                        for m in 0..rows.kernel {
                            for k in 0..cols.kernel {
                                let at = row * rows.stride + m * rows.dilation;
                                let Some(at_row) = source(at, rows.padding[0], rows.input) else {
                                    continue;
                                };
                                let at = col * cols.stride + k * cols.dilation;
                                let Some(at_col) = source(at, cols.padding[0], cols.input) else {
                                    continue;
                                };
                                let x = (plane * rows.input + at_row) * cols.input + at_col;
                                let w = ((channel * n + input) * rows.kernel + m) * cols.kernel + k;
                                products.push([x, w, y]);
                            }
                        }
                    }
                }
            }
        }
    }
    products
}

/// Runs `write` on the middle of a longer slice that starts as not-a-numbers, and checks that it wrote
/// that part, all of it and nothing else.
fn guarded<T: Element>(len: usize, write: impl FnOnce(&mut [T])) -> Vec<T> {
    const MARGIN: usize = 64;
    let canary = number(CANARY);
    let mut values = vec![canary; len + 2 * MARGIN];
    let middle: Range<usize> = MARGIN..MARGIN + len;
    values[middle.clone()].fill(T::nan());
    write(&mut values[middle.clone()]);
    let outside = values[..middle.start].iter().chain(&values[middle.end..]);
    assert!(outside.copied().all(|value| value == canary));
    values[middle].to_vec()
}

/// Buffers that a call finds: none, so that it makes each as long as it needs, or long ones that an
/// earlier call left not-a-numbers in.
fn memories<T: Element>() -> [Memory<T>; 2] {
    let used = Memory::default();
    for _ in 0..6 {
        used.give(vec![T::nan(); 1 << 14]);
    }
    [Memory::default(), used]
}

/// A result must not depend on what a layer did before.
fn check<T: Element>(setup: Setup, geometry: &Geometry) {
    memories().iter().for_each(|memory| check_with::<T>(setup, memory, geometry));
}

fn check_with<T: Element>(setup: Setup, kept: &Memory<T>, geometry: &Geometry) {
    // Each call has buffers of its own, where `kept` has none.
    let memories = [(); 3].map(|()| Memory::default());
    let engines = memories.each_ref().map(|fresh| {
        let memory = if kept.is_empty() { fresh } else { kept };
        setup.engine(memory)
    });
    let spec = &geometry.spec;
    let count = |shape: [usize; 4]| shape.iter().product::<usize>();
    let (x_len, y_len) = (count(geometry.input_shape()), count(geometry.output_shape()));
    let x: Vec<T> = integers(x_len, 1);
    let weight: Vec<T> = integers(count(spec.weight_shape()), 2);
    let bias: Vec<T> = integers(spec.out_channels, 3);
    let dy: Vec<T> = integers(y_len, 4);

    let pixels = geometry.output_pixels();
    let mut y: Vec<T> = (0..y_len).map(|index| bias[index / pixels % spec.out_channels]).collect();
    let mut dx = vec![T::zero(); x_len];
    let mut dw = vec![T::zero(); weight.len()];
    for [at_x, at_w, at_y] in products(geometry) {
        y[at_y] += x[at_x] * weight[at_w];
        dx[at_x] += dy[at_y] * weight[at_w];
        dw[at_w] += dy[at_y] * x[at_x];
    }

    let what = format!("{setup:?}, {geometry:?}");
    let got = guarded(y_len, |y| {
        let weights = Weights::new(&engines[0], geometry, Direction::Forward, &weight).unwrap();
        forward(&engines[0], geometry, &x, &weights, Some(&bias), y).unwrap();
    });
    assert!(got == y, "y: {what}");
    let got = guarded(x_len, |dx| write_input_gradient(&engines[1], geometry, &weight, &dy, dx));
    assert!(got == dx, "dx: {what}");
    let axes = kernel_axes(geometry);
    let got = guarded(weight.len(), |dw| {
        let gradient = KernelGradient::new(&engines[2], geometry, &axes, &x, &dy).unwrap();
        gradient.run(&Scratch::take(engines[2].memory, gradient.need()).unwrap(), dw);
    });
    assert!(got == dw, "dw: {what}");
}

fn write_input_gradient<T: Element>(
    engine: &Engine<T>,
    geometry: &Geometry,
    weight: &[T],
    dy: &[T],
    dx: &mut [T],
) {
    let weights = Weights::new(engine, geometry, Direction::Transposed, weight).unwrap();
    let correlations = input_gradient::correlations(geometry);
    let gradient =
        InputGradient::new(engine, geometry, None, &correlations, &weights, Some(weight), dy)
            .unwrap();
    gradient.run(&Scratch::take(engine.memory, gradient.need()).unwrap(), dx);
}

/// Most rows of a register tile, and lanes of a register.
fn tile_size<T: Element>(setup: Setup) -> [usize; 2] {
    let memory = &Memory::<T>::default();
    let engine = setup.engine(memory);
    [engine.most_rows(), engine.lanes()]
}

fn spec(channels: [usize; 2], kernel_size: [usize; 2]) -> Spec {
    Spec {
        in_channels: channels[0],
        out_channels: channels[1],
        groups: 1,
        kernel_size,
        stride: [1, 1],
        dilation: [1, 1],
        padding: [[1, 1], [1, 1]],
        mode: PaddingMode::Zeros,
        algorithm: Algorithm::Direct,
    }
}

fn check_all(setup: Setup, spec: &Spec, input: [usize; 3]) {
    let [batch, rows, cols] = input;
    let geometry = Geometry::new(OPERATION, spec, [batch, spec.in_channels, rows, cols]).unwrap();
    check::<f32>(setup, &geometry);
    check::<f64>(setup, &geometry);
}

#[test]
fn sizes_around_the_register_tile() {
    for setup in setups() {
        let tiles = [tile_size::<f32>(setup), tile_size::<f64>(setup)];
        for [rows, lanes] in tiles {
            // Output channels around a panel, in each of its two operands; lines that are read together
            // and on their own.
            for outputs in [1, lanes - 1, lanes, lanes + 1, 4 * lanes + 1] {
                check_all(setup, &spec([2, outputs], [3, 3]), [2, 3, 5]);
                check_all(setup, &spec([outputs, 5], [3, 3]), [1, 2, rows]);
            }
            // One line of pixels around a tile and a vector.
            for cols in [1, rows - 1, rows, rows + 1, lanes, lanes + 1, 2 * lanes + 1] {
                check_all(setup, &spec([2, 5], [3, 3]), [1, 1, cols]);
                check_all(setup, &spec([1, 2], [2, 2]), [3, 2, cols]);
            }
        }
    }
}

#[test]
fn every_kind_of_layer() {
    for setup in setups() {
        let base = spec([6, 4], [3, 3]);
        let specs = [
            base,
            Spec { stride: [2, 3], ..base },
            Spec { stride: [3, 2], padding: [[0, 2], [2, 1]], ..base },
            Spec { stride: [5, 5], kernel_size: [2, 3], ..base },
            Spec { dilation: [2, 3], padding: [[3, 2], [2, 4]], ..base },
            Spec { dilation: [2, 2], stride: [2, 2], padding: [[2, 2]; 2], ..base },
            Spec { dilation: [3, 2], stride: [2, 3], padding: [[3, 0], [1, 5]], ..base },
            Spec { groups: 2, ..base },
            Spec { groups: 2, stride: [2, 1], ..base },
            Spec { groups: 6, out_channels: 6, ..base },
            Spec { groups: 6, out_channels: 12, stride: [2, 2], ..base },
            Spec { groups: 6, out_channels: 6, dilation: [2, 1], stride: [1, 2], ..base },
            Spec { kernel_size: [1, 1], padding: [[0; 2]; 2], ..base },
            Spec { kernel_size: [1, 1], padding: [[0; 2]; 2], stride: [2, 2], ..base },
            Spec { kernel_size: [1, 1], padding: [[1, 0], [2, 1]], ..base },
            Spec { kernel_size: [5, 1], padding: [[4, 4], [0, 0]], ..base },
            Spec { kernel_size: [1, 4], padding: [[0, 0], [3, 1]], ..base },
        ];
        for spec in specs {
            for input in [[1, 5, 7], [3, 8, 6], [2, 7, 40]] {
                check_all(setup, &spec, input);
            }
        }
    }
}

#[test]
fn kernels_of_one_tap() {
    for setup in setups() {
        let [_, lanes] = tile_size::<f32>(setup);
        for channels in [[6, 5], [5, lanes + 3], [2 * lanes + 1, 21]] {
            let base = Spec { padding: [[0; 2]; 2], ..spec(channels, [1, 1]) };
            let specs = [
                base,
                Spec { stride: [2, 2], ..base },
                Spec { stride: [1, 3], ..base },
                Spec { stride: [3, 2], ..base },
                Spec { groups: 2, in_channels: 12, out_channels: 14, ..base },
            ];
            // Planes around some registers, those of two images in a block, lines that are read together,
            // and planes that compete for the same places of a cache.
            let inputs = [[2, 9, 14], [3, 7, 7], [2, 3, 2 * lanes], [2, 5, 2], [1, 32, 64]];
            let large = setup.blocking.pixels > 100;
            for input in inputs.into_iter().take(if large { 5 } else { 4 }) {
                for spec in &specs {
                    check_all(setup, spec, input);
                }
            }
        }
    }
}

#[test]
fn lines_that_read_nothing_but_padding() {
    for setup in setups() {
        let base = spec([3, 8], [3, 3]);
        let specs = [
            (Spec { stride: [3, 3], padding: [[52, 52], [0, 0]], ..base }, [1, 32, 32]),
            (
                Spec { stride: [3, 3], padding: [[52, 52], [0, 0]], ..spec([3, 1], [3, 3]) },
                [2, 4, 7],
            ),
            (
                Spec { stride: [1, 3], padding: [[1, 0], [0, 0]], ..spec([1, 5], [1, 3]) },
                [1, 0, 30],
            ),
            (
                Spec { stride: [7, 3], padding: [[3, 5], [0, 0]], ..spec([1, 5], [3, 3]) },
                [1, 2, 30],
            ),
            (Spec { stride: [2, 4], padding: [[9, 9], [9, 40]], ..base }, [1, 1, 13]),
            (
                Spec { stride: [1, 5], padding: [[0, 0], [40, 40]], ..spec([2, 6], [1, 5]) },
                [2, 2, 0],
            ),
            (
                Spec {
                    stride: [4, 9],
                    padding: [[20, 3], [31, 7]],
                    groups: 3,
                    ..spec([3, 3], [2, 7])
                },
                [1, 2, 60],
            ),
        ];
        for (spec, input) in specs {
            check_all(setup, &spec, input);
        }
    }
}

#[test]
fn images_of_more_blocks_than_a_thread_keeps_strips_of() {
    for isa in Isa::all_available() {
        let setup = Setup::usual(isa);
        let depthwise = Spec { groups: 2, ..spec([2, 2], [3, 1]) };
        check_all(setup, &depthwise, [2, 2500, 60]);
        // Tables of 3 · 16 bytes a line are all that a strip has.
        check_all(setup, &Spec { padding: [[1, 1], [0, 0]], ..depthwise }, [1, 150_000, 1]);
    }
}

#[test]
fn sums_longer_than_a_block() {
    for isa in Isa::all_available() {
        let setup = Setup::usual(isa);
        check_all(setup, &spec([61, 15], [3, 3]), [2, 6, 9]);
        check_all(
            setup,
            &Spec { groups: 61, out_channels: 61, ..spec([61, 61], [3, 3]) },
            [2, 20, 19],
        );
    }
}

#[test]
fn infinite_weights_leave_zeros_of_padding_out() {
    fn check<T: Element>(setup: Setup, spec: &Spec, input: [usize; 3]) {
        let memory = &Memory::default();
        let engine = setup.engine(memory);
        let [batch, rows, cols] = input;
        let geometry = Geometry::new(OPERATION, spec, [batch, spec.in_channels, rows, cols]);
        let geometry = geometry.unwrap();
        let count = |shape: [usize; 4]| shape.iter().product::<usize>();
        // Nothing but ones, and infinite weights in some corners of the kernel.
        let (x, dy) = (count(geometry.input_shape()), count(geometry.output_shape()));
        let (x, dy) = (vec![T::one(); x], vec![T::one(); dy]);
        let mut weight = vec![T::one(); count(spec.weight_shape())];
        let last = weight.len() - 1;
        weight[0] = T::infinity();
        weight[last] = T::infinity();
        let (mut y, mut dx) = (vec![T::zero(); dy.len()], vec![T::zero(); x.len()]);
        for [at_x, at_w, at_y] in products(&geometry) {
            y[at_y] += weight[at_w];
            dx[at_x] += weight[at_w];
        }
        let what = format!("{setup:?}, {geometry:?}");
        let got = guarded(y.len(), |y| {
            let weights = Weights::new(&engine, &geometry, Direction::Forward, &weight).unwrap();
            forward(&engine, &geometry, &x, &weights, None, y).unwrap();
        });
        assert!(got == y, "y: {what}");
        let got =
            guarded(dx.len(), |dx| write_input_gradient(&engine, &geometry, &weight, &dy, dx));
        assert!(got == dx, "dx: {what}");
    }
    for setup in setups() {
        for channels in [[1, 1], [3, 2], [2, 5], [20, 33]] {
            let spec = Spec { padding: [[2, 1], [2, 3]], ..spec(channels, [3, 3]) };
            for spec in [spec, Spec { stride: [2, 1], ..spec }, Spec { dilation: [1, 2], ..spec }] {
                for input in [[2, 4, 4], [3, 2, 1], [1, 3, 30]] {
                    check::<f32>(setup, &spec, input);
                    check::<f64>(setup, &spec, input);
                }
            }
        }
    }
}

#[test]
fn a_channel_of_infinite_weights_changes_no_bit_of_another() {
    fn check<T: Element>(setup: Setup, spec: &Spec, input: [usize; 3]) {
        let memory = &Memory::default();
        let engine = setup.engine(memory);
        let [batch, rows, cols] = input;
        let geometry = Geometry::new(OPERATION, spec, [batch, spec.in_channels, rows, cols]);
        let geometry = geometry.unwrap();
        let count = |shape: [usize; 4]| shape.iter().product::<usize>();
        // Sums of these differ by the order they are taken in.
        let reals = |len, seed| {
            integers::<T>(len, seed).into_iter().map(|value| value / number(7.0)).collect()
        };
        let x: Vec<T> = reals(count(geometry.input_shape()), 1);
        let dy: Vec<T> = reals(count(geometry.output_shape()), 2);
        let weight: Vec<T> = reals(count(spec.weight_shape()), 3);
        let mut changed = weight.clone();
        changed[0] = T::infinity();
        let what = format!("{setup:?}, {geometry:?}");
        let same = |all: [Vec<T>; 2], channels: usize, pixels: usize| {
            let [before, after] = all.map(|all| {
                let others = all.chunks(pixels).enumerate();
                let others = others.filter(|(plane, _)| plane % channels != 0);
                others.flat_map(|(_, plane)| plane.to_vec()).collect::<Vec<T>>()
            });
            assert!(before == after, "{what}");
        };
        let y = [&weight, &changed].map(|weight| {
            let mut y = vec![T::zero(); dy.len()];
            let weights = Weights::new(&engine, &geometry, Direction::Forward, weight).unwrap();
            forward(&engine, &geometry, &x, &weights, None, &mut y).unwrap();
            y
        });
        same(y, spec.out_channels, geometry.output_pixels());
        let dx = [&weight, &changed].map(|weight| {
            let mut dx = vec![T::zero(); x.len()];
            write_input_gradient(&engine, &geometry, weight, &dy, &mut dx);
            dx
        });
        same(dx, spec.in_channels, geometry.input_pixels());
    }
    for setup in setups() {
        for channels in [[2, 2], [2, 5], [20, 33]] {
            let spec = Spec { padding: [[2, 1], [2, 3]], ..spec(channels, [3, 3]) };
            for spec in [spec, Spec { stride: [2, 1], ..spec }, Spec { dilation: [1, 2], ..spec }] {
                for input in [[2, 4, 4], [3, 2, 1], [1, 3, 30]] {
                    check::<f32>(setup, &spec, input);
                    check::<f64>(setup, &spec, input);
                }
            }
        }
    }
}

#[test]
fn nothing_in_nothing_out() {
    let setup = Setup::usual(Isa::active());
    for groups in [1, 2] {
        let spec = Spec { groups, ..spec([2, 2], [3, 3]) };
        check_all(setup, &spec, [0, 4, 4]);
        check_all(setup, &Spec { padding: [[2, 1], [1, 1]], ..spec }, [2, 0, 4]);
    }
}
