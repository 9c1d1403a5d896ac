//! The gradient of the kernel: `dg = Gᵀ·[Σ (A·dy·Aᵀ) ⊙ (Bᵀ·x·B)]·G` over all tiles.
//!
//! For each point this is a product of two matrices whose rows are tiles. All threads transform the tiles of
//! a region together, of `x` and of `dy`; then each takes some channels of both and sums their products, all
//! points of which it transforms back once the last region is done. Where there are more regions, sums wait
//! in memory in between, and channels are cut so that they have room there.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::lines::{KernelGradient, Line};
use super::points::{Family, TAPS};
use super::source::{Known, Layout, Part, Side, Source, Target, Work};
use super::tiles::{Region, Regions, Tiles};
use crate::config::geometry::Geometry;
use crate::config::padding::PaddingMode;
use crate::conv::engine::Engine;
use crate::conv::strip::axis::TapAxis;
use crate::conv::sum::blocks_together;
use crate::machine::element::Element;
use crate::machine::isa::Isa;
use crate::machine::memory::{Buffer, Buffers, Need, Room, Scratch, reserve};
use crate::machine::shared::Shared;
use crate::machine::simd::tile::{Ahead, Operands, Sums};
use crate::machine::simd::{
    MOST_LANES, Simd, WithSimd, load, load_part, store, store_part, transpose,
};
use crate::machine::threads::{Piece, Stages, cut, cut_at, share_stages};

/// How the gradient of the output is read: each pixel by the output it is of.
pub struct OutputAxes([TapAxis; 2]);

impl OutputAxes {
    pub fn new(geometry: &Geometry) -> Self {
        Self([&geometry.rows, &geometry.cols].map(|axis| TapAxis {
            input: axis.output,
            output: axis.output,
            step: 1,
            offsets: vec![0],
            mode: PaddingMode::Zeros,
        }))
    }
}

/// The gradient of the kernel by Winograd's algorithm, ready to be computed.
pub struct Job<'a, T: Element> {
    family: Family<T>,
    geometry: &'a Geometry,
    axes: &'a [TapAxis; 2],
    outputs: OutputAxes,
    x: &'a [T],
    dy: &'a [T],
    regions: Regions,
    /// Parts of the panels of a group's input and output channels.
    parts: [usize; 2],
    lanes: usize,
    shared: Mutex<SharedBuffers<'a, T>>,
    isa: Isa,
    threads: usize,
    need: Need,
}

/// What all threads share.
struct SharedBuffers<'a, T: Element> {
    /// Transformed tiles of `x` and of `dy`.
    x: Buffer<'a, T>,
    dy: Buffer<'a, T>,
    /// Sums of a part's channels, if there are more regions than one.
    sums: Buffer<'a, T>,
}

/// Panels of input and of output channels that a task sums, at most.
const TASK: [usize; 2] = [4, 2];

impl<'a, T: Element> Job<'a, T> {
    /// With the axes by which the kernel reads.
    pub fn new(
        engine: &Engine<'a, T>,
        family: Family<T>,
        geometry: &'a Geometry,
        axes: &'a [TapAxis; 2],
        x: &'a [T],
        dy: &'a [T],
    ) -> Room<Self> {
        let (spec, blocking, lanes) = (&geometry.spec, &engine.blocking, engine.lanes());
        let points = family.points().pow(2);
        let all = [spec.group_inputs(), spec.group_outputs()].map(|count| count.div_ceil(lanes));
        let regions_of = |panels: [usize; 2]| {
            let of_tile = points * (panels[0] + panels[1]) * lanes;
            let tiles = blocking.gradient_transformed / of_tile;
            let outputs = [geometry.rows.output, geometry.cols.output];
            let width = blocking.pixels;
            Regions::new(&family, geometry.batch, outputs, spec.dilation, tiles, width)
        };
        let sums = |panels: [usize; 2]| points * panels[0] * lanes * panels[1] * lanes;
        // All channels at a time, if that takes one region or their sums have room; else as many as do.
        let mut parts = [1, 1];
        let of_part = |parts: [usize; 2]| [0, 1].map(|side| all[side].div_ceil(parts[side]));
        while regions_of(of_part(parts)).len() > 1
            && sums(of_part(parts)) > blocking.gradient_sums
            && of_part(parts) != [1, 1]
        {
            let panels = of_part(parts);
            let side = usize::from(panels[1] > panels[0]);
            parts[side] = all[side].div_ceil(panels[side].div_ceil(2));
        }
        let most = of_part(parts);
        let regions = regions_of(most);
        let tiles = regions.most();
        let [of_x, of_dy] =
            most.map(|panels| Layout::new(lanes, tiles.count(), panels).len(points));
        let in_stages = regions.len() > 1;
        let memory = engine.memory;
        let shared = SharedBuffers {
            x: memory.buffer(of_x)?,
            dy: memory.buffer(of_dy)?,
            sums: memory.buffer(if in_stages { sums(most) } else { 0 })?,
        };
        let threads = engine.threads(geometry.maccs());
        let outputs = OutputAxes::new(geometry);
        let mut job = Self {
            family,
            geometry,
            axes,
            outputs,
            x,
            dy,
            regions,
            parts,
            lanes,
            shared: Mutex::new(shared),
            isa: engine.isa,
            threads,
            need: Need::default(),
        };
        let needs = [job.source(Side::Input), job.source(Side::Gradient)]
            .map(|source| (source.need(&tiles, lanes), source.tables(&regions.get(0))));
        let [(patch_x, tables_x), (patch_dy, tables_dy)] = needs;
        let [inputs, outputs] = [0, 1].map(|side| TASK[side].min(most[side]));
        let task = points * inputs * lanes * outputs * lanes;
        // A square of registers past the last.
        let back = (TAPS * TAPS * inputs * lanes).next_multiple_of(MOST_LANES) * lanes;
        job.need = Need {
            threads,
            lens: [patch_x.max(patch_dy), task, back, 0, 0],
            tables: tables_x + tables_dy,
        };
        Ok(job)
    }

    /// What [`Job::run`] works in.
    pub fn need(&self) -> Need {
        self.need
    }

    /// Writes the gradient to `dw`.
    pub fn run(&self, scratch: &Scratch<T>, dw: &mut [T]) {
        let dw = Shared::new(dw);
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let SharedBuffers { x, dy, sums } = &mut *shared;
        let shared = [x, dy, sums].map(|buffer| Shared::new(buffer));
        let passes = self.geometry.spec.groups * self.parts[0] * self.parts[1] * self.regions.len();
        let stages = (0..passes).flat_map(|pass| {
            let pass = self.pass(pass);
            [pass.transforms(), pass.parts(self.threads).iter().product()]
        });
        share_stages(self.threads, stages, |stages| {
            scratch.lend(|buffers| {
                T::dispatch_to(
                    self.isa,
                    Worker {
                        at_work: AtWork { job: self, shared: &shared, dw: &dw },
                        stages,
                        buffers,
                    },
                );
            });
        });
    }

    /// How a side's planes are read.
    fn source(&self, side: Side) -> Source<'_, T> {
        let spec = &self.geometry.spec;
        let ([rows, cols], channels, x) = match side {
            Side::Input => (self.axes, spec.in_channels, self.x),
            Side::Gradient => (&self.outputs.0, spec.out_channels, self.dy),
        };
        Source::new(side, &self.family, [rows, cols], channels, spec.dilation, x)
    }

    /// By group, by part of the input channels, of the output channels, by region.
    fn pass(&self, index: usize) -> Pass {
        let spec = &self.geometry.spec;
        let (rest, region_index) = (index / self.regions.len(), index % self.regions.len());
        let (rest, output_part) = (rest / self.parts[1], rest % self.parts[1]);
        let (group, input_part) = (rest / self.parts[0], rest % self.parts[0]);
        let region = self.regions.get(region_index);
        let tiles = self.regions.tiles(&region);
        let panels = |count: usize, side: usize, part: usize| {
            let all = count.div_ceil(self.lanes);
            let size = all.div_ceil(self.parts[side]);
            (part * size).min(all)..((part + 1) * size).min(all)
        };
        Pass {
            group,
            inputs: panels(spec.group_inputs(), 0, input_part),
            outputs: panels(spec.group_outputs(), 1, output_part),
            index: region_index,
            all: self.regions.len(),
            // What there is of the input's tiles stays for the next output channels.
            keeps_inputs: output_part > 0 && self.regions.len() == 1,
            region,
            tiles,
        }
    }
}

/// A region, for some channels.
struct Pass {
    group: usize,
    /// Panels of a group.
    inputs: Range<usize>,
    outputs: Range<usize>,
    /// Which of how many regions.
    index: usize,
    all: usize,
    keeps_inputs: bool,
    region: Region,
    tiles: Tiles,
}

/// Panels of a pass that a task sums.
struct Task {
    inputs: Range<usize>,
    outputs: Range<usize>,
}

impl Pass {
    /// Pieces of work of its transforms: an image and a panel each.
    fn transforms(&self) -> usize {
        let inputs = if self.keeps_inputs { 0 } else { self.inputs.len() };
        self.tiles.images * (inputs + self.outputs.len())
    }

    /// Parts of its panels of input and of output channels: enough for every thread, or as much as a task
    /// takes.
    fn parts(&self, threads: usize) -> [usize; 2] {
        let [inputs, outputs] = [self.inputs.len(), self.outputs.len()];
        let output_parts = outputs.div_ceil(TASK[1]);
        let wanted = (4 * threads).div_ceil(output_parts.max(1));
        [inputs.div_ceil(TASK[0]).max(wanted.min(inputs)), output_parts]
    }

    /// By part of the input channels, of the output channels.
    fn task(&self, threads: usize, index: usize) -> Task {
        let [input_parts, output_parts] = self.parts(threads);
        Task {
            inputs: cut_at(self.inputs.len(), input_parts, index / output_parts),
            outputs: cut_at(self.outputs.len(), output_parts, index % output_parts),
        }
    }

    /// Whether sums are added to those of earlier regions, and whether they are then complete enough to be
    /// transformed back: the sums of some regions are before they grow too long.
    fn sums(&self) -> (bool, bool) {
        let together = blocks_together(self.all);
        let done = self.index + 1;
        (!self.index.is_multiple_of(together), done == self.all || done.is_multiple_of(together))
    }
}

/// A thread's share of the work.
struct Worker<'w, 'a, T: Element> {
    at_work: AtWork<'w, 'a, T>,
    stages: &'w Stages,
    buffers: &'w mut Buffers<T>,
}

/// A job and what it writes.
struct AtWork<'w, 'a, T: Element> {
    job: &'w Job<'a, T>,
    /// Transformed tiles of `x` and of `dy`, and sums.
    shared: &'w [Shared<'w, T>; 3],
    dw: &'w Shared<'w, T>,
}

impl<T: Element> WithSimd<T> for Worker<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { at_work, stages, buffers } = self;
        let mut known = [None, None];
        while let Some(piece) = stages.take() {
            let pass = at_work.job.pass(piece.stage / 2);
            if piece.stage % 2 == 0 {
                at_work.transform(simd, &pass, &piece, buffers, &mut known);
            } else {
                let task = pass.task(at_work.job.threads, piece.index);
                at_work.sum(simd, &pass, &task, buffers);
            }
        }
    }
}

impl<T: Element> AtWork<'_, '_, T> {
    /// Transforms an image's tiles, a panel of either side.
    #[inline(always)]
    fn transform<S: Simd<T>>(
        &self,
        simd: S,
        pass: &Pass,
        piece: &Piece,
        buffers: &mut Buffers<T>,
        known: &mut [Known<S::Mask, S::EvenMask>; 2],
    ) {
        let spec = &self.job.geometry.spec;
        let panels = pass.transforms() / pass.tiles.images;
        let (image, panel) = (piece.index / panels, piece.index % panels);
        let inputs = if pass.keeps_inputs { 0 } else { pass.inputs.len() };
        let (side, panel, all, count, of_group) = if panel < inputs {
            (Side::Input, panel, &pass.inputs, spec.group_inputs(), 0)
        } else {
            (Side::Gradient, panel - inputs, &pass.outputs, spec.group_outputs(), 1)
        };
        let first = (all.start + panel) * S::LANES;
        let channels = pass.group * count + first..pass.group * count + count.min(first + S::LANES);
        let layout = Layout::new(S::LANES, pass.tiles.count(), all.len());
        let [patch, ..] = buffers;
        let mut work = Work { patch, known: &mut known[of_group] };
        let part = Part { region: &pass.region, tiles: &pass.tiles, image };
        let target = Target { layout: &layout, panel, data: &self.shared[of_group] };
        self.job.source(side).transform(simd, &part, channels, &mut work, &target);
    }

    /// Sums the products of a task's channels over a region's tiles, and transforms them back when they are
    /// complete.
    #[inline(always)]
    fn sum<S: Simd<T>>(&self, simd: S, pass: &Pass, task: &Task, buffers: &mut Buffers<T>) {
        let family = &self.job.family;
        let points = family.points();
        let [inputs, outputs] =
            [task.inputs.len(), task.outputs.len()].map(|count| count * S::LANES);
        let len = points * points * inputs * outputs;
        let [_, own, back, ..] = buffers;
        let sums = if pass.all == 1 {
            reserve(own, len);
            &mut own[..len]
        } else {
            // Those of the tasks before: of whole rows of tasks, then in this one.
            let before =
                task.inputs.start * pass.outputs.len() + task.inputs.len() * task.outputs.start;
            let start = points * points * before * S::LANES * S::LANES;
            // SAFETY: no other task has these channels, and tasks of other regions are in other stages.
            unsafe { std::slice::from_raw_parts_mut(self.shared[2].at(start, len), len) }
        };
        let (add, complete) = pass.sums();
        self.multiply(simd, pass, task, add, sums);
        if complete {
            let add = pass.index + 1 > blocks_together(pass.all);
            self.write(simd, pass, task, sums, back, add);
        }
    }

    /// Writes or adds products, `[points, inputs, outputs]`.
    #[inline(always)]
    fn multiply<S: Simd<T>>(&self, simd: S, pass: &Pass, task: &Task, add: bool, sums: &mut [T]) {
        let points = self.job.family.points();
        let tiles = &pass.tiles;
        let [inputs, outputs] =
            [task.inputs.len(), task.outputs.len()].map(|count| count * S::LANES);
        let layouts = [&pass.inputs, &pass.outputs]
            .map(|panels| Layout::new(S::LANES, tiles.count(), panels.len()));
        let [x, dy] = [0, 1].map(|side| {
            let len = layouts[side].len(points * points);
            // SAFETY: the tiles have been written, and nobody writes them during this stage.
            unsafe { std::slice::from_raw_parts(self.shared[side].at(0, len), len) }
        });
        for row in 0..points {
            for col in 0..points {
                let point = row * points + col;
                let range = tiles.with_point(row, col);
                let sums = &mut sums[point * inputs * outputs..][..inputs * outputs];
                if range.is_empty() {
                    if !add {
                        sums.fill(T::zero());
                    }
                    continue;
                }
                for panel in 0..task.inputs.len() {
                    let a = &x[layouts[0].at(point, task.inputs.start + panel, range.start)..];
                    for part in cut(S::LANES, S::LANES.div_ceil(S::MR)) {
                        let most = S::tile_vectors(part.len());
                        for first in (0..task.outputs.len()).step_by(most) {
                            let vectors = most.min(task.outputs.len() - first);
                            let at = layouts[1].at(point, task.outputs.start + first, range.start);
                            let b = &dy[at..];
                            let start =
                                (panel * S::LANES + part.start) * outputs + first * S::LANES;
                            let data = &mut sums[start..];
                            assert!(a.len() >= range.len() * S::LANES);
                            let of_panels = (vectors - 1) * layouts[1].panel_len;
                            assert!(b.len() >= of_panels + range.len() * S::LANES);
                            assert!(data.len() >= (part.len() - 1) * outputs + vectors * S::LANES);
                            let operands = Operands {
                                a: a[part.start..].as_ptr(),
                                b: b.as_ptr(),
                                stretches: &[[0, 0]],
                                steps: range.len(),
                                a_step: S::LANES,
                                b_step: S::LANES,
                                b_panel: layouts[1].panel_len,
                                ahead: Ahead::NOTHING,
                            };
                            let out = Sums { data: data.as_mut_ptr(), row_step: outputs, add };
                            // SAFETY: each step reads the channels `part` of a tile and a register of each
                            // of some panels; there are sums for each pair, all as just asserted.
                            unsafe { simd.tile(part.len(), vectors, &operands, out) };
                        }
                    }
                }
            }
        }
    }

    /// Transforms complete sums back, and writes or adds them to the gradient.
    #[inline(always)]
    fn write<S: Simd<T>>(
        &self,
        simd: S,
        pass: &Pass,
        task: &Task,
        sums: &[T],
        back: &mut Vec<T>,
        add: bool,
    ) {
        let spec = &self.job.geometry.spec;
        let family = &self.job.family;
        let lanes = S::LANES;
        let first_input = (pass.inputs.start + task.inputs.start) * lanes;
        let inputs = (task.inputs.len() * lanes).min(spec.group_inputs() - first_input);
        let taps = TAPS * TAPS;
        let len = (taps * inputs).next_multiple_of(lanes);
        reserve(back, len * lanes);
        let [all_inputs, outputs] =
            [task.inputs.len(), task.outputs.len()].map(|count| count * lanes);
        for panel in 0..task.outputs.len() {
            for input in 0..inputs {
                let sums = &sums[input * outputs + panel * lanes..];
                let back = &mut back[taps * input * lanes..];
                match family.outputs {
                    4 => taps_of::<T, S, 6>(
                        simd,
                        KernelGradient(family),
                        sums,
                        all_inputs * outputs,
                        back,
                    ),
                    _ => taps_of::<T, S, 4>(
                        simd,
                        KernelGradient(family),
                        sums,
                        all_inputs * outputs,
                        back,
                    ),
                }
            }
            let first = (pass.outputs.start + task.outputs.start + panel) * lanes;
            let count = lanes.min(spec.group_outputs() - first);
            let row = spec.group_inputs() * taps;
            let start = (pass.group * spec.group_outputs() + first) * row + first_input * taps;
            for from in (0..taps * inputs).step_by(lanes) {
                let mut square = [simd.zero(); MOST_LANES];
                for (index, vector) in square[..S::LANES].iter_mut().enumerate() {
                    *vector = load(simd, &back[(from + index) * lanes..]);
                }
                transpose::<T, S>(simd, &mut square);
                let len = lanes.min(taps * inputs - from);
                for (index, &vector) in square[..S::LANES].iter().enumerate() {
                    if index < count {
                        let target = self.dw.at(start + index * row + from, len);
                        // SAFETY: no other task has these channels, and tasks of other regions are in other
                        // stages.
                        let target = unsafe { std::slice::from_raw_parts_mut(target, len) };
                        let before = if add { load_part(simd, target) } else { simd.zero() };
                        store_part(simd, target, simd.add(before, vector));
                    }
                }
            }
        }
    }
}

/// Transforms the sums of an input channel, a register at each point, back to its taps.
#[inline(always)]
fn taps_of<T: Element, S: Simd<T>, const P: usize>(
    simd: S,
    line: impl Line<T, P, TAPS>,
    sums: &[T],
    point_len: usize,
    taps: &mut [T],
) {
    let mut rows = [[simd.zero(); P]; TAPS];
    for col in 0..P {
        let mut column = [simd.zero(); P];
        for (row, vector) in column.iter_mut().enumerate() {
            *vector = load(simd, &sums[(row * P + col) * point_len..]);
        }
        for (row, &vector) in rows.iter_mut().zip(&line.map(simd, column)) {
            row[col] = vector;
        }
    }
    for (row, &points) in rows.iter().enumerate() {
        for (col, &vector) in line.map(simd, points).iter().enumerate() {
            store(simd, &mut taps[(row * TAPS + col) * S::LANES..], vector);
        }
    }
}
