//! The `mdet` command.
fn main() {}
