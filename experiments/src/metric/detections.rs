//! Mean average precision at an overlap of one half (AP50).
//!
//! As in Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge" (2010), section 4.2, and the
//! devkit's `VOCevaldet.m`, with the area under the whole precision–recall curve of VOC 2010 and later. Boxes
//! have exclusive ends, so their areas lack the devkit's one more pixel each way.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::data::scene::Object;

/// The least intersection over union of a detection with its object.
const OVERLAP: f64 = 0.5;

/// An object that a net believes in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Of the object.
    pub class: usize,
    /// The higher, the surer. A detection whose score is NaN is ignored.
    pub score: f32,
    /// Top, left, bottom and right, in pixels. The last two are exclusive.
    pub bounds: [f32; 4],
}

/// Detections of many images, matched with the objects that there are.
#[derive(Clone, Debug, Default)]
pub struct AveragePrecision {
    classes: BTreeMap<usize, Class>,
}

#[derive(Clone, Debug, Default)]
struct Class {
    truths: usize,
    /// For each detection its score, and whether it found an object.
    found: Vec<(f32, bool)>,
}

impl AveragePrecision {
    /// Matches the detections of an image with its objects, the surest first.
    ///
    /// A detection is right if the object of its class that it overlaps most is overlapped enough and not found
    /// yet: a second detection of an object is wrong. Of equal scores the first is the surer.
    pub fn add(&mut self, detections: &[Detection], truths: &[Object]) {
        for truth in truths {
            self.classes.entry(truth.class).or_default().truths += 1;
        }
        let mut taken = vec![false; truths.len()];
        for detection in by_score(detections.iter().copied(), |detection| detection.score) {
            let found = best_match(&detection, truths)
                .is_some_and(|truth| !std::mem::replace(&mut taken[truth], true));
            let class = self.classes.entry(detection.class).or_default();
            class.found.push((detection.score, found));
        }
    }

    /// Mean over the classes that have objects, in percent; 0 if none has.
    pub fn percent(&self) -> f64 {
        let with_truths = self.classes.values().filter(|class| class.truths > 0);
        let averages: Vec<_> = with_truths.map(Class::average_precision).collect();
        100.0 * averages.iter().sum::<f64>() / averages.len().max(1) as f64
    }
}

impl Class {
    /// The area under the envelope: for each recall the highest precision at that recall or a higher one.
    fn average_precision(&self) -> f64 {
        let mut hits = 0;
        let mut precisions = vec![];
        for (rank, (_, found)) in
            (1..).zip(by_score(self.found.iter().copied(), |&(score, _)| score))
        {
            if found {
                hits += 1;
                precisions.push(f64::from(hits) / f64::from(rank));
            }
        }
        // Recall grows by one object's share at each hit.
        let envelope = precisions.iter().rev().scan(0.0, |highest: &mut f64, &precision| {
            *highest = highest.max(precision);
            Some(*highest)
        });
        envelope.sum::<f64>() / self.truths as f64
    }
}

/// The highest score first, equal ones in the order they came, without NaN.
fn by_score<T>(items: impl Iterator<Item = T>, score: impl Fn(&T) -> f32) -> Vec<T> {
    let mut sorted: Vec<_> = items.filter(|item| !score(item).is_nan()).collect();
    sorted.sort_by(|a, b| score(b).partial_cmp(&score(a)).unwrap_or(Ordering::Equal));
    sorted
}

/// The object of the same class that is overlapped most, the first of equals, if that is enough.
fn best_match(detection: &Detection, truths: &[Object]) -> Option<usize> {
    let of_class = truths.iter().enumerate().filter(|(_, truth)| truth.class == detection.class);
    let mut best = None;
    let mut highest = 0.0;
    for (i, truth) in of_class {
        let overlap = iou(detection.bounds, truth.bounds);
        if overlap >= OVERLAP && overlap > highest {
            (best, highest) = (Some(i), overlap);
        }
    }
    best
}

/// Intersection over union of two boxes (top, left, bottom, right); 0 if either isn't a box: empty, inverted, or
/// not finite.
pub fn iou(a: [f32; 4], b: [f32; 4]) -> f64 {
    if area(a) == 0.0 || area(b) == 0.0 {
        return 0.0;
    }
    let both = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    both / (area(a) + area(b) - both)
}

/// 0 if it isn't a box. In `f64`, which has room for the area of any other.
fn area(bounds: [f32; 4]) -> f64 {
    let [top, left, bottom, right] = bounds.map(f64::from);
    let is_box = bounds.iter().all(|edge| edge.is_finite()) && top < bottom && left < right;
    if is_box { (bottom - top) * (right - left) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten by ten pixels, `left` pixels from the left.
    fn square(left: f32) -> [f32; 4] {
        [0.0, left, 10.0, left + 10.0]
    }

    fn truth(class: usize, left: f32) -> Object {
        Object { class, bounds: square(left) }
    }

    fn detection(class: usize, score: f32, left: f32) -> Detection {
        Detection { class, score, bounds: square(left) }
    }

    fn assert_percent(images: &[(&[Detection], &[Object])], expected: f64) {
        let mut precision = AveragePrecision::default();
        images.iter().for_each(|(detections, truths)| precision.add(detections, truths));
        let found = precision.percent();
        assert!((found - expected).abs() < 1e-9, "{found}, expected {expected}");
    }

    #[test]
    fn iou_by_hand() {
        assert_eq!(iou(square(0.0), square(0.0)), 1.0);
        assert_eq!(iou(square(0.0), square(5.0)), 50.0 / 150.0);
        assert_eq!(iou([0.0, 0.0, 4.0, 4.0], [2.0, 1.0, 6.0, 3.0]), 4.0 / 20.0);
        assert_eq!(iou(square(0.0), square(10.0)), 0.0);
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        for none in
            [[nan, 0.0, 10.0, 10.0], [0.0, 0.0, inf, 10.0], [10.0, 10.0, 0.0, 0.0], [5.0; 4]]
        {
            assert_eq!([iou(none, square(0.0)), iou(square(0.0), none), iou(none, none)], [0.0; 3]);
        }
    }

    #[test]
    fn nothing_there_or_nothing_found() {
        assert_percent(&[], 0.0);
        assert_percent(&[(&[], &[])], 0.0);
        assert_percent(&[(&[detection(0, 1.0, 0.0)], &[])], 0.0);
        assert_percent(&[(&[], &[truth(0, 0.0)])], 0.0);
        assert_percent(&[(&[detection(0, f32::NAN, 0.0)], &[truth(0, 0.0)])], 0.0);
    }

    #[test]
    fn the_curve_is_taken_over_all_images_and_smoothed() {
        // By score: hit, miss, miss, hit, hit, of four objects. Precisions at hits: 1, 2/4, 3/5; envelope: 1, 3/5,
        // 3/5; the fourth object is never found.
        let first = [detection(0, 0.9, 0.0), detection(0, 0.7, 50.0), detection(0, 0.5, 20.0)];
        let second = [detection(0, 0.6, 0.0), detection(0, 0.8, 50.0)];
        let truths = [truth(0, 0.0), truth(0, 20.0)];
        let images: [(&[_], &[_]); 2] =
            [(&first, &truths), (&second, &[truth(0, 0.0), truth(0, 80.0)])];
        assert_percent(&images, 100.0 * (1.0 + 0.6 + 0.6) / 4.0);
    }

    #[test]
    fn a_second_detection_of_an_object_is_wrong() {
        let twice = [detection(0, 0.9, 0.0), detection(0, 0.8, 1.0), detection(0, 0.7, 20.0)];
        assert_percent(
            &[(&twice, &[truth(0, 0.0), truth(0, 20.0)])],
            100.0 * (1.0 + 2.0 / 3.0) / 2.0,
        );
        // Even where another object is overlapped enough: by 8/12 and 9/11.
        let close = [detection(0, 0.9, 0.0), detection(0, 0.8, 1.0)];
        assert_percent(&[(&close, &[truth(0, 0.0), truth(0, 3.0)])], 50.0);
    }

    #[test]
    fn the_overlap_is_one_half_at_least() {
        let half = Detection { class: 0, score: 1.0, bounds: [0.0, 0.0, 10.0, 5.0] };
        let less = Detection { bounds: [0.0, 0.0, 10.0, 4.9], ..half };
        assert_percent(&[(&[half], &[truth(0, 0.0)])], 100.0);
        assert_percent(&[(&[less], &[truth(0, 0.0)])], 0.0);
    }

    #[test]
    fn classes_are_apart_and_those_without_objects_do_not_count() {
        let wrong = [detection(1, 0.9, 0.0), detection(7, 0.9, 0.0), detection(2, 0.9, 0.0)];
        let right = [detection(0, 0.5, 0.0), detection(2, 0.5, 20.0)];
        let truths = [truth(0, 0.0), truth(2, 20.0)];
        assert_percent(
            &[(&[wrong.as_slice(), &right].concat(), &truths)],
            100.0 * (1.0 + 0.5) / 2.0,
        );
    }

    #[test]
    fn of_equal_scores_the_first_to_arrive_leads() {
        let (miss, hit) = (detection(0, 0.0, 50.0), detection(0, -0.0, 0.0));
        assert_percent(&[(&[hit, miss], &[truth(0, 0.0)])], 100.0);
        assert_percent(&[(&[miss, hit], &[truth(0, 0.0)])], 50.0);
        assert_percent(&[(&[miss], &[]), (&[hit], &[truth(0, 0.0)])], 50.0);
    }
}
