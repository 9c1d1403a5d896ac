//! Ours and the peers, each behind the same face.

mod burn;
mod candle;
mod mnist;
mod ours;
mod rten;
mod torch;

pub use mnist::{MnistNet, STEPS};
pub use ours::{do_step, exact, forward, plain_step};
pub use torch::{Call, Torch};

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::Result;
use clap::ValueEnum;
use do_conv::Algorithm;

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
    Ours(Algorithm),
    Peer(Peer),
}

/// Somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    Torch,
    Rten,
    Burn,
    Candle,
}

impl Who {
    pub fn name(self) -> &'static str {
        match self {
            Who::Ours(algorithm) => algorithm.name(),
            Who::Peer(Peer::Torch) => "torch",
            Who::Peer(Peer::Rten) => "rten",
            Who::Peer(Peer::Burn) => "burn",
            Who::Peer(Peer::Candle) => "candle",
        }
    }
}

/// One measurement of a layer.
pub type Key = (Who, Task);

/// What contenders are made from.
pub struct Field {
    pub threads: usize,
    /// With whom we are compared; PyTorch needs `torch`, too.
    pub peers: Vec<Peer>,
    pub torch: Option<Rc<RefCell<Torch>>>,
}

impl Field {
    /// The contender of that name, if there is one.
    pub fn contender<T: Element>(
        &self,
        layer: &Layer,
        (who, task): Key,
    ) -> Result<Option<Box<dyn Contender>>> {
        let peer = match who {
            Who::Ours(algorithm) => {
                let applies = algorithm == Algorithm::Direct || layer.has_winograd();
                return Ok(match task {
                    _ if !applies => None,
                    Task::Forward => Some(Box::new(forward::<T>(layer, algorithm)?)),
                    Task::Step => Some(Box::new(plain_step::<T>(layer, algorithm)?)),
                    Task::DoStep => Some(Box::new(do_step::<T>(layer, algorithm)?)),
                });
            }
            Who::Peer(peer) if self.peers.contains(&peer) => peer,
            Who::Peer(_) => return Ok(None),
        };
        Ok(match (peer, task) {
            (Peer::Torch, _) => self
                .torch
                .as_ref()
                .map(|torch| Box::new(Call::new(torch, layer, task)) as Box<dyn Contender>),
            (Peer::Rten, Task::Forward) => rten::forward::<T>(layer, self.threads)?,
            (Peer::Burn, Task::Forward) => Some(Box::new(burn::forward::<T>(layer))),
            (Peer::Burn, Task::Step) => Some(Box::new(burn::step::<T>(layer))),
            (Peer::Candle, Task::Forward) => Some(Box::new(candle::forward::<T>(layer)?)),
            (Peer::Rten | Peer::Candle, _) | (Peer::Burn, Task::DoStep) => None,
        })
    }
}
