//! `check_fold` of layers that Winograd's algorithms compute.

use do_conv::{Composition, Scalar};
use ndarray::Array1;

use crate::common::{self, Problem};
use crate::oracle::{Arrays, Case, gamma};
use crate::{WINOGRAD, inputs, layer, problems};

fn check<T: Scalar>(name: &str, problem: &Problem) {
    let inputs = inputs(problem);
    let x = inputs.x.mapv(T::round_from);
    for algorithm in WINOGRAD {
        let layer = layer::<T>(problem, &inputs, algorithm, Composition::Kernel);
        let honest = layer.check_fold(&layer.fold(), &x).unwrap();
        assert!(honest.within_bound && honest.same_bits, "{name}, {algorithm}: {honest:?}");

        // The bound of the element that is off most, found again by loops.
        let exact = output(&common::oracle::solve(problem, &inputs), "y");
        let y = layer.fold().forward(&x).unwrap().mapv(T::widen).into_dyn();
        let differences = y.iter().zip(&exact).map(|(y, exact)| (y - exact).abs());
        let (at, largest) =
            differences.enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap();
        let sums = common::oracle::absolute_sums(problem, &inputs);
        let case = Case {
            batch: problem.batch,
            groups: problem.groups,
            channels: [problem.group_inputs(), problem.group_outputs()],
            image: problem.image,
            dilation: problem.dilation,
            padding: problem.padding,
            mode: problem.mode,
        };
        let arrays = Arrays {
            x: inputs.x.clone(),
            weight: output(&sums, "kernel").into_dimensionality().unwrap(),
            bias: inputs.bias.clone().unwrap_or_else(|| Array1::zeros(problem.out_channels)),
            dy: inputs.dy.clone(),
        };
        let (n, unit) = (problem.group_inputs(), T::UNIT_ROUNDOFF);
        // Of a kernel that is composed first: as many roundings more.
        let parts = gamma(n + problem.d_mul + 40, unit) / gamma(n + 40, unit);
        let bound = case.bounds(algorithm, &arrays, unit).y.iter().nth(at).unwrap() * parts;
        if unit == f32::UNIT_ROUNDOFF {
            let close = |got: f64, expected: f64| (got - expected).abs() <= 1e-5 * bound;
            assert!(close(honest.largest_difference, largest), "{name}, {algorithm}");
            assert!(close(honest.bound, bound), "{name}, {algorithm}: {honest:?}, {bound}");
        }

        // A weight off by more than the bound of any output allows.
        let mut tampered = layer.fold();
        let (_, weights) = tampered.parameters_mut().next().unwrap();
        weights[0] += T::round_from(100.0);
        let found = layer.check_fold(&tampered, &x).unwrap();
        assert!(!found.within_bound && !found.same_bits, "{name}, {algorithm}: {found:?}");
    }
}

fn output(outputs: &common::Outputs, name: &str) -> ndarray::ArrayD<f64> {
    outputs.iter().find(|(found, _)| *found == name).unwrap().1.clone()
}

#[test]
fn folds_are_within_the_bound_of_tiles() {
    for (name, problem) in problems() {
        // The rest are large for loops.
        if !matches!(name, "many channels" | "many pixels") {
            check::<f32>(name, &problem);
            check::<f64>(name, &problem);
        }
    }
}
