//! How far all runs are. (The crates that draw such lines turn on features of what burn is built from, so that burn
//! would be built once more, for ten minutes.)

use std::io::{IsTerminal, Write, stderr, stdout};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two drawings.
const PAUSE: Duration = Duration::from_millis(200);

/// A line that is drawn anew where the standard error output is a terminal.
pub struct Bar {
    total: f64,
    is_shown: bool,
    start: Instant,
    state: Mutex<State>,
}

struct State {
    done: f64,
    drawn: Instant,
}

impl Bar {
    /// Of so many steps in all.
    pub fn new(total: f64, is_wanted: bool) -> Self {
        let start = Instant::now();
        let is_shown = is_wanted && stderr().is_terminal();
        Self { total, is_shown, start, state: Mutex::new(State { done: 0.0, drawn: start }) }
    }

    /// Counts steps.
    pub fn advance(&self, steps: f64) {
        let mut state = self.state();
        state.done += steps;
        if self.is_shown && state.drawn.elapsed() > PAUSE {
            state.drawn = Instant::now();
            self.draw(&line(state.done / self.total, self.start.elapsed()));
        }
    }

    /// Prints a line above.
    pub fn say(&self, text: &str) {
        let _alone = self.state();
        self.draw("");
        // Nobody reads it: the runs go on.
        let _ = writeln!(stdout(), "{text}");
    }

    /// Takes the line away.
    pub fn clear(&self) {
        let _alone = self.state();
        self.draw("");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self, line: &str) {
        if self.is_shown {
            // Back to the start of the line, and what is behind it erased.
            let _ = write!(stderr(), "\r\x1b[K{line}").and_then(|()| stderr().flush());
        }
    }
}

/// What is done, and the time that is left if it goes on like that.
fn line(share: f64, elapsed: Duration) -> String {
    const WIDTH: usize = 30;
    let share = share.clamp(0.0, 1.0);
    let filled = (share * WIDTH as f64) as usize;
    let left = elapsed.as_secs_f64() * (1.0 - share) / share.max(1e-9);
    let left = if share < 0.001 { "?".to_owned() } else { minutes(left) };
    let (full, empty) = ("█".repeat(filled), "░".repeat(WIDTH - filled));
    let elapsed = minutes(elapsed.as_secs_f64());
    format!("{full}{empty} {:>3.0} %, {elapsed} so far, {left} left", 100.0 * share)
}

fn minutes(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_what_is_done() {
        let found = line(0.25, Duration::from_secs(30));
        assert!(found.starts_with("███████░"));
        assert!(found.ends_with(" 25 %, 0:30 so far, 1:30 left"), "{found}");
        assert!(line(0.0, Duration::from_secs(5)).ends_with("  0 %, 0:05 so far, ? left"));
        let found = line(0.5, Duration::from_secs(3_725));
        assert!(found.ends_with(" 50 %, 1:02:05 so far, 1:02:05 left"), "{found}");
        assert!(line(2.0, Duration::from_secs(5)).ends_with("100 %, 0:05 so far, 0:00 left"));
    }
}
