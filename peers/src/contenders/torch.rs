//! PyTorch, in a child process that waits for orders while others are timed.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

use anyhow::{Context, Result, ensure};

use super::{MnistNet, STEPS, Task};
use crate::data::{Checksum, Exact};
use crate::layers::Layer;
use crate::race::Contender;

const SCRIPT: &str = include_str!("../../torch_peer.py");

/// The child process: one line asks, one line answers.
pub struct Torch {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    version: String,
}

impl Torch {
    /// Starts a Python that has `torch`.
    pub fn start(python: &Path, threads: usize, element: &str) -> Result<Self> {
        let mut child = Command::new(python)
            .args(["-u", "-c", SCRIPT, &threads.to_string(), element])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't start {}", python.display()))?;
        let questions = child.stdin.take();
        let answers = child.stdout.take().context("the child process has no output")?;
        let answers = BufReader::new(answers);
        let mut torch = Self { child, questions, answers, version: String::new() };
        torch.version = torch.answer()?;
        Ok(torch)
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    fn ask(&mut self, question: &str) -> Result<Vec<f64>> {
        let questions = self.questions.as_mut().context("the child process has no input")?;
        writeln!(questions, "{question}").context("PyTorch's process has ended")?;
        let answer = self.answer()?;
        answer
            .split_whitespace()
            .map(|number| number.parse().with_context(|| format!("PyTorch's answer: {answer}")))
            .collect()
    }

    fn answer(&mut self) -> Result<String> {
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        ensure!(!answer.is_empty(), "PyTorch's process has ended; what it said is above");
        Ok(answer.trim().to_owned())
    }
}

impl Drop for Torch {
    fn drop(&mut self) {
        // The child ends at the end of its input. Nothing is left to be done about a failure.
        self.questions = None;
        let _ = self.child.wait();
    }
}

/// One measurement in the child process.
pub struct Call {
    torch: Rc<RefCell<Torch>>,
    task: &'static str,
    /// Of what, as the child process reads it.
    subject: String,
}

impl Call {
    /// Of a layer.
    pub fn new(torch: &Rc<RefCell<Torch>>, layer: &Layer, task: Task) -> Self {
        let task = match task {
            Task::Forward => "forward",
            Task::Step => "step",
            Task::DoStep => "do_step",
        };
        let Layer { batch, inputs, outputs, image, kernel, .. } = layer;
        let Layer { stride, padding, dilation, groups, .. } = layer;
        let subject = format!(
            "{batch} {inputs} {outputs} {image} {kernel} {stride} {padding} {dilation} {groups}"
        );
        Self { torch: torch.clone(), task, subject }
    }

    /// Steps of training of a net.
    pub fn mnist(torch: &Rc<RefCell<Torch>>, net: MnistNet) -> Self {
        let task = match net {
            MnistNet::Plain => "mnist_plain",
            MnistNet::DoConv => "mnist_do",
        };
        Self { torch: torch.clone(), task, subject: STEPS.to_string() }
    }

    /// Asks for so many timed calls, or for checksums if there are none.
    fn ask(&self, task: &str, calls: usize) -> Result<Vec<f64>> {
        let question = format!("{task} {calls} {}", self.subject);
        self.torch.borrow_mut().ask(&question)
    }
}

impl Contender for Call {
    fn check(&mut self) -> Result<Vec<Checksum>> {
        let numbers = self.ask(self.task, 0)?;
        let (pairs, _) = numbers.as_chunks();
        Ok(pairs.iter().map(|&[sum, size]| Checksum { sum, size }).collect())
    }

    /// The child process knows itself what is exact: outputs are too long to be exchanged.
    fn error(&mut self, _exact: &Exact) -> Result<f64> {
        self.ask("error", 0)?.first().copied().context("PyTorch gave no error")
    }

    fn turn(&mut self, calls: usize) -> Result<f64> {
        self.ask(self.task, calls)?.first().copied().context("PyTorch gave no time")
    }
}
