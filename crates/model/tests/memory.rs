//! A forward pass needs little memory beyond the weights: at most 40·N²·d bytes in f32 for the full-size model.
//!
//! One test in its own process, since the peak is the process's.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use mdet_core::{ForceField, Structure};
use mdet_model::{Frequencies, Model, ModelConfig, NetworkForceField};

/// The largest memory the process has held so far, bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
}

#[test]
fn a_forward_pass_on_118_atoms_needs_no_more_than_40_bytes_per_edge_and_channel() {
    let n = 118;
    let config = ModelConfig::published();
    let d = config.width;
    let model = Model::random(config, Frequencies::Published, 1).unwrap();
    let mut field = NetworkForceField::<f32>::new(model.network().unwrap(), 2).unwrap();
    let positions =
        (0..n).map(|i| [1.4 * (i / 12) as f64, 1.4 * (i % 12) as f64, 0.3 * (i % 5) as f64]).collect();
    let structure = Structure::new(vec![6; n], positions, 0, 1).unwrap();
    let mut forces = vec![[0.0; 3]; n];
    let before = peak();
    field.forces(&[structure], &mut forces).unwrap();
    let needed = peak() - before;
    // q, k, v1, v2, x, the gathered rows and the next x are 28; N³·d alone would be 472.
    assert!(needed < 40 * n * n * d, "{} bytes per edge and channel", needed as f64 / (n * n * d) as f64);
}
