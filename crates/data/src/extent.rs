//! How much of a source has been read, for whoever shows progress.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Units of work, bytes or records or groups, of which some are done.
#[derive(Debug, Clone)]
pub(crate) struct Extent {
    done: Arc<AtomicU64>,
    total: u64,
}

impl Extent {
    pub fn new(total: u64) -> Self {
        Self { done: Arc::default(), total }
    }

    pub fn advance(&self, by: u64) {
        self.done.fetch_add(by, Ordering::Relaxed);
    }

    /// From 0 to 1.
    pub fn fraction(&self) -> f64 {
        (self.done.load(Ordering::Relaxed) as f64 / self.total.max(1) as f64).min(1.0)
    }

    /// The items, each of which is one unit of work.
    pub fn counting<T, I: Iterator<Item = T>>(&self, items: I) -> impl Iterator<Item = T> + use<T, I> {
        let extent = self.clone();
        items.inspect(move |_| extent.advance(1))
    }
}

/// An input whose bytes are the work.
#[derive(Debug)]
pub(crate) struct Counted<R> {
    pub input: R,
    pub extent: Extent,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = self.input.read(buffer)?;
        self.extent.advance(n_read as u64);
        Ok(n_read)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, n_bytes: usize) {
        self.input.consume(n_bytes);
        self.extent.advance(n_bytes as u64);
    }
}
