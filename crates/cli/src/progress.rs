//! Progress of long work on stderr: a bar on a terminal, plain lines when piped.

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Time between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Counts steps, with an estimate of the time left.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    first: u64,
    n_steps: u64,
    /// Of the first 0, 1, 2, … steps; empty where all cost the same.
    costs: Vec<f64>,
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
            let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {elapsed}  {msg}");
            bar.set_style(style.expect("the template is constant"));
            bar.set_position(first);
            bar
        });
        let now = Instant::now();
        Self { bar, first, n_steps, costs: Vec::new(), started: now, last_line: now }
    }

    /// Of steps that take times in the ratio of `costs`, the first `first` of them done before.
    pub fn weighted(first: usize, costs: impl Iterator<Item = f64>) -> Self {
        let sums = costs.scan(0.0, |sum, cost| {
            *sum += cost;
            Some(*sum)
        });
        let costs: Vec<f64> = std::iter::once(0.0).chain(sums).collect();
        Self { costs: costs.clone(), ..Self::resumed(first as u64, costs.len() as u64 - 1) }
    }

    /// Shows that `done` steps are done; `message` says what they amount to.
    pub fn at(&mut self, done: u64, message: impl FnOnce() -> String) {
        let is_line_due = self.last_line.elapsed() >= LINE_EVERY && done > self.first;
        if self.bar.is_none() && !is_line_due {
            return;
        }
        let text = match self.left(done) {
            Some(left) => format!("ETA {}, {}", HumanDuration(left), message()),
            None => message(),
        };
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(text);
        } else {
            self.last_line = Instant::now();
            eprintln!("step {done}/{}, {text}", self.n_steps);
        }
    }

    /// The time left at the rate so far; `None` before the first step and where the end is not known.
    fn left(&self, done: u64) -> Option<Duration> {
        let cost = |step: u64| match self.costs.is_empty() {
            true => step as f64,
            false => self.costs[step as usize],
        };
        let (so_far, left) = (cost(done) - cost(self.first), cost(self.n_steps) - cost(done));
        (so_far > 0.0 && left >= 0.0).then(|| Duration::from_secs_f64(self.seconds() / so_far * left))
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
