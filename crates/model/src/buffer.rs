//! Working memory that grows when it must and is not cleared when its length changes from group to group.

use mdet_kernels::Real;
use std::ops::{Deref, DerefMut};

/// A slice of the length last asked for. What it holds after [`resized`] is unspecified.
#[derive(Debug, Default)]
pub(crate) struct Buffer<T> {
    /// At least `len` elements.
    memory: Vec<T>,
    len: usize,
}

/// The first `len` elements of a buffer that grows when it must, of any content.
pub(crate) fn resized<T: Real>(buffer: &mut Buffer<T>, len: usize) -> &mut [T] {
    if buffer.memory.len() < len {
        buffer.memory.clear();
        buffer.memory.resize(len, T::ZERO);
    }
    buffer.len = len;
    buffer
}

impl<T> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.memory[..self.len]
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[..self.len]
    }
}
