//! What a net for images has beside its layers, each with its gradient.

use std::iter::zip;

use ndarray::{Array2, Array4, ArrayView1, Axis, Zip};

pub fn relu(mut y: Array4<f32>) -> Array4<f32> {
    y.mapv_inplace(|y| y.max(0.0));
    y
}

/// From the gradient of what the ReLU put out, `a`, to that of what it took, in place.
pub fn relu_backward<'a>(gradient: &'a mut Array4<f32>, a: &Array4<f32>) -> &'a Array4<f32> {
    // A choice and no branch: signs are as good as random.
    Zip::from(&mut *gradient).and(a).for_each(|gradient, &a| {
        *gradient = if a <= 0.0 { 0.0 } else { *gradient };
    });
    gradient
}

/// Global average pooling: `[B, C, H, W]` to `[B, C]`.
pub fn mean_of_pixels(a: &Array4<f32>) -> Array2<f32> {
    let (_, _, rows, columns) = a.dim();
    a.sum_axis(Axis(3)).sum_axis(Axis(2)) / (rows * columns) as f32
}

/// The gradient of the last layer's output: back through the mean, then the ReLU that gave `a`.
pub fn mean_of_pixels_backward(dmean: &Array2<f32>, a: &Array4<f32>) -> Array4<f32> {
    let (_, _, rows, columns) = a.dim();
    let share = dmean / (rows * columns) as f32;
    let share = share.insert_axis(Axis(2)).insert_axis(Axis(3));
    let choose = |&a: &f32, &share: &f32| if a > 0.0 { share } else { 0.0 };
    Zip::from(a).and_broadcast(&share).map_collect(choose)
}

/// The sum of `ln Σ exp(logit) − logit[label]` over `batch`, and its gradient: the mean for all images of a batch at
/// once, and for some of them their share of it.
pub fn cross_entropy(mut logits: Array2<f32>, labels: &[u8], batch: usize) -> (f32, Array2<f32>) {
    let batch = batch as f32;
    let mut loss = 0.0;
    for (mut row, &label) in logits.outer_iter_mut().zip(labels) {
        let label = usize::from(label);
        // The largest logit is taken off first: `exp` then cannot overflow.
        let largest = row.fold(f32::NEG_INFINITY, |largest, &logit| largest.max(logit));
        row -= largest;
        let of_label = row[label];
        row.mapv_inplace(f32::exp);
        let sum = row.sum();
        loss += sum.ln() - of_label;
        row /= sum;
        row[label] -= 1.0;
        row /= batch;
    }
    (loss / batch, logits)
}

/// How many images are classified correctly.
pub fn correct(logits: &Array2<f32>, labels: &[u8]) -> usize {
    let is_correct = |logits: ArrayView1<f32>, label: usize| {
        let rivals = logits.iter().enumerate().filter(|&(i, _)| i != label);
        // A tie, or a NaN, is no answer.
        rivals.map(|(_, &rival)| rival).all(|rival| logits[label] > rival)
    };
    zip(logits.outer_iter(), labels)
        .filter(|&(logits, &label)| is_correct(logits, label.into()))
        .count()
}
