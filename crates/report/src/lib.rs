//! Results of judgements: their files, and the one self-contained HTML report made of them.

pub mod record;

pub use record::{Judgement, Provenance, Record, RecordError};
