//! Files that no memory holds: sets of grids of 500 GB and of maps of 4 GB, with holes where nothing was written.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use halocast_core::{Dataset, Rng};
use halocast_data::*;

/// An npy file of f32 of this shape, all zero and on no disk, but for the numbers given; `None` where the file system makes
/// none.
fn sparse(dir: &Path, name: &str, shape: &[u64], numbers: &[(u64, f32)]) -> Option<PathBuf> {
    let list: Vec<String> = shape.iter().map(u64::to_string).collect();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", list.join(", "));
    header.push_str(&" ".repeat(118 - header.len() - 1));
    header.push('\n');
    let path = dir.join(name);
    let mut file = File::create(&path).unwrap();
    file.write_all(b"\x93NUMPY\x01\x00\x76\x00").unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let bytes = 128 + 4 * shape.iter().product::<u64>();
    if let Err(error) = file.set_len(bytes) {
        println!("no file of {bytes} bytes here ({error}): not tested");
        return None;
    }
    for (at, number) in numbers {
        file.seek(SeekFrom::Start(128 + 4 * at)).unwrap();
        file.write_all(&number.to_le_bytes()).unwrap();
    }
    Some(path)
}

/// The peak of resident memory, where the system tells it.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) << 10
}

// One test: the peak of memory is the process's.
#[test]
fn files_larger_than_memory_are_read_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let before = peak_bytes();

    let side = 512u64;
    let cell = |grid: u64, x: u64, y: u64, z: u64| ((grid * side + x) * side + y) * side + z;
    let numbers = [(cell(0, 0, 0, 0), 1.5), (cell(777, 3, 500, 17), 2.5), (cell(999, 511, 511, 511), 3.5)];
    let name = "Grids_Mcdm_IllustrisTNG_LH_512_z=0.00.npy";
    if let Some(path) = sparse(dir.path(), name, &[1000, side, side, side], &numbers) {
        assert!(std::fs::metadata(&path).unwrap().len() > 500_000_000_000);
        let grids = CmdGrids::open(&path).unwrap();
        assert_eq!((grids.len(), grids.side()), (1000, 512));
        assert_eq!(grids.view(0).unwrap()[[0, 0, 0]], 1.5);
        assert_eq!(grids.view(777).unwrap()[[3, 500, 17]], 2.5);
        assert_eq!(grids.view(999).unwrap()[[511, 511, 511]], 3.5);
        let mut rng = Rng::new(1);
        for _ in 0..100 {
            let [x, y, z] = [(); 3].map(|()| rng.below(510));
            let part =
                grids.view(rng.below(1000)).unwrap().slice_move(ndarray::s![x..x + 2, y..y + 2, z..z + 2]);
            assert!(part.iter().all(|v| [0.0, 1.5, 2.5, 3.5].contains(v)));
        }
        assert!(matches!(describe(&path).unwrap(), Description::Npy(d) if d.shape == [1000, 512, 512, 512]));
        assert!(peak_bytes() - before < 64 << 20, "{} bytes", peak_bytes() - before);
    }

    let pixel = |map: u64, y: u64, x: u64| (map * 256 + y) * 256 + x;
    let numbers = [(pixel(0, 0, 0), 10.0), (pixel(14_999, 255, 255), 1000.0)];
    let name = "Maps_Mcdm_IllustrisTNG_LH_z=0.00.npy";
    if let Some(path) = sparse(dir.path(), name, &[15_000, 256, 256], &numbers) {
        let maps = CmdMaps::open(&path).unwrap();
        assert_eq!((maps.len(), maps.simulation(14_999)), (15_000, 999));
        // Fitted where it lies, a map at a time: some of them, for the sake of time.
        let some: Vec<usize> = (0..15_000).step_by(1500).chain([14_999]).collect();
        let fitted = maps.fit(&[Step::Log10Above(1.0), Step::MinMax], &some).unwrap();
        for (x, y) in [(0.0, -1.0), (1000.0, 1.0), (31.622_776, 0.0)] {
            assert!((fitted.forward(x) - y).abs() < 1e-7, "{fitted:?}: {x}");
        }
        let dataset = CmdDataset::new(maps, fitted);
        let mut rng = Rng::new(2);
        for _ in 0..4 {
            let mut indices: Vec<usize> = (0..63).map(|_| rng.below(15_000)).collect();
            indices.push(14_999);
            let batch = dataset.batch(&indices, &mut rng).unwrap();
            assert_eq!(batch.fields.shape(), [64, 1, 256, 256]);
            assert_eq!(batch.fields[[63, 0, 255, 255]], 1.0);
        }
        // A batch is 16 MiB.
        assert!(peak_bytes() - before < 80 << 20, "{} bytes", peak_bytes() - before);
    }
}
