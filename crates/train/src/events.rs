//! Metrics for TensorBoard: a file of events, each a protocol buffer in the framing of TFRecord.
//!
//! ```text
//! length: u64 | masked CRC of the length: u32 | data | masked CRC of the data: u32
//! ```
//!
//! little-endian, with CRC-32C rotated right by 15 bits plus 0xa282ead8. The messages are `tensorflow.Event` and
//! `tensorflow.Summary`, as far as scalars need them.

use crate::Metrics;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, tag = "3")]
    file_version: String,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    // Written even where it is zero: a field of a oneof.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// How a file of events begins.
pub(crate) fn start() -> Vec<u8> {
    framed(&Event { file_version: "brain.Event:2".into(), ..Event::default() })
}

/// One line of metrics as an event.
pub(crate) fn event(metrics: &Metrics) -> Vec<u8> {
    let scalars = [
        ("loss_mev_per_angstrom", metrics.loss_mev_per_angstrom),
        ("gradient_norm", metrics.gradient_norm),
        ("learning_rate", metrics.learning_rate),
        ("structures_per_s", metrics.structures_per_s),
        ("training_mae_mev_per_angstrom", metrics.training_mae_mev_per_angstrom),
        ("validation_mae_mev_per_angstrom", metrics.validation_mae_mev_per_angstrom),
    ];
    let value = scalars
        .into_iter()
        .filter_map(|(tag, value)| Some(Value { tag: tag.into(), simple_value: Some(value? as f32) }))
        .collect();
    let summary = Some(Summary { value });
    framed(&Event { wall_time: metrics.unix_time_s, step: metrics.step as i64, summary, ..Event::default() })
}

fn framed(event: &Event) -> Vec<u8> {
    let masked = |bytes: &[u8]| crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8);
    let data = event.encode_to_vec();
    let length = (data.len() as u64).to_le_bytes();
    let (of_length, of_data) = (masked(&length).to_le_bytes(), masked(&data).to_le_bytes());
    [&length[..], &of_length, &data, &of_data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_begins_as_tensorboards_own_do() {
        // The first record of any file that TensorFlow writes, but for its time, which is 0 and so left out here.
        let bytes = start();
        assert_eq!(bytes[..8], 15_u64.to_le_bytes());
        assert_eq!(&bytes[12..27], b"\x1a\x0dbrain.Event:2");
        // Read back by the framing's own rule.
        let crc = u32::from_le_bytes([bytes[27], bytes[28], bytes[29], bytes[30]]);
        assert_eq!(crc.wrapping_sub(0xa282_ead8).rotate_left(15), crc32c::crc32c(&bytes[12..27]));
    }

    #[test]
    fn an_event_holds_what_was_measured_and_no_more() {
        let metrics = Metrics { step: 7, unix_time_s: 2.5, gradient_norm: Some(0.0), ..Metrics::default() };
        let bytes = event(&metrics);
        let read = Event::decode(&bytes[12..bytes.len() - 4]).expect("an event");
        assert_eq!((read.step, read.wall_time), (7, 2.5));
        let values = read.summary.expect("a summary").value;
        assert_eq!(values, [Value { tag: "gradient_norm".into(), simple_value: Some(0.0) }]);
    }
}
