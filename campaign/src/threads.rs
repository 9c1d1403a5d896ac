//! One layer used by many threads at once, within other pools and beside panics, gives the same bits.

use std::panic::{self, AssertUnwindSafe};

use do_conv::{Conv2d, DoConv2d, Scalar};
use ndarray::Array4;

use crate::bits::{Results, bits};
use crate::case::{Case, THREADS};
use crate::draw::Draw;
use crate::layers::{LayerPromise, arrays, runnable};
use crate::make::MOST_PRODUCTS;
use crate::runner::{Outcome, pool};

/// Threads that share a layer.
const SHARING: usize = 16;

/// The promise.
#[derive(Debug)]
pub struct Threads;

impl LayerPromise for Threads {
    const NAME: &str = "threads";
    const MEASURE: &str = "differing results";

    fn case(&self, draw: &mut Draw) -> Case {
        let mut case = runnable(draw);
        // There are many threads to compute it.
        while case.products() > MOST_PRODUCTS / 10 {
            case = runnable(draw);
        }
        case
    }

    fn check<T: Scalar>(&self, case: &Case) -> Outcome {
        run::<T>(case)
    }
}

/// An input, and what must come out: of the layer and of its fold.
struct Task<T> {
    x: Array4<T>,
    dy: Array4<T>,
    expected: Results,
    folded: Vec<u64>,
}

impl<T: Scalar> Task<T> {
    fn check(&self, layer: &DoConv2d<T>, conv: &Conv2d<T>, what: &str) -> Result<(), String> {
        self.expected.expect(what, &Results::of(layer, &self.x, &self.dy)?)?;
        let folded = conv.forward(&self.x).map_err(|error| error.to_string())?;
        match bits(folded.view()) == self.folded {
            true => Ok(()),
            false => Err(format!("folded y {what}: other bits")),
        }
    }
}

fn run<T: Scalar>(case: &Case) -> Outcome {
    if case.output().is_none() || !case.is_layer() {
        return Ok(0.0);
    }
    let (layer, x, dy) = arrays::<T>(case, &case.inputs(Draw::real))?;
    let conv = layer.fold();
    // Another image size for every other thread, so that buffers of different sizes go around.
    let other = Case { image: [case.image[0] + 1, case.image[1] + 2], ..case.clone() };
    let (_, other_x, other_dy) = arrays::<T>(&other, &other.inputs(Draw::real))?;
    let mut tasks = Vec::new();
    for (x, dy) in [(x, dy), (other_x, other_dy)] {
        let expected = pool(1).install(|| Results::of(&layer.clone(), &x, &dy))?;
        let folded = conv.clone().forward(&x).map_err(|error| error.to_string())?;
        tasks.push(Task { expected, folded: bits(folded.view()), x, dy });
    }
    let (layer, conv, tasks) = (&layer, &conv, &tasks);

    std::thread::scope(|scope| {
        let start = |index: usize| {
            scope.spawn(move || {
                let threads = THREADS[index % THREADS.len()];
                for turn in 0..2 {
                    let task = &tasks[(index + turn) % tasks.len()];
                    let check = || task.check(layer, conv, "on one of many threads");
                    if index < SHARING / 2 { check()? } else { pool(threads).install(check)? }
                }
                Ok::<(), String>(())
            })
        };
        let threads: Vec<_> = (0..SHARING).map(start).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(_) => Err("a thread that shares a layer panicked".into()),
        })
    })?;

    // Pools within pools, and tasks of the same pool beside each other.
    for (outer, inner) in [(2, 3), (3, 1), (1, 16)] {
        let check = || tasks[0].check(layer, conv, "in nested pools");
        let (one, two) = pool(outer).install(|| rayon::join(|| pool(inner).install(check), check));
        one.and(two)?;
    }

    // A neighbour that panics.
    let beside = pool(3).install(|| {
        let mut result = Err("not run".to_owned());
        let caught = panic::catch_unwind(AssertUnwindSafe(|| {
            rayon::join(
                || result = tasks[1].check(layer, conv, "beside a panic"),
                || panic!("on purpose"),
            )
        }));
        if caught.is_ok() { Err("the neighbour didn't panic".into()) } else { result }
    });
    beside?;
    tasks[0].check(layer, conv, "after a panic")?;
    Ok(0.0)
}
