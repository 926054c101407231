use super::*;

/// Two gas particles with masses, three of dark matter with one; form 1 or 2, either order, files of equal content.
fn file(named: bool, big: bool, files: i32, double_ids: bool) -> Vec<u8> {
    let order = |b: &[u8]| {
        let mut b = b.to_vec();
        if big {
            b.reverse();
        }
        b
    };
    let mut header = Vec::new();
    for n in [2u32, 3, 0, 0, 0, 0] {
        header.extend(order(&n.to_le_bytes()));
    }
    for m in [0.0f64, 0.5, 0.0, 0.0, 0.0, 0.0] {
        header.extend(order(&m.to_le_bytes()));
    }
    header.extend(order(&0.5f64.to_le_bytes()));
    header.extend(order(&1.0f64.to_le_bytes()));
    header.extend([0; 8]);
    for n in [2u32, 3, 0, 0, 0, 0] {
        header.extend(order(&(n * files.max(1) as u32).to_le_bytes()));
    }
    header.extend([0; 4]);
    header.extend(order(&files.to_le_bytes()));
    for x in [1000.0f64, 0.3, 0.7, 0.7] {
        header.extend(order(&x.to_le_bytes()));
    }
    header.resize(256, 0);
    let floats = |n: usize| (0..n).flat_map(|i| order(&(i as f32).to_le_bytes())).collect::<Vec<u8>>();
    let ids: Vec<u8> =
        (0..5u64)
            .flat_map(|i| {
                if double_ids { order(&(i << 40).to_le_bytes()) } else { order(&(i as u32).to_le_bytes()) }
            })
            .collect();
    let mut bytes = Vec::new();
    for (name, block) in [
        ("HEAD", header),
        ("POS ", floats(15)),
        ("VEL ", floats(15)),
        ("ID  ", ids),
        ("MASS", floats(2)),
        ("U   ", floats(2)),
    ] {
        if named {
            bytes.extend(order(&8u32.to_le_bytes()));
            bytes.extend(name.as_bytes());
            bytes.extend(order(&(block.len() as u32 + 8).to_le_bytes()));
            bytes.extend(order(&8u32.to_le_bytes()));
        }
        let count = order(&(block.len() as u32).to_le_bytes());
        bytes.extend(&count);
        bytes.extend(block);
        bytes.extend(count);
    }
    bytes
}

fn read(bytes: &[u8]) -> Result<Snapshot> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snap_004");
    std::fs::write(&path, bytes).unwrap();
    assert!(!bytes.is_empty());
    read_gadget(&path, &GadgetOptions::default())
}

#[test]
fn both_forms_and_orders_are_read() {
    for (named, big, double_ids) in
        [(false, false, false), (true, false, true), (false, true, true), (true, true, false)]
    {
        let bytes = file(named, big, 1, double_ids);
        assert!(is_gadget(&bytes[..300]), "{named} {big}");
        let snapshot = read(&bytes).unwrap();
        let gas = snapshot.set(Species::Gas).unwrap();
        assert_eq!(gas.vectors("Coordinates").unwrap()[1], [3.0, 4.0, 5.0]);
        assert_eq!(gas.scalars("InternalEnergy").unwrap(), [0.0, 1.0]);
        assert_eq!(snapshot.masses(Species::Gas).unwrap(), [0.0, 1.0]);
        assert_eq!(snapshot.masses(Species::DarkMatter).unwrap(), [0.5; 3]);
        let dm = snapshot.set(Species::DarkMatter).unwrap();
        assert_eq!(dm.vectors("Velocities").unwrap()[2], [12.0, 13.0, 14.0]);
        let FieldValues::U64(ids) = &dm.field("ParticleIDs").unwrap().values else { panic!() };
        assert_eq!(ids[[2]], if double_ids { 4 << 40 } else { 4 });
        assert_eq!((snapshot.header.box_size, snapshot.header.time), (1000.0, 0.5));
        assert!(snapshot.warnings.is_empty());
    }
}

#[test]
fn many_files_are_one_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..3 {
        std::fs::write(dir.path().join(format!("snap_004.{i}")), file(false, false, 3, false)).unwrap();
    }
    let options = GadgetOptions { length: Unit::mpc_h(), ..Default::default() };
    let snapshot = read_gadget(dir.path().join("snap_004.1"), &options).unwrap();
    assert_eq!(snapshot.set(Species::Gas).unwrap().len(), 6);
    assert!((snapshot.header.box_size / 1e6 - 1.0).abs() < 1e-12);
    assert_eq!(snapshot.set(Species::Gas).unwrap().field("Coordinates").unwrap().unit.label, "Mpc/h");
    std::fs::remove_file(dir.path().join("snap_004.2")).unwrap();
    let message = read_gadget(dir.path().join("snap_004.1"), &options).unwrap_err().to_string();
    assert!(message.contains("chunk 2 of 3 missing") && message.contains("promises 6"), "{message}");
}

#[test]
fn damaged_files_are_errors() {
    let good = file(false, false, 1, false);
    let change = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        read(&changed).unwrap_err().to_string()
    };
    for (message, part) in [
        (change(0, &[9]), "first count"),
        (change(260, &[9]), "count behind block header"),
        (change(4, &i32::MAX.to_le_bytes()), "Coordinates"),
        (change(4 + 72, &f64::NAN.to_le_bytes()), "time"),
        (change(4 + 24, &(-1f64).to_le_bytes()), "mass table"),
        (change(4 + 124, &(-1i32).to_le_bytes()), "num_files"),
        (change(264, &[200]), "block Coordinates"),
        (read(&good[..good.len() - 3]).unwrap_err().to_string(), "truncated"),
        (read(&good[..100]).unwrap_err().to_string(), "truncated"),
    ] {
        assert!(message.contains(part) && message.contains("snap_004"), "{part}: {message}");
    }
}
