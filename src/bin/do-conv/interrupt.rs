//! What signals do: they end the command, but first the temporary files.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts;
use signal_hook::flag::{register, register_conditional_shutdown, register_usize};

use crate::failure::Failure;

/// The signals that ask a command to end.
#[cfg(unix)]
const SIGNALS: [i32; 3] = [consts::SIGINT, consts::SIGTERM, consts::SIGHUP];
#[cfg(not(unix))]
const SIGNALS: [i32; 2] = [consts::SIGINT, consts::SIGTERM];

/// Listens to signals. The process ends at once, with status 128 and the signal's number, unless it is at
/// work on files: then the work is told to stop, which takes its temporary files with it.
pub struct Interrupt {
    idle: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    pub fn listen() -> Result<Self, Failure> {
        let this = Self { idle: Arc::new(true.into()), signal: Arc::default() };
        this.register()
            .map_err(|error| Failure::new(format!("can't listen to signals: {error}")))?;
        Ok(this)
    }

    fn register(&self) -> io::Result<()> {
        let ignored = ignored();
        for signal in SIGNALS.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0) {
            register_conditional_shutdown(signal, 128 + signal, self.idle.clone())?;
            register_usize(signal, self.signal.clone(), signal.unsigned_abs() as usize)?;
        }
        // A file beyond the limit is an error of writing, and no end.
        #[cfg(unix)]
        register(consts::SIGXFSZ, Arc::default())?;
        Ok(())
    }

    /// Does work that leaves files if the process ends meanwhile.
    pub fn during<R>(&self, work: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
        self.idle.store(false, Ordering::SeqCst);
        let result = work();
        self.idle.store(true, Ordering::SeqCst);
        if result.is_err() {
            // The signal is why, whatever failed for it.
            self.check()?;
        }
        result
    }

    /// Whether to go on.
    pub fn flow(&self) -> ControlFlow<()> {
        match self.signal.load(Ordering::SeqCst) {
            0 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }

    /// Refuses to go on after a signal.
    pub fn check(&self) -> Result<(), Failure> {
        match self.signal.load(Ordering::SeqCst) {
            0 => Ok(()),
            signal => {
                let status = u8::try_from(128 + signal).unwrap_or(1);
                Err(Failure { status, ..Failure::new("interrupted; nothing was written") })
            }
        }
    }
}

/// A bit for each signal that is ignored already, as `nohup` does it: it stays so. Where the system
/// doesn't tell, none.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
