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

use super::axis::TapAxis;
use super::gemm::correlate::{Correlation, Target};
use super::gemm::kernel::KernelView;
use super::gemm::{Engine, cut};
use super::lines::{Lines, kind};
use super::queue::{self, Queue};
use super::shared::Shared;
use super::simd::{Kernel, Simd};
use crate::Scalar;
use crate::geometry::Geometry;

/// Most output channels of a group.
const MOST: usize = 4;

/// Whether a product for so many target channels a group is done here: with few, a packed pixel would be
/// used only a few times, and lanes of channels would stay empty.
pub fn suits(targets: usize) -> bool {
    targets <= MOST
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
    let Correlation { batch, groups, rows, .. } = correlation;
    let targets = correlation.group_channels[1];
    let weights = pack(correlation, kernel);
    let threads = engine.threads(correlation.maccs());
    let parts = (4 * threads).div_ceil((batch * groups).max(1)).min(rows.output);
    let tasks = (0..batch * groups).flat_map(|index| {
        let [image, group] = [index / groups, index % groups];
        cut(rows.output, parts).map(move |rows| Task { image, group, rows })
    });
    let job = Job { correlation, weights: &weights, x, bias, y };
    // Planes next to each other go to one thread.
    let tasks: Vec<_> = tasks.collect();
    let stretch = tasks.len().div_ceil(4 * threads).max(1);
    let stretches: Vec<_> = tasks.chunks(stretch).collect();
    queue::share(threads, &stretches, |queue| {
        // Each number of channels is compiled on its own.
        let job = &job;
        match targets {
            1 => T::dispatch_to(engine.isa, Worker::<T, 1> { job, queue }),
            2 => T::dispatch_to(engine.isa, Worker::<T, 2> { job, queue }),
            3 => T::dispatch_to(engine.isa, Worker::<T, 3> { job, queue }),
            _ => T::dispatch_to(engine.isa, Worker::<T, 4> { job, queue }),
        }
    });
}

/// The weights of the correlation's taps by group, channel, tap and row.
fn pack<T: Scalar>(correlation: &Correlation, kernel: &KernelView<T>) -> Vec<T> {
    let [rows, channels, _] = kernel.size;
    let taps = &correlation.taps;
    let mut weights = Vec::with_capacity(kernel.groups * channels * taps.len() * rows);
    for group in 0..kernel.groups {
        for channel in 0..channels {
            let start = group * kernel.group + channel * kernel.channel_stride;
            for tap in taps {
                let column = kernel.data[start + tap..].iter().step_by(kernel.row_stride);
                weights.extend(column.take(rows));
            }
        }
    }
    weights
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
    /// `[groups, sources, taps, R]`.
    weights: &'a [T],
    x: &'a [T],
    bias: Option<&'a [T]>,
    y: &'a Shared<'a, T>,
}

/// A thread's share of the work.
struct Worker<'a, T, const R: usize> {
    job: &'a Job<'a, T>,
    queue: &'a Queue<'a, &'a [Task]>,
}

impl<T: Scalar, const R: usize> Kernel<T> for Worker<'_, T, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Correlation { rows, cols, .. } = self.job.correlation;
        let lines = Lines::new(simd, cols);
        let row_taps = RowTaps::new(rows, cols.input);
        let plan = Plan { lines: &lines, row_taps: &row_taps };
        while let Some(tasks) = self.queue.take() {
            for task in *tasks {
                self.job.perform::<S, R>(simd, &plan, task);
            }
        }
    }
}

/// For each output row, the kernel rows that don't read zeros, and where in a plane the image row
/// starts that each reads.
struct RowTaps {
    taps: Vec<(usize, usize)>,
    starts: Vec<usize>,
}

impl RowTaps {
    fn new(rows: &TapAxis, line: usize) -> Self {
        let mut row_taps = Self { taps: Vec::new(), starts: vec![0] };
        for output in 0..rows.output {
            let read = |tap| Some((tap, rows.source(output, tap)? * line));
            row_taps.taps.extend((0..rows.offsets.len()).filter_map(read));
            row_taps.starts.push(row_taps.taps.len());
        }
        row_taps
    }

    fn of(&self, output: usize) -> &[(usize, usize)] {
        &self.taps[self.starts[output]..self.starts[output + 1]]
    }

    /// Whether `count` rows from `first` on, before `end`, read through the same kernel rows.
    fn alike(&self, first: usize, count: usize, end: usize) -> bool {
        let taps = |output: usize| self.of(output).iter().map(|(tap, _)| tap);
        first + count <= end && (first + 1..first + count).all(|row| taps(row).eq(taps(first)))
    }
}

/// How outputs are read, the same for every plane.
struct Plan<'a, M, E> {
    lines: &'a Lines<M, E>,
    row_taps: &'a RowTaps,
}

/// Rows that are summed together, where they are alike and channels are fewer than [`FEW`].
const ROWS_TOGETHER: usize = 4;

/// So many channels make a row enough work for the registers, and then whole rows are faster.
const FEW: usize = 4;

impl<T: Scalar> Job<'_, T> {
    #[inline(always)]
    fn perform<S: Simd<T>, const R: usize>(
        &self,
        simd: S,
        plan: &Plan<S::Mask, S::EvenMask>,
        task: &Task,
    ) {
        let Correlation { groups, group_channels, rows, cols, .. } = self.correlation;
        let ([sources, targets], kernel_cols) = (*group_channels, cols.offsets.len());
        let plane = rows.input * cols.input;
        let weights_len = sources * rows.offsets.len() * kernel_cols * R;
        let weights = &self.weights[task.group * weights_len..][..weights_len];
        assert!(targets == R);
        let x = (task.image * groups + task.group) * sources * plane;
        let x = &self.x[x..x + sources * plane];
        let mut bias = [T::zero(); R];
        if let Some(given) = self.bias {
            bias.copy_from_slice(&given[task.group * R..][..R]);
        }
        let block = Block {
            plan,
            x: x.as_ptr(),
            sources,
            plane,
            weights: weights.as_ptr(),
            kernel: [rows.offsets.len(), kernel_cols],
            bias,
            y: self.y,
            target: &self.correlation.target,
            channel: (task.image * groups + task.group) * R,
        };
        let mut row = task.rows.start;
        while row < task.rows.end {
            // SAFETY: `block` is made of the planes and weights of these sizes, which the rows and
            // vectors of the plan read, and no other task has these rows of these channels.
            row += unsafe {
                if const { R < FEW && fits::<T, S>(ROWS_TOGETHER * R) }
                    && plan.row_taps.alike(row, ROWS_TOGETHER, task.rows.end)
                {
                    block.rows::<S, ROWS_TOGETHER>(simd, row)
                } else {
                    block.rows::<S, 1>(simd, row)
                }
            };
        }
    }
}

/// Whether there are registers for so many sums. A constant, so that what doesn't fit isn't compiled.
const fn fits<T: Copy, S: Simd<T>>(sums: usize) -> bool {
    sums <= 2 * S::MR
}

/// What `R` channels of one image are summed from, and where the sums go.
struct Block<'a, T, M, E, const R: usize> {
    plan: &'a Plan<'a, M, E>,
    /// The group's planes of the image.
    x: *const T,
    sources: usize,
    plane: usize,
    /// `[sources, kernel rows, kernel columns, R]`.
    weights: *const T,
    kernel: [usize; 2],
    bias: [T; R],
    y: &'a Shared<'a, T>,
    target: &'a Target,
    /// The first channel, counted through all images.
    channel: usize,
}

impl<T: Scalar, M: Copy, E: Copy, const R: usize> Block<'_, T, M, E, R> {
    /// Computes `Q` rows from `row` on; gives `Q`.
    ///
    /// # Safety
    /// The pointers must be to planes and weights of these sizes; the rows must read through the same
    /// kernel rows; and no other thread may have these rows of these channels.
    #[inline(always)]
    unsafe fn rows<S, const Q: usize>(&self, simd: S, row: usize) -> usize
    where
        S: Simd<T, Mask = M, EvenMask = E>,
    {
        let lines = self.plan.lines;
        let mut first = 0;
        while first < lines.columns.len() {
            let alike = |most: usize| lines.alike(first, most);
            // SAFETY: the caller's promise; so many vectors are alike.
            first += unsafe {
                if const { R >= FEW && Q == 1 && fits::<T, S>(4 * R) } && alike(4).0 == 4 {
                    self.of_kind::<S, Q, 4>(simd, row, first, alike(4).1)
                } else if const { fits::<T, S>(2 * Q * R) } && alike(2).0 == 2 {
                    self.of_kind::<S, Q, 2>(simd, row, first, alike(2).1)
                } else {
                    self.of_kind::<S, Q, 1>(simd, row, first, alike(1).1)
                }
            };
        }
        Q
    }

    /// Computes `Q` rows from `row` on of `C` vectors from `first` on, of that kind; gives the number
    /// of vectors.
    ///
    /// # Safety
    /// As for [`Block::rows`], and the vectors must be readable as `kind`, as [`Lines::read`] asks.
    #[inline(always)]
    unsafe fn of_kind<S, const Q: usize, const C: usize>(
        &self,
        simd: S,
        row: usize,
        first: usize,
        kind: u8,
    ) -> usize
    where
        S: Simd<T, Mask = M, EvenMask = E>,
    {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match kind {
                kind::FULL => self.compute::<S, Q, C, { kind::FULL }>(simd, row, first),
                kind::MASKED => self.compute::<S, Q, C, { kind::MASKED }>(simd, row, first),
                kind::EVEN => self.compute::<S, Q, C, { kind::EVEN }>(simd, row, first),
                // Slow as reading lane by lane is, one at a time will do.
                _ => {
                    for q in 0..Q {
                        self.compute::<S, 1, 1, { kind::GATHER }>(simd, row + q, first);
                    }
                    1
                }
            }
        }
    }

    /// As [`Block::of_kind`].
    ///
    /// # Safety
    /// As for [`Block::of_kind`].
    #[inline(always)]
    unsafe fn compute<S, const Q: usize, const C: usize, const KIND: u8>(
        &self,
        simd: S,
        row: usize,
        first: usize,
    ) -> usize
    where
        S: Simd<T, Mask = M, EvenMask = E>,
    {
        let Plan { lines, row_taps } = *self.plan;
        let mut acc = [[[simd.zero(); C]; R]; Q];
        for acc in &mut acc {
            for (acc, &bias) in acc.iter_mut().zip(&self.bias) {
                *acc = [simd.splat(bias); C];
            }
        }
        let mut taps: [&[(usize, usize)]; Q] = [&[]; Q];
        for (q, taps) in taps.iter_mut().enumerate() {
            *taps = row_taps.of(row + q);
        }
        let [kernel_rows, kernel_cols] = self.kernel;
        for source in 0..self.sources {
            for (index, &(row_tap, _)) in taps[0].iter().enumerate() {
                // SAFETY: the caller's promise: these are image rows and their weights.
                unsafe {
                    let plane = self.x.add(source * self.plane);
                    let mut rows = [plane; Q];
                    for (row, taps) in rows.iter_mut().zip(&taps) {
                        *row = plane.add(taps.get_unchecked(index).1);
                    }
                    let weights = (source * kernel_rows + row_tap) * kernel_cols * R;
                    let weights = self.weights.add(weights);
                    for tap in 0..kernel_cols {
                        let mut pixels = [[simd.zero(); C]; Q];
                        for (pixels, &row) in pixels.iter_mut().zip(&rows) {
                            for (c, pixels) in pixels.iter_mut().enumerate() {
                                *pixels = lines.read::<T, S, KIND>(simd, row, first + c, tap);
                            }
                        }
                        for r in 0..R {
                            let weight = simd.splat(*weights.add(tap * R + r));
                            for (acc, pixels) in acc.iter_mut().zip(&pixels) {
                                for (acc, &pixels) in acc[r].iter_mut().zip(pixels) {
                                    *acc = simd.fma(weight, pixels, *acc);
                                }
                            }
                        }
                    }
                }
            }
        }
        for (q, acc) in acc.iter().enumerate() {
            for (r, sums) in acc.iter().enumerate() {
                for (c, &sum) in sums.iter().enumerate() {
                    // SAFETY: the caller's promise of the rows.
                    unsafe { self.store(simd, row + q, r, first + c, sum) };
                }
            }
        }
        C
    }

    /// Writes one vector of a row of a channel.
    ///
    /// # Safety
    /// No other thread may have this row of this channel.
    #[inline(always)]
    unsafe fn store<S>(&self, simd: S, row: usize, r: usize, index: usize, sum: S::Vector)
    where
        S: Simd<T, Mask = M, EvenMask = E>,
    {
        let ([height, width], step) = (self.target.plane, self.target.step[1]);
        let row = self.target.origin[0] + row * self.target.step[0];
        let row = ((self.channel + r) * height + row) * width + self.target.origin[1];
        let (outputs, mask) = &self.plan.lines.columns[index];
        // SAFETY: the caller promises the row, and where `step` leaves gaps, nothing touches those
        // during this product. The mask has a lane for each pixel.
        unsafe {
            let pixels = self.y.part(row + outputs.start * step, (outputs.len() - 1) * step + 1);
            if step == 1 {
                return simd.store_masked(pixels.as_mut_ptr(), *mask, sum);
            }
            // The widest register has 16 lanes.
            let mut lanes = [T::zero(); 16];
            simd.store(lanes.as_mut_ptr(), sum);
            let pixels = pixels.iter_mut().step_by(step);
            pixels.zip(lanes).for_each(|(pixel, value)| *pixel = value);
        }
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
        let job = &job;
        match spec.group_outputs() {
            1 => T::dispatch_to(engine.isa, GroupGradient::<T, 1, 9> { job, group, dw }),
            2 => T::dispatch_to(engine.isa, GroupGradient::<T, 2, 6> { job, group, dw }),
            3 => T::dispatch_to(engine.isa, GroupGradient::<T, 3, 4> { job, group, dw }),
            _ => T::dispatch_to(engine.isa, GroupGradient::<T, 4, 4> { job, group, dw }),
        }
    });
}

struct GradientJob<'a, T> {
    geometry: &'a Geometry,
    rows: TapAxis,
    cols: TapAxis,
    x: &'a [T],
    dy: &'a [T],
}

/// The gradient of one group, for `X` rows of the column matrix and `R` channels at a time.
struct GroupGradient<'a, T, const R: usize, const X: usize> {
    job: &'a GradientJob<'a, T>,
    group: usize,
    /// `[r, K]`.
    dw: &'a mut [T],
}

impl<T: Scalar, const R: usize, const X: usize> Kernel<T> for GroupGradient<'_, T, R, X> {
    type Output = ();

    /// Sums over all images.
    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
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
