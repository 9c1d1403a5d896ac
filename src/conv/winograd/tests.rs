//! Both algorithms at sizes forced down, in each instruction set, against loops over the definition.

use crate::config::algorithm::Algorithm;
use crate::config::geometry::{Geometry, Spec};
use crate::config::padding::PaddingMode;
use crate::conv::engine::{Blocking, Engine};
use crate::conv::input_gradient::{self, InputGradient};
use crate::conv::weights::{Direction, Weights};
use crate::conv::winograd::points::Family;
use crate::conv::{KernelGradient, forward, kernel_axes};
use crate::error::Operation;
use crate::machine::Machine;
use crate::machine::isa::Isa;
use crate::machine::memory::{Memory, Scratch};

const OPERATION: Operation = Operation("test");

fn numbers(len: usize, seed: usize) -> Vec<f64> {
    let number = |index: usize| (index * 7919 + seed * 104_729) % 10_007;
    (0..len).map(|index| number(index) as f64 / 5003.0 - 1.0).collect()
}

/// `(input pixel, kernel element, output pixel)` of every product, by the definition.
fn for_each_product(geometry: &Geometry, mut f: impl FnMut(usize, usize, usize)) {
    let Geometry { rows, cols, spec, batch } = geometry;
    let (n, r) = (spec.group_inputs(), spec.group_outputs());
    for image in 0..*batch {
        for output in 0..spec.out_channels {
            for input in 0..n {
                let plane = image * spec.in_channels + output / r * n + input;
                for (tap, row_tap, col_tap) in (0..9).map(|tap| (tap, tap / 3, tap % 3)) {
                    for row in 0..rows.output {
                        let at = row as isize + rows.tap_offset(row_tap);
                        let Some(at_row) = spec.mode.source(at, rows.input) else { continue };
                        for col in 0..cols.output {
                            let at = col as isize + cols.tap_offset(col_tap);
                            let Some(at_col) = spec.mode.source(at, cols.input) else { continue };
                            let x = (plane * rows.input + at_row) * cols.input + at_col;
                            let w = (output * n + input) * 9 + tap;
                            let y = ((image * spec.out_channels + output) * rows.output + row)
                                * cols.output
                                + col;
                            f(x, w, y);
                        }
                    }
                }
            }
        }
    }
}

fn assert_close(got: &[f64], expected: &[f64], what: &str) {
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() < 1e-10, "{what}: {got} for {expected} at {index}");
    }
}

fn check(engine: &Engine<f64>, geometry: &Geometry, what: &str) {
    let spec = &geometry.spec;
    assert_eq!(geometry.algorithm(), spec.algorithm, "{what}");
    let len = |shape: [usize; 4]| shape.iter().product::<usize>();
    let x = numbers(len(geometry.input_shape()), 1);
    let weight = numbers(len(spec.weight_shape()), 2);
    let bias = numbers(spec.out_channels, 3);
    let dy = numbers(len(geometry.output_shape()), 4);
    let pixels = geometry.output_pixels();
    let mut y: Vec<_> =
        (0..dy.len()).map(|index| bias[index / pixels % spec.out_channels]).collect();
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; weight.len()]);
    for_each_product(geometry, |at_x, at_w, at_y| {
        y[at_y] += x[at_x] * weight[at_w];
        dx[at_x] += dy[at_y] * weight[at_w];
        dw[at_w] += dy[at_y] * x[at_x];
    });

    let mut got = vec![f64::NAN; y.len()];
    let weights = Weights::new(engine, geometry, Direction::Forward, &weight).unwrap();
    forward(engine, geometry, &x, &weights, Some(&bias), &mut got).unwrap();
    assert_close(&got, &y, &format!("y: {what}"));

    let mut got = vec![f64::NAN; x.len()];
    let weights = Weights::new(engine, geometry, Direction::Transposed, &weight).unwrap();
    let family = Family::of(geometry.algorithm());
    let correlations = input_gradient::correlations(geometry);
    let gradient = InputGradient::new(
        engine,
        geometry,
        family.as_ref(),
        &correlations,
        &weights,
        Some(&weight),
        &dy,
    )
    .unwrap();
    gradient.run(&Scratch::take(engine.memory, gradient.need()).unwrap(), &mut got);
    assert_close(&got, &dx, &format!("dx: {what}"));

    let mut got = vec![f64::NAN; dw.len()];
    let axes = kernel_axes(geometry);
    let gradient = KernelGradient::new(engine, geometry, &axes, &x, &dy).unwrap();
    gradient.run(&Scratch::take(engine.memory, gradient.need()).unwrap(), &mut got);
    assert_close(&got, &dw, &format!("dw: {what}"));
}

fn specs() -> Vec<(Spec, [usize; 3])> {
    let base = Spec {
        in_channels: 16,
        out_channels: 16,
        groups: 1,
        kernel_size: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        padding: [[1, 1], [1, 1]],
        mode: PaddingMode::Zeros,
        algorithm: Algorithm::Direct,
    };
    let mut cases = vec![
        (base, [1, 8, 8]),
        (Spec { in_channels: 21, out_channels: 35, ..base }, [2, 7, 7]),
        (Spec { in_channels: 40, out_channels: 17, padding: [[0, 2], [2, 1]], ..base }, [3, 9, 22]),
        (Spec { groups: 2, in_channels: 32, out_channels: 50, ..base }, [2, 5, 6]),
        (Spec { dilation: [2, 3], padding: [[2, 2], [3, 1]], ..base }, [2, 11, 13]),
        (Spec { dilation: [6, 6], padding: [[6, 6]; 2], ..base }, [1, 13, 9]),
        (Spec { padding: [[3, 0], [0, 4]], ..base }, [2, 4, 3]),
        (Spec { padding: [[0, 0]; 2], ..base }, [1, 4, 19]),
    ];
    for mode in [PaddingMode::Reflect, PaddingMode::Replicate, PaddingMode::Circular] {
        cases.push((Spec { mode, padding: [[2, 1], [1, 2]], ..base }, [2, 6, 10]));
    }
    cases
}

#[test]
fn results_are_the_definitions_at_any_sizes() {
    for isa in Isa::all_available() {
        for [tiles, elements, depth, pixels] in
            [[1, 1, 1, 1], [5, 1 << 12, 20, 9], [64, 1 << 17, 64, 224]]
        {
            let blocking = Blocking {
                tiles,
                transformed: elements,
                shared_transformed: elements,
                transformed_depth: depth,
                gradient_transformed: elements,
                pixels,
                ..Blocking::default()
            };
            for parallel_above in [0, usize::MAX] {
                for whole_kernel in [0, usize::MAX] {
                    let memory = Memory::default();
                    let blocking =
                        Blocking { whole_kernel, gradient_sums: whole_kernel, ..blocking };
                    let machine = Machine { isa, parallel_above, memory: &memory };
                    let engine = Engine { machine, blocking };
                    for (spec, [batch, rows, cols]) in specs() {
                        for algorithm in [Algorithm::Winograd2, Algorithm::Winograd4] {
                            let spec = Spec { algorithm, ..spec };
                            let input = [batch, spec.in_channels, rows, cols];
                            let geometry = Geometry::new(OPERATION, &spec, input).unwrap();
                            let what = format!("{isa:?}, {blocking:?}, {geometry:?}");
                            check(&engine, &geometry, &what);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn every_thread_that_may_work_has_buffers() {
    const THREADS: usize = 40;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(THREADS).build().unwrap();
    pool.install(|| {
        let memory = Memory::default();
        let machine = Machine { parallel_above: 0, ..Machine::new(&memory) };
        let engine = Engine { machine, blocking: Blocking::default() };
        let (spec, _) = specs().swap_remove(0);
        let spec =
            Spec { in_channels: 176, out_channels: 176, algorithm: Algorithm::Winograd4, ..spec };
        let geometry = Geometry::new(OPERATION, &spec, [1, 176, 6, 6]).unwrap();
        assert_eq!(geometry.algorithm(), Algorithm::Winograd4);
        let weight = numbers(176 * 176 * 9, 0);
        let weights = Weights::new(&engine, &geometry, Direction::Transposed, &weight).unwrap();
        let family = Family::of(geometry.algorithm());
        let correlations = input_gradient::correlations(&geometry);
        let dy = numbers(176 * geometry.output_pixels(), 1);
        let gradient = InputGradient::new(
            &engine,
            &geometry,
            family.as_ref(),
            &correlations,
            &weights,
            None,
            &dy,
        );
        // Both stages of a region have pieces, 33 together, none as many as there are threads.
        assert!(gradient.unwrap().need().threads > 22);
    });
}
