//! Trains from a TOML file into a folder: `run CONFIG FOLDER THREADS`.
use std::sync::atomic::AtomicBool;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let config: mdet_train::TrainConfig = toml::from_str(&std::fs::read_to_string(&args[1]).unwrap()).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args[3].parse().unwrap()).build().unwrap();
    pool.install(|| {
        mdet_train::train(&config, std::path::Path::new(&args[2]), &AtomicBool::new(false), &mut |p| println!("{}", serde_json::to_string(p).unwrap())).unwrap()
    });
}
