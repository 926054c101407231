//! Event files, read back by a decoder of their own.

#![allow(clippy::unwrap_used, clippy::panic)] // a helper of a test fails as the test does

mod common;

use std::fs;

use common::{Value, events, folder, message, step};
use halocast_train::EventFile;

/// The head of a PNG file of 3 x 2 pixels in RGB.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x03\0\0\0\x02\x08\x02\0\0\0";

fn bytes<'a>(fields: &'a [(u64, Value)], number: u64) -> Vec<&'a [u8]> {
    let pick = |(field, value): &'a (u64, Value)| match value {
        Value::Bytes(bytes) if *field == number => Some(bytes.as_slice()),
        _ => None,
    };
    fields.iter().filter_map(pick).collect()
}

#[test]
fn scalars_and_images_come_back() {
    let folder = folder("board");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("events.out.tfevents.test");
    let mut file = EventFile::open(&path, 0).unwrap();
    file.scalars(300, &[("loss", 0.25), ("rate", -1e-9)]).unwrap();
    file.image(301, "samples", PNG).unwrap();
    assert!(file.image(301, "samples", b"GIF89a").is_err());
    file.flush().unwrap();

    let events = events(&path);
    assert_eq!(events.len(), 3);
    assert_eq!(bytes(&events[0], 3), [b"brain.Event:2"]);
    let Some((1, Value::Fixed64(time))) = events[1].first() else { panic!("{:?}", events[1]) };
    // Some time after this test was written.
    assert!(f64::from_le_bytes(*time) > 1.7e9);

    assert_eq!(step(&events[1]), 300);
    let summary = message(bytes(&events[1], 5)[0]);
    let scalars: Vec<_> = bytes(&summary, 1).into_iter().map(message).collect();
    assert_eq!(scalars.len(), 2);
    for (scalar, (tag, value)) in scalars.iter().zip([("loss", 0.25f32), ("rate", -1e-9)]) {
        assert_eq!(bytes(scalar, 1), [tag.as_bytes()]);
        assert_eq!(scalar[1], (2, Value::Fixed32(value.to_le_bytes())));
    }

    assert_eq!(step(&events[2]), 301);
    let entry = message(bytes(&message(bytes(&events[2], 5)[0]), 1)[0]);
    assert_eq!(bytes(&entry, 1), [b"samples"]);
    let image = message(bytes(&entry, 4)[0]);
    assert_eq!(image[..3], [(1, Value::Number(2)), (2, Value::Number(3)), (3, Value::Number(3))]);
    assert_eq!(bytes(&image, 4), [PNG]);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_resumed_file_has_every_step_once() {
    let folder = folder("board-resumed");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("events.out.tfevents.test");
    let mut file = EventFile::open(&path, 0).unwrap();
    (1..=200).for_each(|step| file.scalars(step, &[("loss", step as f32)]).unwrap());
    drop(file);
    // A crash cut the last event; the saved state is of step 150.
    let all = fs::read(&path).unwrap();
    fs::write(&path, &all[..all.len() - 3]).unwrap();
    let mut file = EventFile::open(&path, 150).unwrap();
    (151..=160).for_each(|step| file.scalars(step, &[("loss", step as f32)]).unwrap());
    file.flush().unwrap();
    let steps: Vec<u64> = events(&path).iter().map(|event| step(event)).collect();
    assert_eq!(steps, (0..=160).collect::<Vec<_>>());
    fs::remove_dir_all(folder).unwrap();
}
