//! The grids that answer the paper's questions.

use clap::Parser;

use crate::grid::Grid;
use crate::record::RunConfig;

/// Which images a study is made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Images {
    /// Handwritten digits.
    Mnist,
    /// Clothes.
    Fashion,
}

/// A question and the grids that answer it.
#[derive(Debug)]
pub struct Study {
    /// On the command line, and in the report.
    pub name: &'static str,
    /// What it asks.
    pub question: &'static str,
    /// What it is made on.
    pub images: Images,
    /// The options of each grid.
    pub grids: &'static [&'static str],
    /// Options that come instead of, or beside, these in a short version of all studies.
    pub quick: &'static str,
}

/// All studies. Those on the same net share its runs.
pub const STUDIES: [Study; 8] = [
    Study {
        name: "tutorial",
        question: "Does DO-Conv help the net that the published code trains as its sample?",
        images: Images::Mnist,
        grids: &["--net tutorial --learning-rate 0.01 --schedule constant --weight-decay 0 \
                  --batch 32 --epochs 15 --images 50000 --seeds 10"],
        quick: "--epochs 5 --images 7040 --seeds 4",
    },
    Study {
        name: "nets",
        question: "Does DO-Conv help, whatever the architecture?",
        images: Images::Fashion,
        grids: &[
            "--net plain,resnet-v1,resnet-v1b,resnet-v2,resnext,mobilenet --seeds 10",
            // It has no batch norm, and epochs are short.
            "--net tutorial --learning-rate 0.03 --epochs 30 --seeds 10",
        ],
        quick: "--epochs 2 --blocks 1 --images 2048 --seeds 3",
    },
    Study {
        name: "separable",
        question: "How does it compare with depthwise separable convolutions?",
        images: Images::Fashion,
        grids: &["--net plain,resnet-v1 --kind do-conv,separable"],
        quick: "--net resnet-v1 --epochs 2 --blocks 1 --images 2048 --seeds 3",
    },
    Study {
        name: "init",
        question: "Does it matter that D starts as the identity, and that it decays to it?",
        images: Images::Fashion,
        grids: &["--blocks 1 --d-init identity,random --decay-offset true,false --seeds 10"],
        quick: "--epochs 2 --images 2048 --seeds 3",
    },
    Study {
        name: "d-mul",
        question: "Does a larger D help more?",
        images: Images::Fashion,
        grids: &["--blocks 1 --d-mul mn,mn+3,2mn,3mn --seeds 10"],
        quick: "--epochs 2 --images 2048 --seeds 3",
    },
    Study {
        name: "placement",
        question: "Which layers does it help?",
        images: Images::Fashion,
        grids: &["--blocks 1 --replaced all,stem,first,middle,last --seeds 10"],
        quick: "--epochs 2 --images 2048 --seeds 3",
    },
    Study {
        name: "segmentation",
        question: "Does it help to name the class of every pixel?",
        images: Images::Fashion,
        grids: &["--task segment --blocks 1 --replaced all,backbone,head --batch 32 --epochs 8"],
        quick: "--epochs 4 --images 1024 --seeds 3",
    },
    Study {
        name: "detection",
        question: "Does it help to find objects?",
        images: Images::Fashion,
        grids: &["--task detect --blocks 1 --replaced all,backbone,head --batch 32 --epochs 8 \
                  --learning-rate 0.02"],
        quick: "--epochs 4 --images 1024 --seeds 3",
    },
];

#[derive(Parser)]
#[command(args_override_self = true)]
struct Options {
    #[command(flatten)]
    grid: Grid,
}

impl Study {
    /// The options of its grids, as on a command line.
    pub fn options(&self, is_quick: bool) -> impl Iterator<Item = String> {
        let quick = if is_quick { self.quick } else { "" };
        self.grids.iter().map(move |grid| format!("{grid} {quick}").trim_end().to_owned())
    }

    /// The runs of its grids on images of that name.
    ///
    /// # Errors
    /// For options that there are none of.
    pub fn runs(&self, is_quick: bool, data: &str) -> Result<Vec<RunConfig>, clap::Error> {
        let mut runs = Vec::new();
        for options in self.options(is_quick) {
            let words = std::iter::once(self.name).chain(options.split_whitespace());
            runs.extend(Options::try_parse_from(words)?.grid.runs(data));
        }
        Ok(runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::SCENES;
    use crate::record::{Kind, Task};

    #[test]
    fn every_study_compares_something_with_plain_layers() -> Result<(), clap::Error> {
        for study in &STUDIES {
            for is_quick in [false, true] {
                let runs = study.runs(is_quick, "images")?;
                let plain = runs.iter().filter(|run| run.kind == Kind::Plain).count();
                assert!(0 < plain && plain < runs.len(), "{}", study.name);
                let seeds = 1 + runs.iter().map(|run| run.seed).max().unwrap_or(0);
                assert!(if is_quick { seeds < 5 } else { seeds >= 5 }, "{}", study.name);
            }
        }
        Ok(())
    }

    /// An option of the quick version takes the place of the same option.
    #[test]
    fn the_quick_version_is_smaller() -> Result<(), clap::Error> {
        for study in &STUDIES {
            let work = |is_quick| -> Result<usize, clap::Error> {
                let runs = study.runs(is_quick, "images")?;
                // Of our copy of Fashion-MNIST, and of scenes.
                let all = |run: &RunConfig| match run.task {
                    Task::Classify => 20_000,
                    Task::Segment | Task::Detect => SCENES[0],
                };
                let images = |run: &RunConfig| run.images.unwrap_or_else(|| all(run));
                Ok(runs.iter().map(|run| run.epochs * images(run)).sum())
            };
            assert!(10 * work(true)? < work(false)?, "{}", study.name);
        }
        Ok(())
    }
}
