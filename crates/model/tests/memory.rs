//! Attention needs no N³·d memory: the full-size model on 118 atoms in under 400 MB, weights and all.
//!
//! One test in its own process, since the peak is the process's.
#![cfg(target_os = "linux")]

use mdet_core::{ForceField, Structure};
use mdet_model::{Frequencies, Model, ModelConfig, NetworkForceField};

#[test]
fn the_full_size_model_on_118_atoms_peaks_below_400_mb() {
    let n = 118;
    let model = Model::random(ModelConfig::published(), Frequencies::Published, 1).unwrap();
    let mut field = NetworkForceField::<f32>::new(model.network().unwrap(), 2).unwrap();
    let positions =
        (0..n).map(|i| [1.4 * (i / 12) as f64, 1.4 * (i % 12) as f64, 0.3 * (i % 5) as f64]).collect();
    let structure = Structure::new(vec![6; n], positions, 0, 1).unwrap();
    let mut forces = vec![[0.0; 3]; n];
    field.forces(&[structure], &mut forces).unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kb: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    // N³·d alone would be 1.3 GB.
    assert!(peak_kb < 400_000, "{peak_kb} kB");
}
