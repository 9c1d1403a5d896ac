//! What to try where an option would help.

use std::error::Error;
use std::fmt;

use do_conv::ErrorKind;
use do_conv::checkpoint::{Checkpoint, LayerOptions};

/// The option that helps, if there is one.
pub fn of(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(untold) = error.downcast_ref::<Untold>() {
        return Some(untold.hint.clone());
    }
    let error = error.downcast_ref::<do_conv::Error>()?;
    let hint = match (error.kind, error.operation, &*error.field) {
        (ErrorKind::Exists, ..) => "--force overwrites it",
        (ErrorKind::Overflow, "Checkpoint::open", "max_bytes") => {
            "--max-bytes N if the file can be trusted"
        }
        (ErrorKind::Config, "Checkpoint::open", "key") => {
            "--key KEY names a dictionary in a PyTorch file"
        }
        (_, "Checkpoint::layers", _) => {
            "--format says whose checkpoint it is; --skip NAME leaves a layer as it is"
        }
        (ErrorKind::Config, _, "layers") => {
            "--format tensorflow or --format gluon for checkpoints of these"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The refusal of a layer that the fold has to be told something of.
#[derive(Debug)]
pub struct Untold {
    error: do_conv::Error,
    hint: String,
}

impl Untold {
    /// Adds to such a refusal what the layer is in want of; gives other errors back.
    pub fn of(
        error: do_conv::Error,
        checkpoint: &Checkpoint,
        options: &LayerOptions,
    ) -> Box<dyn Error> {
        if error.kind != ErrorKind::Ambiguous {
            return error.into();
        }
        let layers = checkpoint.layers(options).unwrap_or_default();
        // The first that the fold comes to.
        let untold = layers.iter().find_map(|layer| match (layer.kernel_size(), layer.pairing()) {
            (None, _) => Some(format!("--kernel {}=MxN", error.field)),
            (_, None) => {
                let hint = "--pairing pytorch if the published PyTorch code trained it, \
                            input-channel if do-conv's layers or adapters did";
                Some(hint.to_owned())
            }
            _ => None,
        });
        match untold {
            Some(hint) => Self { error, hint }.into(),
            None => error.into(),
        }
    }
}

impl fmt::Display for Untold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Untold {}
