//! Mean intersection over union (IoU), from counts of pixels.
//!
//! As in Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation" (2015), section
//! 5: over the pixels of all images at once, then the mean over classes.

use std::iter::zip;

/// How many pixels of each class were answered with each class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion<const CLASSES: usize> {
    /// Target by answer.
    counts: [[u64; CLASSES]; CLASSES],
}

impl<const CLASSES: usize> Default for Confusion<CLASSES> {
    fn default() -> Self {
        Self { counts: [[0; CLASSES]; CLASSES] }
    }
}

impl<const CLASSES: usize> Confusion<CLASSES> {
    /// Counts pixels, in the same order in both.
    ///
    /// # Errors
    ///
    /// Where lengths differ or a class isn't below `CLASSES`. Then nothing is counted.
    pub fn add(&mut self, answers: &[u8], targets: &[u8]) -> Result<(), String> {
        if answers.len() != targets.len() {
            let (expected, found) = (targets.len(), answers.len());
            return Err(format!("expected {expected} answers, one for each target, found {found}"));
        }
        let mut classes = answers.iter().chain(targets);
        if let Some(class) = classes.find(|&&class| usize::from(class) >= CLASSES) {
            return Err(format!("expected classes below {CLASSES}, found {class}"));
        }
        for (&answer, &target) in zip(answers, targets) {
            self.counts[usize::from(target)][usize::from(answer)] += 1;
        }
        Ok(())
    }

    /// In percent, over the classes that occur in targets or answers; 0 if none does.
    pub fn mean_iou(&self) -> f64 {
        let ious: Vec<_> = (0..CLASSES).filter_map(|class| self.iou(class)).collect();
        100.0 * ious.iter().sum::<f64>() / ious.len().max(1) as f64
    }

    /// Pixels that are of the class in targets and answers, as a share of those that are in either.
    fn iou(&self, class: usize) -> Option<f64> {
        let both = self.counts[class][class];
        let in_targets: u64 = self.counts[class].iter().sum();
        let in_answers: u64 = self.counts.iter().map(|answers| answers[class]).sum();
        let either = in_targets + in_answers - both;
        (either > 0).then(|| both as f64 / either as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(answers: &[u8], targets: &[u8]) -> Confusion<4> {
        let mut confusion = Confusion::default();
        confusion.add(answers, targets).unwrap();
        confusion
    }

    fn assert_percent(confusion: &Confusion<4>, expected: f64) {
        let found = confusion.mean_iou();
        assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
    }

    #[test]
    fn by_hand() {
        // Class 0: 2 of 3 pixels; class 1: 1 of 3; class 2: 1 of 2; class 3 occurs nowhere.
        let confusion = counted(&[0, 0, 1, 1, 2], &[0, 0, 0, 1, 2]);
        assert_percent(&confusion, 100.0 * (2.0 / 3.0 + 1.0 / 2.0 + 1.0) / 3.0);
        let confusion = counted(&[0, 0, 1, 1, 2, 1], &[0, 0, 0, 1, 2, 2]);
        assert_percent(&confusion, 100.0 * (2.0 / 3.0 + 1.0 / 3.0 + 1.0 / 2.0) / 3.0);
    }

    #[test]
    fn a_class_of_targets_or_answers_alone_counts_as_missed() {
        assert_percent(&counted(&[0, 0], &[0, 3]), 100.0 * (1.0 / 2.0 + 0.0) / 2.0);
        assert_percent(&counted(&[0, 3], &[0, 0]), 100.0 * (1.0 / 2.0 + 0.0) / 2.0);
    }

    #[test]
    fn extremes() {
        assert_percent(&counted(&[0, 1, 2, 3], &[0, 1, 2, 3]), 100.0);
        assert_percent(&counted(&[1, 0], &[0, 1]), 0.0);
        assert_percent(&counted(&[], &[]), 0.0);
    }

    #[test]
    fn refuses_what_it_cannot_count() {
        let mut confusion = Confusion::<4>::default();
        for (answers, targets) in [(&[0, 1][..], &[0][..]), (&[0, 4], &[0, 0]), (&[0, 0], &[0, 4])]
        {
            assert!(confusion.add(answers, targets).is_err());
        }
        assert_eq!(confusion, Confusion::default());
    }
}
