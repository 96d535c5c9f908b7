//! Progress of long work on stderr: a bar on a terminal, plain lines when piped.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Time between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Counts steps, with an estimate of the time left.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    first: u64,
    n_steps: u64,
    started: Instant,
    last_line: Instant,
}

impl Progress {
    pub fn new(n_steps: u64) -> Self {
        Self::resumed(0, n_steps)
    }

    /// Of work that was done up to step `first` before.
    pub fn resumed(first: u64, n_steps: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(n_steps);
            let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {elapsed} ETA {eta}  {msg}");
            bar.set_style(style.expect("the template is constant"));
            bar.set_position(first);
            bar.reset_eta();
            bar
        });
        let now = Instant::now();
        Self { bar, first, n_steps, started: now, last_line: now }
    }

    /// Shows that `done` steps are done; `message` says what they amount to.
    pub fn at(&mut self, done: u64, message: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(message());
        } else if self.last_line.elapsed() >= LINE_EVERY && done > self.first {
            self.last_line = Instant::now();
            let left_s = self.seconds() / (done - self.first) as f64 * (self.n_steps - done) as f64;
            eprintln!("step {done}/{}, ETA {left_s:.0} s, {}", self.n_steps, message());
        }
    }

    /// Prints a line that stays, above the bar if there is one.
    pub fn line(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
        self.last_line = Instant::now();
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Takes the bar off the terminal.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
