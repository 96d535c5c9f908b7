//! Results of judgements: their files, and the one self-contained HTML report made of them.

mod learning;
mod page;
mod paper;
mod plot;
pub mod record;
mod sections;

pub use learning::learning_curves;
pub use page::html;
pub use record::{Judgement, Provenance, Record, RecordError, View};
