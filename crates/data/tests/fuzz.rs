//! Damaged files of every kind, a few thousand of them with fixed seeds: a value or an error of one line, never a panic.
//! `cargo bench -p halocast-data --bench fuzz` goes on for as long as it is told to.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common {
    pub(crate) mod targets;
}

use common::targets::{damage, targets};
use halocast_core::Rng;

const TIMES: usize = 300;

#[test]
fn whole_files_are_read() {
    for target in targets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(target.file);
        std::fs::write(&path, &target.seed).unwrap();
        if let Err(error) = (target.read)(&path) {
            panic!("{}: {error}", target.name);
        }
    }
}

#[test]
fn damaged_files_are_errors_of_one_line() {
    for target in targets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(target.file);
        let mut rng = Rng::new(11).split_named(target.name);
        let mut errors = 0;
        for i in 0..TIMES {
            std::fs::write(&path, damage(&target.seed, &mut rng)).unwrap();
            if let Err(error) = (target.read)(&path) {
                let message = error.to_string();
                assert!(!message.contains('\n') && message.len() < 4000, "{} {i}: {message}", target.name);
                errors += 1;
            }
        }
        assert!(errors > TIMES / 20, "{}: {errors} errors", target.name);
    }
}
