//! Convolution with few channels a group, depthwise above all, straight from the images: where a
//! column of the image meets only a few rows of the kernel, packing it costs more than it saves.
//!
//! ```text
//! for each image, group and block of rows of y    in parallel
//!     for each row of y, for each few vectors of its columns
//!         acc[R, C] = bias                         R channels, C vectors, in registers
//!         for each channel i and tap m of the group
//!             acc[R, C] += W[R, i, m] · x[i, row + m, C]
//!         y[R, row, C] = acc
//! ```

use std::ops::Range;

use super::gemm::correlate::{Correlation, KernelView, PackedKernel, Target};
use super::gemm::source::TapAxis;
use super::gemm::{Engine, cut};
use super::lines::{Lines, kind};
use super::queue::{self, Queue};
use super::shared::Shared;
use super::simd::{Kernel, Simd};
use crate::Scalar;
use crate::geometry::Geometry;

/// Most output channels computed together.
const ROWS: usize = 6;

/// Whether a correlation of `[source, target]` channels a group is done here: with few target channels
/// a packed column would be used only a few times.
pub fn suits([_, targets]: [usize; 2]) -> bool {
    targets <= ROWS
}

/// Computes `y = A · X + bias`, as [`super::gemm::correlate::run`] does.
pub fn correlate<T: Scalar>(
    engine: &Engine,
    correlation: &Correlation,
    kernel: &KernelView<T>,
    x: &[T],
    bias: Option<&[T]>,
    y: &Shared<T>,
) {
    let Correlation { batch, groups, rows, cols, .. } = correlation;
    let [sources, targets] = correlation.group_channels;
    let kernel = PackedKernel::with_panels(1, targets, correlation, kernel);
    let maccs =
        (batch * groups * targets).saturating_mul(rows.output * cols.output * kernel.depth());
    let threads = engine.threads(maccs);
    let parts = (4 * threads).div_ceil((batch * groups).max(1)).min(rows.output);
    let tasks = (0..batch * groups).flat_map(|index| {
        let [image, group] = [index / groups, index % groups];
        cut(rows.output, parts).map(move |rows| Task { image, group, rows })
    });
    let job = Job { correlation, kernel: &kernel, x, bias, y };
    debug_assert_eq!(kernel.depth(), sources * kernel_taps(rows, cols));
    let tasks: Vec<_> = tasks.collect();
    queue::share(threads, &tasks, |queue| {
        T::dispatch_to(engine.isa, Worker { job: &job, queue });
    });
}

fn kernel_taps(rows: &TapAxis, cols: &TapAxis) -> usize {
    rows.offsets.len() * cols.offsets.len()
}

/// One piece of work: it owns these rows of the target's channels of a group of an image.
struct Task {
    image: usize,
    group: usize,
    rows: Range<usize>,
}

/// What all tasks share.
struct Job<'a, T> {
    correlation: &'a Correlation,
    kernel: &'a PackedKernel<T>,
    x: &'a [T],
    bias: Option<&'a [T]>,
    y: &'a Shared<'a, T>,
}

/// A thread's share of the work.
struct Worker<'a, T> {
    job: &'a Job<'a, T>,
    queue: &'a Queue<'a, Task>,
}

impl<T: Scalar> Kernel<T> for Worker<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let lines = Lines::new(simd, &self.job.correlation.cols);
        while let Some(task) = self.queue.take() {
            match self.job.correlation.group_channels[1] {
                1 => self.job.perform::<S, 1>(simd, &lines, task),
                2 => self.job.perform::<S, 2>(simd, &lines, task),
                3 => self.job.perform::<S, 3>(simd, &lines, task),
                4 => self.job.perform::<S, 4>(simd, &lines, task),
                5 => self.job.perform::<S, 5>(simd, &lines, task),
                _ => self.job.perform::<S, 6>(simd, &lines, task),
            }
        }
    }
}

impl<T: Scalar> Job<'_, T> {
    #[inline(always)]
    fn perform<S: Simd<T>, const R: usize>(
        &self,
        simd: S,
        lines: &Lines<S::Mask, S::EvenMask>,
        task: &Task,
    ) {
        let Correlation { groups, group_channels, rows, cols, target, .. } = self.correlation;
        let ([sources, targets], kernel_cols) = (*group_channels, cols.offsets.len());
        let (plane, row_weights) = (rows.input * cols.input, kernel_cols * R);
        let channel_weights = rows.offsets.len() * row_weights;
        let weights = self.kernel.panel(task.group, 0, 0..self.kernel.depth());
        assert!(targets == R && weights.len() == sources * channel_weights);
        let x = (task.image * groups + task.group) * sources * plane;
        let x = &self.x[x..x + sources * plane];
        let bias = self
            .bias
            .map_or([T::zero(); R], |bias| std::array::from_fn(|r| bias[task.group * R + r]));
        let channel = (task.image * groups + task.group) * R;
        let mut meetings = Vec::with_capacity(sources * rows.offsets.len());
        for row in task.rows.clone() {
            meetings.clear();
            let channels = x.chunks_exact(plane.max(1)).zip(weights.chunks_exact(channel_weights));
            for (plane, weights) in channels {
                for (tap, weights) in weights.chunks_exact(row_weights).enumerate() {
                    if let Some(row) = rows.source(row, tap) {
                        let line = &plane[row * cols.input..][..cols.input];
                        meetings.push((line.as_ptr(), weights.as_ptr()));
                    }
                }
            }
            let block = Block { lines, meetings: &meetings, kernel_cols, bias };
            let first_row = target.origin[0] + row * target.step[0];
            let mut first = 0;
            while first < lines.columns.len() {
                let (alike, kind) = lines.alike(first, 8);
                // SAFETY: `meetings` are image rows and their weights, `alike` vectors from `first` on
                // can be read as `kind`, and no other task has this row of these channels.
                first += unsafe {
                    let store = Store { y: self.y, target, channel, row: first_row, first };
                    // As many vectors as there are registers for.
                    match kind {
                        kind::FULL if alike >= 8 && 8 * R <= registers::<T, S>() => {
                            store.store(simd, lines, block.sum::<S, 8, { kind::FULL }>(simd, first))
                        }
                        kind::FULL if alike >= 4 && 4 * R <= registers::<T, S>() => {
                            store.store(simd, lines, block.sum::<S, 4, { kind::FULL }>(simd, first))
                        }
                        kind::FULL => {
                            store.store(simd, lines, block.sum::<S, 1, { kind::FULL }>(simd, first))
                        }
                        kind::MASKED if alike >= 8 && 8 * R <= registers::<T, S>() => store.store(
                            simd,
                            lines,
                            block.sum::<S, 8, { kind::MASKED }>(simd, first),
                        ),
                        kind::MASKED if alike >= 4 && 4 * R <= registers::<T, S>() => store.store(
                            simd,
                            lines,
                            block.sum::<S, 4, { kind::MASKED }>(simd, first),
                        ),
                        kind::MASKED if alike >= 2 && 2 * R <= registers::<T, S>() => store.store(
                            simd,
                            lines,
                            block.sum::<S, 2, { kind::MASKED }>(simd, first),
                        ),
                        kind::MASKED => store.store(
                            simd,
                            lines,
                            block.sum::<S, 1, { kind::MASKED }>(simd, first),
                        ),
                        kind::EVEN if alike >= 4 && 4 * R <= registers::<T, S>() => {
                            store.store(simd, lines, block.sum::<S, 4, { kind::EVEN }>(simd, first))
                        }
                        kind::EVEN => {
                            store.store(simd, lines, block.sum::<S, 1, { kind::EVEN }>(simd, first))
                        }
                        _ => store.store(
                            simd,
                            lines,
                            block.sum::<S, 1, { kind::GATHER }>(simd, first),
                        ),
                    }
                };
            }
        }
    }
}

/// Registers for sums: as many as the register tile of the matrix product has.
const fn registers<T: Copy, S: Simd<T>>() -> usize {
    S::MR * S::NR / S::LANES
}

/// What one row of `R` target channels is summed from.
struct Block<'a, T, M, E, const R: usize> {
    lines: &'a Lines<M, E>,
    /// Image rows, and the weights `[taps of the row, R]` that each meets.
    meetings: &'a [(*const T, *const T)],
    kernel_cols: usize,
    bias: [T; R],
}

impl<T: Scalar, M: Copy, E: Copy, const R: usize> Block<'_, T, M, E, R> {
    /// Sums `C` vectors from `first` on.
    ///
    /// # Safety
    /// The pointers must be to image rows and to weights of these sizes, and the vectors readable as
    /// `KIND`, as [`Lines::read`] asks.
    #[inline(always)]
    unsafe fn sum<S: Simd<T, Mask = M, EvenMask = E>, const C: usize, const KIND: u8>(
        &self,
        simd: S,
        first: usize,
    ) -> [[S::Vector; C]; R] {
        let mut acc = [[simd.zero(); C]; R];
        for (acc, &bias) in acc.iter_mut().zip(&self.bias) {
            *acc = [simd.splat(bias); C];
        }
        for &(line, weights) in self.meetings {
            for tap in 0..self.kernel_cols {
                // SAFETY: the caller's promise.
                unsafe {
                    let mut pixels = [simd.zero(); C];
                    for (c, pixels) in pixels.iter_mut().enumerate() {
                        *pixels = self.lines.read::<T, S, KIND>(simd, line, first + c, tap);
                    }
                    for (r, acc) in acc.iter_mut().enumerate() {
                        let weight = simd.splat(*weights.add(tap * R + r));
                        for (acc, &pixels) in acc.iter_mut().zip(&pixels) {
                            *acc = simd.fma(weight, pixels, *acc);
                        }
                    }
                }
            }
        }
        acc
    }
}

/// Where sums go.
struct Store<'a, T> {
    y: &'a Shared<'a, T>,
    target: &'a Target,
    /// The first channel, counted through all images.
    channel: usize,
    /// The row of the target's plane.
    row: usize,
    /// The first vector of columns.
    first: usize,
}

impl<T: Scalar> Store<'_, T> {
    /// Writes vectors of `R` channels; gives `C`.
    ///
    /// # Safety
    /// No other task may have this row of these channels.
    #[inline(always)]
    unsafe fn store<S: Simd<T>, const R: usize, const C: usize>(
        &self,
        simd: S,
        lines: &Lines<S::Mask, S::EvenMask>,
        sums: [[S::Vector; C]; R],
    ) -> usize {
        let Self { y, target, .. } = *self;
        let ([height, width], step) = (target.plane, target.step[1]);
        for (r, sums) in sums.iter().enumerate() {
            let row = ((self.channel + r) * height + self.row) * width + target.origin[1];
            for (c, &sum) in sums.iter().enumerate() {
                let (outputs, mask) = &lines.columns[self.first + c];
                // SAFETY: the caller promises the row, and where `step` leaves gaps, nothing touches
                // those during this product. The mask has a lane for each pixel.
                unsafe {
                    let start = row + outputs.start * step;
                    let pixels = y.part(start, (outputs.len() - 1) * step + 1);
                    if step == 1 {
                        simd.store_masked(pixels.as_mut_ptr(), *mask, sum);
                    } else {
                        // The widest register has 16 lanes.
                        let mut lanes = [T::zero(); 16];
                        simd.store(lanes.as_mut_ptr(), sum);
                        let pixels = pixels.iter_mut().step_by(step);
                        pixels.zip(lanes).for_each(|(pixel, value)| *pixel = value);
                    }
                }
            }
        }
        C
    }
}

/// Writes the gradient of the kernel, `[O, n, M, N]`:
/// `dw[o, k] = Σ dy[o, p] · X[k, p]`, a block of rows `k` and the channels of the group at a time.
pub fn kernel_gradient<T: Scalar>(
    engine: &Engine,
    geometry: &Geometry,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
) {
    let spec = &geometry.spec;
    let job = GradientJob {
        geometry,
        rows: TapAxis::forward(&geometry.rows, spec.mode),
        cols: TapAxis::forward(&geometry.cols, spec.mode),
        x,
        dy,
    };
    let threads = engine.threads(geometry.maccs());
    let group_len = dw.len() / spec.groups;
    super::for_each_chunk(threads, dw, group_len, |group, dw| {
        T::dispatch_to(engine.isa, GroupGradient { job: &job, group, dw });
    });
}

struct GradientJob<'a, T> {
    geometry: &'a Geometry,
    rows: TapAxis,
    cols: TapAxis,
    x: &'a [T],
    dy: &'a [T],
}

struct GroupGradient<'a, T> {
    job: &'a GradientJob<'a, T>,
    group: usize,
    /// `[r, K]`.
    dw: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for GroupGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        match self.job.geometry.spec.group_outputs() {
            1 => self.accumulate::<S, 1, 9>(simd),
            2 => self.accumulate::<S, 2, 6>(simd),
            3 => self.accumulate::<S, 3, 4>(simd),
            4 => self.accumulate::<S, 4, 4>(simd),
            5 => self.accumulate::<S, 5, 3>(simd),
            _ => self.accumulate::<S, 6, 3>(simd),
        }
    }
}

impl<T: Scalar> GroupGradient<'_, T> {
    /// Sums over all images, `X` rows of the column matrix and `R` channels at a time.
    #[inline(always)]
    fn accumulate<S: Simd<T>, const R: usize, const X: usize>(self, simd: S) {
        let Self { job, group, dw } = self;
        let GradientJob { geometry, rows, cols, .. } = job;
        let spec = &geometry.spec;
        let inputs = spec.group_inputs();
        let (kernel_cols, taps) = (cols.offsets.len(), spec.taps());
        let depth = inputs * taps;
        assert!(spec.group_outputs() == R && dw.len() == R * depth);
        let lines = Lines::new(simd, cols);
        let (plane, pixels) = (geometry.input_pixels(), geometry.output_pixels());
        // By row k, then by channel, a vector of partial sums.
        let mut sums = vec![T::zero(); depth.next_multiple_of(X) * R * S::LANES];
        for image in 0..geometry.batch {
            let x = (image * spec.groups + group) * inputs * plane;
            let x = &job.x[x..x + inputs * plane];
            let dy = (image * spec.groups + group) * R * pixels;
            let dy = &job.dy[dy..dy + R * pixels];
            for (block, sums) in sums.chunks_exact_mut(X * R * S::LANES).enumerate() {
                let mut acc = [[simd.zero(); R]; X];
                // The input channel, kernel row and kernel column of each row k of the block.
                let mut steps = [None; X];
                for (k, step) in (block * X..depth).zip(&mut steps) {
                    let tap = k % taps;
                    *step = Some([k / taps, tap / kernel_cols, tap % kernel_cols]);
                }
                for row in 0..rows.output {
                    // The image row and column tap of each; the tap past the last, which reads
                    // nothing, where the kernel's row reads zeros.
                    let mut all = true;
                    let mut sources = [(x.as_ptr(), kernel_cols); X];
                    for (source, step) in sources.iter_mut().zip(&steps) {
                        let row = step.and_then(|[_, row_tap, _]| rows.source(row, row_tap));
                        if let (&Some([input, _, tap]), Some(row)) = (step, row) {
                            let line = &x[input * plane + row * cols.input..][..cols.input];
                            *source = (line.as_ptr(), tap);
                        } else {
                            all = false;
                        }
                    }
                    let dy = &dy[row * cols.output..];
                    for (index, (outputs, mask)) in lines.columns.iter().enumerate() {
                        let mut gradients = [simd.zero(); R];
                        for (r, gradients) in gradients.iter_mut().enumerate() {
                            let line = &dy[r * pixels + outputs.start..][..outputs.len()];
                            // SAFETY: the mask has a lane for each element of `line`.
                            *gradients = unsafe { simd.load_masked(line.as_ptr(), *mask) };
                        }
                        // SAFETY: each source is an image row with a tap of it, and full vectors are
                        // read as such only if no source is the tap that reads zeros.
                        unsafe {
                            match lines.kinds[index] {
                                kind::FULL if all => multiply_add::<T, S, R, X, { kind::FULL }>(
                                    simd, &lines, &sources, index, &gradients, &mut acc,
                                ),
                                kind::FULL | kind::MASKED => {
                                    multiply_add::<T, S, R, X, { kind::MASKED }>(
                                        simd, &lines, &sources, index, &gradients, &mut acc,
                                    )
                                }
                                kind::EVEN => multiply_add::<T, S, R, X, { kind::EVEN }>(
                                    simd, &lines, &sources, index, &gradients, &mut acc,
                                ),
                                _ => multiply_add::<T, S, R, X, { kind::GATHER }>(
                                    simd, &lines, &sources, index, &gradients, &mut acc,
                                ),
                            }
                        }
                    }
                }
                let acc = acc.as_flattened().iter();
                for (sums, &acc) in sums.chunks_exact_mut(S::LANES).zip(acc) {
                    // SAFETY: `sums` has LANES elements.
                    unsafe {
                        let sum = simd.add(simd.load(sums.as_ptr()), acc);
                        simd.store(sums.as_mut_ptr(), sum);
                    }
                }
            }
        }
        for (index, sums) in sums.chunks_exact(S::LANES).take(depth * R).enumerate() {
            let (k, channel) = (index / R, index % R);
            dw[channel * depth + k] = sums.iter().fold(T::zero(), |total, &sum| total + sum);
        }
    }
}

/// `acc[x][r] += gradients[r] · pixels[x]`, where the pixels are vector `index` of each source.
///
/// # Safety
/// As for [`Lines::read`].
#[inline(always)]
unsafe fn multiply_add<T: Scalar, S: Simd<T>, const R: usize, const X: usize, const KIND: u8>(
    simd: S,
    lines: &Lines<S::Mask, S::EvenMask>,
    sources: &[(*const T, usize); X],
    index: usize,
    gradients: &[S::Vector; R],
    acc: &mut [[S::Vector; R]; X],
) {
    for (acc, &(line, tap)) in acc.iter_mut().zip(sources) {
        // SAFETY: the caller's promise, passed on.
        let pixels = unsafe { lines.read::<T, S, KIND>(simd, line, index, tap) };
        for (acc, &gradients) in acc.iter_mut().zip(gradients) {
            *acc = simd.fma(gradients, pixels, *acc);
        }
    }
}
