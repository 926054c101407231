//! The programs of `docs/science`: each asks one question of the papers it names, and prints the answer in numbers.

pub mod emulator;
