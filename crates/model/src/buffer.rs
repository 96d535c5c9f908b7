//! Working memory that grows when it must and is not cleared when its length changes from group to group.
//!
//! It starts on a boundary of the longest vector, and so do its rows where their length is a multiple of one: a vector
//! that crosses such a boundary takes twice as long.

use mdet_kernels::Real;
use std::ops::{Deref, DerefMut};

/// Bytes of the longest vector, and of a line of a cache.
const ALIGNMENT: usize = 64;

/// A slice of the length last asked for. What it holds after [`resized`] is unspecified.
#[derive(Debug, Default)]
pub(crate) struct Buffer<T> {
    /// At least `len` elements after the first boundary.
    memory: Vec<T>,
    /// The first boundary.
    start: usize,
    len: usize,
}

/// On a boundary too, wherever the copy's memory begins.
impl<T: Clone> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        let padding = ALIGNMENT / size_of::<T>();
        let mut memory: Vec<T> = Vec::with_capacity(self.len + padding);
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(padding);
        memory.extend(self.memory.iter().take(start).cloned());
        memory.extend_from_slice(self);
        Self { start: memory.len() - self.len, memory, len: self.len }
    }
}

/// The first `len` elements of a buffer that grows when it must, of any content.
pub(crate) fn resized<T: Real>(buffer: &mut Buffer<T>, len: usize) -> &mut [T] {
    if buffer.memory.len() < buffer.start + len {
        let padding = ALIGNMENT / size_of::<T>();
        buffer.memory = vec![T::ZERO; len + padding];
        buffer.start = buffer.memory.as_ptr().align_offset(ALIGNMENT).min(padding);
    }
    buffer.len = len;
    buffer
}

/// Bytes that some buffers hold.
pub(crate) fn n_bytes<'a, T: 'a>(buffers: impl IntoIterator<Item = &'a Buffer<T>>) -> usize {
    buffers.into_iter().map(|buffer| size_of::<T>() * buffer.memory.len()).sum()
}

impl<T> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.start..self.start + self.len]
    }
}
