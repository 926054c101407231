//! Damaged files of every kind, a few thousand of them with fixed seeds: a value or an error of one line, never a panic.
//! `cargo bench -p halocast-data --bench fuzz` goes on for as long as it is told to.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common {
    pub(crate) mod targets;
}

use common::targets::{damage, targets};
use halocast_core::Rng;
use halocast_data::{CmdGrids, describe, read_npy_f64};

const TIMES: usize = 60;

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
            let messages = target.run(&path);
            errors += usize::from(messages[0].is_some());
            for message in messages.into_iter().flatten() {
                assert!(!message.contains('\n') && message.len() < 4000, "{} {i}: {message}", target.name);
            }
        }
        assert!(errors > TIMES / 30, "{}: {errors} errors", target.name);
    }
}

/// What the fuzzer found: line breaks of a file in messages about it (target `npy_fortran`, seed 5, number 113).
#[test]
fn what_was_found_stays_mended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npy");
    let header = "{'descr': '>i\n', 'fortran_order': True, 'shape': (3, 5, 2), }   ";
    let start = [&b"\x93NUMPY\x01\x00"[..], &(header.len() as u16).to_le_bytes()].concat();
    std::fs::write(&path, [&start, header.as_bytes(), &[7; 60]].concat()).unwrap();
    for result in [read_npy_f64(&path).map(drop), describe(&path).map(drop), CmdGrids::open(&path).map(drop)]
    {
        let message = result.unwrap_err().to_string();
        assert!(!message.contains('\n') && message.contains(r">i\n"), "{message}");
    }
}
