//! How our time depends on threads, image size and batch.

use anyhow::Result;
use do_conv::Algorithm;

use crate::contenders::{do_step, forward};
use crate::data::Element;
use crate::layers::{BASE, Layer};
use crate::race::{Contender, Local, Plan, race, time};
use crate::table::{self, Column};

/// Layers faster than this on one thread are left out: they measure how threads wake up.
const LEAST_SECONDS: f64 = 1e-3;

type Make = fn(&Layer, Algorithm) -> Result<Local>;

/// Prints the time on one thread and on several of each layer that isn't tiny.
pub fn threads<T: Element>(layers: &[Layer], threads: usize, plan: &Plan) -> Result<()> {
    let tasks: [(&str, Make); 2] = [("forward", forward::<T>), ("DO step", do_step::<T>)];
    let mut names = Vec::new();
    let (mut gains, mut one, mut many) = (Vec::new(), Vec::new(), Vec::new());
    for layer in layers {
        for (task, make) in tasks {
            eprintln!("{} {task}: threads", layer.name);
            let mut contenders: [Box<dyn Contender>; 2] = [
                Box::new(make(layer, Algorithm::Direct)?.on_threads(1)?),
                Box::new(make(layer, Algorithm::Direct)?.on_threads(threads)?),
            ];
            let times = race(&mut contenders, plan)?;
            if times[0] < LEAST_SECONDS {
                continue;
            }
            names.push(format!("{} {task}", layer.name));
            gains.push(Some(times[0] / times[1]));
            one.push(Some(1e3 * times[0]));
            many.push(Some(1e3 * times[1]));
        }
    }
    let columns = [
        Column::new(format!("speed-up on {threads}"), 2, gains),
        Column::new("1 thread", 2, one),
        Column::new(format!("{threads} threads"), 2, many),
    ];
    table::print("threads, ms", &names, &columns, true);
    Ok(())
}

/// Prints the time of a multiply-accumulate in 3×3 layers of 64 channels as the image grows from
/// 14 to 224, and as the batch grows from 1 to 64.
pub fn sizes<T: Element>(plan: &Plan) -> Result<()> {
    let images = [14, 28, 56, 112, 224].map(|image| Layer { image, batch: 4, ..BASE });
    let batches = [1, 2, 4, 8, 16, 32, 64].map(|batch| Layer { image: 28, batch, ..BASE });
    let layers: Vec<Layer> = images.into_iter().chain(batches).collect();
    let mut names = Vec::new();
    let (mut forwards, mut steps) = (Vec::new(), Vec::new());
    for layer in &layers {
        let name = format!("{0}×{0}, batch {1}", layer.image, layer.batch);
        eprintln!("{name}");
        names.push(name);
        forwards.push(picoseconds_a_macc(
            layer,
            forward::<T>(layer, Algorithm::Direct)?,
            1.0,
            plan,
        )?);
        // A step has three convolutions: forward, and the gradients of image and kernel.
        steps.push(picoseconds_a_macc(layer, do_step::<T>(layer, Algorithm::Direct)?, 3.0, plan)?);
    }
    let columns = [Column::new("forward", 2, forwards), Column::new("DO step", 2, steps)];
    table::print("64→64 3×3, ps per MACC", &names, &columns, false);
    Ok(())
}

fn picoseconds_a_macc(
    layer: &Layer,
    call: Local,
    convolutions: f64,
    plan: &Plan,
) -> Result<Option<f64>> {
    let seconds = time(Box::new(call), plan)?;
    Ok(Some(1e12 * seconds / (layer.maccs() * convolutions)))
}
