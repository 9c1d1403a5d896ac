//! What a net answers to the test images, and the table at the end.

use std::error::Error;
use std::iter::zip;

use burn::module::Module;
use burn::tensor::Device;

use crate::data::CLASSES;
use crate::dataset::Images;
use crate::net::{Layer, Net};
use crate::train::TEST_BATCH;

/// A trained net on all test images.
pub struct Answers {
    logits: Vec<f32>,
    parameters: usize,
    /// Percent of the images that are classified correctly.
    accuracy: f64,
}

impl Answers {
    pub fn new<L: Layer>(net: &Net<L>, test: &Images) -> Result<Self, Box<dyn Error>> {
        let (mut logits, mut correct) = (Vec::new(), 0);
        for (images, labels) in test.batches(TEST_BATCH, &Device::flex()) {
            let answers = net.logits(images).try_into_vec_as::<f32>()?;
            let (of_images, _) = answers.as_chunks::<CLASSES>();
            correct += zip(of_images, &labels).filter(|(a, label)| is_correct(a, **label)).count();
            logits.extend(answers);
        }
        let images = logits.len() / CLASSES;
        let accuracy = 100.0 * correct as f64 / images as f64;
        Ok(Self { logits, parameters: net.num_params(), accuracy })
    }

    /// How many logits have other bits, and of how many.
    pub fn differing(&self, other: &Self) -> (usize, usize) {
        let pairs = zip(&self.logits, &other.logits);
        (pairs.filter(|(a, b)| a.to_bits() != b.to_bits()).count(), self.logits.len())
    }
}

/// A tie, or a NaN, is no answer.
fn is_correct(logits: &[f32; CLASSES], label: u8) -> bool {
    let label = usize::from(label);
    (0..CLASSES).filter(|&rival| rival != label).all(|rival| logits[label] > logits[rival])
}

/// A column for each net: its name, answers, and seconds per epoch if it was trained.
pub fn table(nets: [(&str, &Answers, Option<f64>); 3]) -> String {
    let row = |name: &str, values: [String; 3]| {
        let [a, b, c] = values;
        format!("{name:<20}  {a:>8}  {b:>8}  {c:>8}")
    };
    [
        row("", nets.map(|(name, ..)| name.to_owned())),
        row("test accuracy, %", nets.map(|(_, answers, _)| format!("{:.2}", answers.accuracy))),
        row("parameters", nets.map(|(_, answers, _)| answers.parameters.to_string())),
        row(
            "seconds per epoch",
            nets.map(|(.., seconds)| seconds.map_or("–".to_owned(), |s| format!("{s:.2}"))),
        ),
    ]
    .join("\n")
}
