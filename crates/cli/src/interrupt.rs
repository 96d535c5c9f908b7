//! Ctrl-C as a flag that long work looks at after every step.

use crate::AnyError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that Ctrl-C and termination raise; the second time ends the program at once.
pub(crate) fn flag() -> Result<Arc<AtomicBool>, AnyError> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&flag);
    ctrlc::set_handler(move || {
        if raised.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })?;
    Ok(flag)
}
