//! What a training has come to.

use do_conv::DoConv2d;

use crate::error::{Error, Result};
use crate::link::Link;
use crate::net::{Net, Velocities};
use crate::options::Options;

/// What a training has come to.
#[derive(Clone, Debug)]
pub struct State {
    /// Steps done.
    pub step: usize,
    /// The net.
    pub net: Net<DoConv2d<f32>>,
    /// Of its parameters.
    pub velocities: Velocities,
}

impl State {
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let mut net = Net::new(options.net, options.blocks as usize, options.seed.into())?;
        let velocities = Velocities::new(&mut net);
        Ok(Self { step: 0, net, velocities })
    }

    /// Takes over what rank 0 has.
    ///
    /// # Errors
    /// If this rank's net has other parameters.
    pub(crate) fn broadcast(&mut self, link: &Link) -> Result<()> {
        let mut bytes = (self.step as u64).to_le_bytes().to_vec();
        let mut write =
            |values: &[f32]| bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.net.parameters(|_, _, values| write(values));
        self.velocities.0.iter().for_each(|values| write(values));
        let expected = bytes.len();
        let bytes = link.broadcast(bytes);
        if bytes.len() != expected {
            let got = bytes.len();
            return Err(Error::local(format!(
                "expected {expected} bytes of parameters from rank 0, got {got}"
            )));
        }
        let (step, values) = bytes.split_first_chunk().expect("as many as this rank has");
        self.step = u64::from_le_bytes(*step) as usize;
        let mut values = values.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value));
        let mut read =
            |target: &mut [f32]| target.iter_mut().zip(&mut values).for_each(|(t, v)| *t = v);
        self.net.parameters(|_, _, values| read(values));
        self.velocities.0.iter_mut().for_each(|values| read(values));
        Ok(())
    }

    /// Checks that parameters and velocities are numbers: a ReLU hides NaN, so that gradients needn't show it.
    pub(crate) fn expect_finite(&mut self) -> std::result::Result<(), String> {
        let is_finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        let mut velocities = self.velocities.0.iter();
        let mut spoiled = None;
        self.net.parameters(|unit, name, values| {
            let velocities = velocities.next().expect("one for each parameter");
            if spoiled.is_none() && !(is_finite(values) && is_finite(velocities)) {
                spoiled = Some(format!("{unit} {name}"));
            }
        });
        match spoiled {
            None => Ok(()),
            Some(parameter) => {
                let step = self.step;
                Err(format!(
                    "step {step}: expected finite parameters, got NaN or infinity: {}",
                    parameter.trim()
                ))
            }
        }
    }

    /// A checksum of all parameters.
    pub(crate) fn checksum(&mut self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        self.net.parameters(|_, _, values| {
            values.iter().for_each(|value| hasher.update(&value.to_le_bytes()));
        });
        hasher.finalize()
    }
}
