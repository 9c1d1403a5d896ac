//! Ours and the peers, each behind the same face.

mod burn;
mod candle;
mod ours;
mod rten;
mod torch;

pub use ours::{do_step, forward, plain_step};
pub use torch::Torch;

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::Result;

use crate::data::Element;
use crate::layers::Layer;
use crate::race::Contender;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// The plain convolution: results `y`.
    Forward,
    /// Forward and all gradients of the plain convolution: results `y`, `dx`, `dw`.
    Step,
    /// Forward and all gradients of the DO-Conv layer: results `y`, `dx`, `dw`, and `dd` if the kernel
    /// isn't 1×1.
    DoStep,
}

/// Whose implementation is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Ours,
    Torch,
    Rten,
    Burn,
    Candle,
}

impl Who {
    pub fn name(self) -> &'static str {
        match self {
            Who::Ours => "ours",
            Who::Torch => "torch",
            Who::Rten => "rten",
            Who::Burn => "burn",
            Who::Candle => "candle",
        }
    }
}

/// One measurement of a layer.
pub type Key = (Who, Task);

/// What contenders are made from.
pub struct Field {
    pub threads: usize,
    pub torch: Option<Rc<RefCell<Torch>>>,
}

impl Field {
    /// The contender of that name, if there is one.
    pub fn contender<T: Element>(
        &self,
        layer: &Layer,
        (who, task): Key,
    ) -> Result<Option<Box<dyn Contender>>> {
        Ok(match (who, task) {
            (Who::Ours, Task::Forward) => Some(Box::new(forward::<T>(layer)?)),
            (Who::Ours, Task::Step) => Some(Box::new(plain_step::<T>(layer)?)),
            (Who::Ours, Task::DoStep) => Some(Box::new(do_step::<T>(layer)?)),
            (Who::Torch, _) => self
                .torch
                .as_ref()
                .map(|torch| Box::new(torch::Call::new(torch, *layer, task)) as Box<dyn Contender>),
            (Who::Rten, Task::Forward) => rten::forward::<T>(layer, self.threads)?,
            (Who::Burn, Task::Forward) => Some(Box::new(burn::forward::<T>(layer))),
            (Who::Burn, Task::Step) => Some(Box::new(burn::step::<T>(layer))),
            (Who::Candle, Task::Forward) => Some(Box::new(candle::forward::<T>(layer)?)),
            (Who::Rten | Who::Candle, _) | (Who::Burn, Task::DoStep) => None,
        })
    }
}
