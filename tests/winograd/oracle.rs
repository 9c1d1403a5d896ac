//! A plain convolution by its definition, as loops over `f64`, and what bounds the errors of Winograd's
//! algorithms. Nothing here is taken from the crate.

use do_conv::{Algorithm, PaddingMode};
use ndarray::{Array1, Array4};

/// A 3×3 layer of stride 1 and the size of its input.
#[derive(Debug, Clone)]
pub struct Case {
    pub batch: usize,
    pub groups: usize,
    /// Channels of a group, in and out.
    pub channels: [usize; 2],
    pub image: [usize; 2],
    pub dilation: [usize; 2],
    pub padding: [[usize; 2]; 2],
    pub mode: PaddingMode,
}

/// The arrays that go into a case.
#[derive(Debug, Clone)]
pub struct Arrays {
    pub x: Array4<f64>,
    pub weight: Array4<f64>,
    pub bias: Array1<f64>,
    pub dy: Array4<f64>,
}

impl Arrays {
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self {
            x: self.x.mapv(&f),
            weight: self.weight.mapv(&f),
            bias: self.bias.mapv(&f),
            dy: self.dy.mapv(&f),
        }
    }
}

/// Something for each element of each result.
#[derive(Debug)]
pub struct Results {
    pub y: Array4<f64>,
    pub dx: Array4<f64>,
    pub dw: Array4<f64>,
}

impl Case {
    pub fn output(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            self.image[axis] + self.padding[axis].iter().sum::<usize>() - 2 * self.dilation[axis]
        })
    }

    /// For each place of an axis with its padding the pixel there; none for a zero.
    pub fn places(&self, axis: usize) -> Vec<Option<usize>> {
        let (len, [near, far]) = (self.image[axis] as i64, self.padding[axis]);
        let pixel = |place: i64| match self.mode {
            PaddingMode::Zeros => (0..len).contains(&place).then_some(place),
            PaddingMode::Replicate => Some(place.max(0).min(len - 1)),
            PaddingMode::Circular => Some(place.rem_euclid(len)),
            PaddingMode::Reflect => Some((len - 1) - ((len - 1) - place.abs()).abs()),
        };
        let places = -(near as i64)..len + far as i64;
        places.map(|place| pixel(place).map(|pixel| pixel as usize)).collect()
    }

    /// Calls with the indices of every product: of `x`, of the weight and of `y`, and whether it is of padding.
    pub fn for_each_product(&self, mut f: impl FnMut([usize; 4], [usize; 4], [usize; 4], bool)) {
        let places = [self.places(0), self.places(1)];
        let inside = |axis: usize, place: usize| {
            (self.padding[axis][0]..self.padding[axis][0] + self.image[axis]).contains(&place)
        };
        let ([height, width], [n, r]) = (self.output(), self.channels);
        for image in 0..self.batch {
            for output in 0..self.groups * r {
                for (input, m, k) in (0..9 * n).map(|at| (at / 9, at / 3 % 3, at % 3)) {
                    let channel = output / r * n + input;
                    for row in 0..height {
                        let at_row = row + m * self.dilation[0];
                        let Some(x_row) = places[0][at_row] else { continue };
                        for col in 0..width {
                            let at_col = col + k * self.dilation[1];
                            let Some(x_col) = places[1][at_col] else { continue };
                            f(
                                [image, channel, x_row, x_col],
                                [output, input, m, k],
                                [image, output, row, col],
                                !(inside(0, at_row) && inside(1, at_col)),
                            );
                        }
                    }
                }
            }
        }
    }

    pub fn solve(&self, arrays: &Arrays) -> Results {
        let mut y = Array4::zeros(arrays.dy.raw_dim());
        for ((_, output, ..), y) in y.indexed_iter_mut() {
            *y = arrays.bias[output];
        }
        let mut dx = Array4::zeros(arrays.x.raw_dim());
        let mut dw = Array4::zeros(arrays.weight.raw_dim());
        self.for_each_product(|at_x, at_w, at_y, _| {
            y[at_y] += arrays.x[at_x] * arrays.weight[at_w];
            dx[at_x] += arrays.dy[at_y] * arrays.weight[at_w];
            dw[at_w] += arrays.dy[at_y] * arrays.x[at_x];
        });
        Results { y, dx, dw }
    }

    /// Tiles of `outputs` outputs and the smaller ones at the ends of lines, of a batch.
    fn tiles(&self, outputs: usize) -> usize {
        let axis = |axis: usize| {
            let (len, dilation) = (self.output()[axis], self.dilation[axis]);
            dilation.min(len) * len.div_ceil(dilation).div_ceil(outputs)
        };
        self.batch * axis(0) * axis(1)
    }

    /// The bounds by an algorithm, of the direct sum for what it sums, for the roundoff `unit`.
    pub fn bounds(&self, algorithm: Algorithm, arrays: &Arrays, unit: f64) -> Results {
        let (outputs, kappa) = match algorithm {
            Algorithm::Winograd2 => (2, 16.0),
            Algorithm::Winograd4 => (4, 205.0),
            Algorithm::Direct => panic!("it has no tiles"),
        };
        let absolute = arrays.map(f64::abs);
        let ([n, r], [height, width]) = (self.channels, self.output());
        let tap_sums = |o: usize, i: usize| -> f64 {
            (0..9).map(|tap| absolute.weight[[o, i, tap / 3, tap % 3]]).sum()
        };
        // What a tile reads of an output's padded image, and of `dy` for an input.
        let of_x: [Vec<Vec<usize>>; 2] = [0, 1].map(|axis| {
            let places = self.places(axis);
            let near = |output: usize| {
                steps(output, self.dilation[axis], 1 - outputs, outputs + 1, places.len())
                    .filter_map(|place| places[place])
                    .collect()
            };
            (0..self.output()[axis]).map(near).collect()
        });
        let of_dy: [Vec<Vec<usize>>; 2] = [0, 1].map(|axis| {
            let near = |pixel: usize| {
                let place = pixel + self.padding[axis][0];
                let len = self.output()[axis];
                steps(place, self.dilation[axis], -outputs - 1, outputs - 1, len).collect()
            };
            (0..self.image[axis]).map(near).collect()
        });
        let near_x = largest(&absolute.x, &of_x);
        let near_dy = largest(&absolute.dy, &of_dy);

        let mut y = Array4::zeros(arrays.dy.raw_dim());
        let mut dw = Array4::zeros(arrays.weight.raw_dim());
        for ((image, o, row, col), y) in y.indexed_iter_mut() {
            for i in 0..n {
                let near = near_x[[image, o / r * n + i, row, col]];
                *y += kappa * near * tap_sums(o, i);
                for tap in 0..9 {
                    dw[[o, i, tap / 3, tap % 3]] +=
                        kappa * near * absolute.dy[[image, o, row, col]];
                }
            }
            *y = gamma(n + 40, unit) * (*y + absolute.bias[o]);
        }
        let tiles = self.tiles(outputs as usize);
        dw.mapv_inplace(|sum| gamma(tiles + 40, unit) * sum);
        let mut dx = Array4::zeros(arrays.x.raw_dim());
        for ((image, c, row, col), dx) in dx.indexed_iter_mut() {
            for o in c / n * r..(c / n + 1) * r {
                *dx += near_dy[[image, o, row, col]] * tap_sums(o, c % n);
            }
            *dx *= gamma(r + 40, unit) * kappa;
        }
        // Gradients through padding are summed directly, and added one after the other.
        let mut padding = Array4::<f64>::zeros(arrays.x.raw_dim());
        let mut additions = Array4::<usize>::zeros(arrays.x.raw_dim());
        self.for_each_product(|at_x, at_w, at_y, of_padding| {
            padding[at_x] += absolute.dy[at_y] * absolute.weight[at_w];
            additions[at_x] += usize::from(of_padding);
        });
        for ((dx, sum), &additions) in dx.iter_mut().zip(&padding).zip(&additions) {
            if additions > 0 {
                *dx += gamma(r + additions / r + 2, unit) * sum;
            }
        }
        // The oracle's own rounding.
        let own = self.solve(&absolute);
        let terms = 9 * n.max(r) * self.places(0).len() * self.places(1).len();
        let of_oracle = |terms: usize, mut bounds: Array4<f64>, sums: &Array4<f64>| {
            bounds.zip_mut_with(sums, |bound, sum| {
                *bound += gamma(terms, f64::EPSILON / 2.0) * sum;
            });
            bounds
        };
        Results {
            y: of_oracle(9 * n + 1, y, &own.y),
            dx: of_oracle(terms, dx, &own.dx),
            dw: of_oracle(self.batch * height * width, dw, &own.dw),
        }
    }
}

/// The places that lie `from..=to` steps from one, of an axis of `len`.
fn steps(place: usize, step: usize, from: i64, to: i64, len: usize) -> impl Iterator<Item = usize> {
    let at = move |k: i64| place as i64 + k * step as i64;
    (from..=to).map(at).filter(move |at| (0..len as i64).contains(at)).map(|at| at as usize)
}

/// For each place the largest pixel of those that are given for its row and its column.
fn largest(planes: &Array4<f64>, near: &[Vec<Vec<usize>>; 2]) -> Array4<f64> {
    let (batch, channels, ..) = planes.dim();
    let shape = [batch, channels, near[0].len(), near[1].len()];
    Array4::from_shape_fn(shape, |(image, channel, row, col)| {
        let mut largest = 0.0f64;
        for &from_row in &near[0][row] {
            for &from_col in &near[1][col] {
                largest = largest.max(planes[[image, channel, from_row, from_col]]);
            }
        }
        largest
    })
}

/// `γ_k = k·u / (1 − k·u)` (Higham, Accuracy and Stability of Numerical Algorithms, lemma 3.1).
pub fn gamma(roundings: usize, unit: f64) -> f64 {
    let error = roundings as f64 * unit;
    error / (1.0 - error)
}

/// The largest part of its bound that an element is off by; more than 1 for one out of it, or not a number.
pub fn largest_part(got: &Array4<f64>, expected: &Array4<f64>, bounds: &Array4<f64>) -> f64 {
    assert_eq!(got.shape(), expected.shape());
    let pairs = got.iter().zip(expected).zip(bounds);
    let part = |((&got, &expected), &bound): ((&f64, &f64), &f64)| {
        let off = (got - expected).abs();
        if off <= bound { if off == 0.0 { 0.0 } else { off / bound } } else { f64::INFINITY }
    };
    pairs.map(part).fold(0.0, f64::max)
}

#[test]
fn places_go_on_past_the_border() {
    let places = |mode| {
        let case = Case {
            batch: 1,
            groups: 1,
            channels: [1, 1],
            image: [4, 3],
            dilation: [1, 1],
            padding: [[2, 1], [0, 0]],
            mode,
        };
        let places = case.places(0).into_iter();
        places.map(|place| place.map_or(-1, |place| place as i64)).collect::<Vec<_>>()
    };
    assert_eq!(places(PaddingMode::Zeros), [-1, -1, 0, 1, 2, 3, -1]);
    assert_eq!(places(PaddingMode::Replicate), [0, 0, 0, 1, 2, 3, 3]);
    assert_eq!(places(PaddingMode::Circular), [2, 3, 0, 1, 2, 3, 0]);
    assert_eq!(places(PaddingMode::Reflect), [2, 1, 0, 1, 2, 3, 2]);
}
