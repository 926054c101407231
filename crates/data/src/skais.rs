//! Map files of skais-mapper: many images of each domain with their metadata, in one HDF5 file.
//!
//! # Source
//! skais-mapper's `Img2H5Buffer` and its data sets (Denzel et al. 2025, arXiv:2510.23768): `/{group}/images` of
//! `[image, y, x]`, gzip and shuffle, one image a chunk; `/{group}/metadata/{0000}` with attributes `class`, `gid`,
//! `snapshot`, `units`, `extent` (left, right, bottom, top), `units_extent`, `name`, `num_particles`, `rotxy`, ... Groups are
//! `gas`, `hi`, `hi/21cm`, `temp`, `bfield`, `star`, `dm`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use halocast_core::{FieldValues, Map, Unit};
use ndarray::{Array3, Axis};

use crate::hdf5::{Attribute, Hdf5Read, Storage, create_hdf5, open_hdf5};
use crate::{Error, Result};

/// Names of lengths in metadata and what they are.
const LENGTHS: [(&str, f64); 3] =
    [("Mpc", 3.085_677_581_491_367e24), ("kpc", 3.085_677_581_491_367e21), ("pc", 3.085_677_581_491_367e18)];
/// Names of groups within groups that are followed.
const DEPTH_LIMIT: usize = 4;

/// One image with what its metadata say.
#[derive(Clone, Debug, PartialEq)]
pub struct SkaisImage {
    /// The map; its sides are those of `extent`.
    pub map: Map,
    /// The attributes of its metadata: `gid`, `snapshot`, `name`, `rotxy`, ...
    pub metadata: BTreeMap<String, Attribute>,
}

impl SkaisImage {
    /// The number of the galaxy's group, where the metadata give it.
    pub fn gid(&self) -> Option<u64> {
        self.metadata.get("gid").and_then(Attribute::to_u64).and_then(|v| v.first().copied())
    }

    /// The number of the snapshot, where the metadata give it.
    pub fn snapshot(&self) -> Option<u64> {
        self.metadata.get("snapshot").and_then(Attribute::to_u64).and_then(|v| v.first().copied())
    }
}

/// An open file of images.
pub struct SkaisFile {
    path: PathBuf,
    file: Box<dyn Hdf5Read>,
    /// The groups with images: number, height, width.
    groups: BTreeMap<String, [usize; 3]>,
}

impl SkaisFile {
    /// Opens a file and finds its groups of images.
    ///
    /// # Errors
    /// The errors of HDF5; [`Error::Absent`] when no group has a dataset `images`; [`Error::Invalid`] when one has another
    /// form than `[image, y, x]`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = open_hdf5(path)?;
        let mut groups = BTreeMap::new();
        find(&*file, "", 0, &mut groups)?;
        if groups.is_empty() {
            let available = file.groups("")?.join(", ");
            let field = "group with a dataset images".to_owned();
            return Err(Error::Absent { path: path.to_path_buf(), field, available });
        }
        Ok(Self { path: path.to_path_buf(), file, groups })
    }

    /// The groups that have images.
    pub fn groups(&self) -> Vec<&str> {
        self.groups.keys().map(String::as_str).collect()
    }

    /// The shape of a group's images, `[image, y, x]`.
    ///
    /// # Errors
    /// [`Error::Absent`] when there is no such group.
    pub fn shape(&self, group: &str) -> Result<[usize; 3]> {
        self.groups.get(group).copied().ok_or_else(|| Error::Absent {
            path: self.path.clone(),
            field: format!("group {group:?} with images"),
            available: self.groups().join(", "),
        })
    }

    /// Image `i` of a group with its metadata. Without `extent` the unit of lengths is the pixel.
    ///
    /// # Errors
    /// [`Error::Absent`]; [`Error::Invalid`] when there is no such image or its extent cannot be.
    pub fn image(&self, group: &str, i: usize) -> Result<SkaisImage> {
        let [count, ny, nx] = self.shape(group)?;
        let dataset = format!("{group}/images");
        if i >= count {
            let field = format!("number of the image in {group}");
            return Err(Error::invalid(&self.path, field, format!("below {count}"), i.to_string()));
        }
        let mut values = vec![0f32; ny * nx];
        self.file.read_into(&dataset, i..i + 1, crate::hdf5::NumbersMut::F32(&mut values))?;
        let values = ndarray::Array2::from_shape_vec((ny, nx), values)
            .map_err(|e| Error::invalid(&self.path, &dataset, "[image, y, x]", e.to_string()))?;
        let metadata = self.metadata(group, i)?;
        let text = |key: &str| match metadata.get(key) {
            Some(Attribute::Text(texts)) => {
                texts.first().map(|t| t.trim().to_owned()).filter(|t| !t.is_empty())
            }
            _ => None,
        };
        let (extent, length_unit) = match metadata.get("extent").and_then(Attribute::to_f64).as_deref() {
            Some(&[left, right, bottom, top]) => {
                let sides = [(top - bottom).abs(), (right - left).abs()];
                if sides.iter().any(|s| !s.is_finite() || *s == 0.0) {
                    let field = format!("extent of image {i} of {group}");
                    let got = format!("{:?}", [left, right, bottom, top]);
                    return Err(Error::invalid(&self.path, field, "left, right, bottom, top", got));
                }
                let label = text("units_extent").unwrap_or_else(|| "unknown".into());
                let to_cgs = LENGTHS.iter().find(|(name, _)| *name == label).map_or(1.0, |(_, cm)| *cm);
                (sides, Unit::new(label, to_cgs, 0.0, 0.0))
            }
            _ => ([ny as f64, nx as f64], Unit::new("pixel", 1.0, 0.0, 0.0)),
        };
        let unit = text("units")
            .map_or_else(|| Unit::new("unknown", 1.0, 0.0, 0.0), |u| Unit::new(u, 1.0, 0.0, 0.0));
        let map = Map { values, extent, length_unit, unit, field: group.to_owned(), periodic: false };
        Ok(SkaisImage { map, metadata })
    }

    /// The metadata of an image; empty where the file has none.
    fn metadata(&self, group: &str, i: usize) -> Result<BTreeMap<String, Attribute>> {
        let folder = format!("{group}/metadata");
        if !self.file.groups(group)?.iter().any(|g| g == "metadata") {
            return Ok(BTreeMap::new());
        }
        let mut names = self.file.groups(&folder)?;
        names.extend(self.file.datasets(&folder)?);
        // Numbers of four digits, or more where there are more images.
        match names.iter().find(|n| n.parse() == Ok(i)) {
            Some(name) => self.file.attributes(&format!("{folder}/{name}")),
            None => Ok(BTreeMap::new()),
        }
    }
}

fn find(
    file: &dyn Hdf5Read,
    group: &str,
    depth: usize,
    found: &mut BTreeMap<String, [usize; 3]>,
) -> Result<()> {
    let child = |name: &str| if group.is_empty() { name.to_owned() } else { format!("{group}/{name}") };
    if !group.is_empty() && file.datasets(group)?.iter().any(|d| d == "images") {
        let dataset = child("images");
        match file.info(&dataset)?.shape[..] {
            [n, ny, nx] if ny > 0 && nx > 0 => {
                found.insert(group.to_owned(), [n, ny, nx]);
            }
            ref shape => {
                let got = format!("{shape:?}");
                return Err(Error::invalid(file.path(), format!("shape of {dataset}"), "[image, y, x]", got));
            }
        }
    }
    if depth < DEPTH_LIMIT {
        for name in file.groups(group)?.iter().filter(|n| *n != "metadata") {
            find(file, &child(name), depth + 1, found)?;
        }
    }
    Ok(())
}

/// Writes images in this layout, whole or not at all: group by group, each of one shape.
///
/// Metadata that the map itself tells (`extent`, `units`, `units_extent`, `class`) are added where they are not given.
///
/// # Errors
/// [`Error::Invalid`] when a group is empty or its images differ in shape; [`Error::Hdf5`]; [`Error::Core`] when the file
/// cannot be moved to its place.
pub fn write_skais(path: impl AsRef<Path>, groups: &[(&str, &[SkaisImage])]) -> Result<()> {
    let path = path.as_ref();
    let mut file = create_hdf5(path)?;
    for (group, images) in groups {
        let Some(first) = images.first() else {
            return Err(Error::invalid(path, format!("images of {group}"), "at least 1", "0"));
        };
        let [ny, nx] = first.map.shape();
        let mut values = Array3::zeros((images.len(), ny, nx));
        for (i, image) in images.iter().enumerate() {
            if image.map.shape() != [ny, nx] {
                let (expected, got) = (format!("[{ny}, {nx}]"), format!("{:?}", image.map.shape()));
                return Err(Error::invalid(path, format!("shape of image {i} of {group}"), expected, got));
            }
            values.index_axis_mut(Axis(0), i).assign(&image.map.values);
        }
        file.create_group(&format!("{group}/metadata"))?;
        let storage = Storage::Gzip { rows: 1, level: 4 };
        file.write_dataset(&format!("{group}/images"), &FieldValues::F32(values.into_dyn()), storage)?;
        for (i, image) in images.iter().enumerate() {
            let object = format!("{group}/metadata/{i:04}");
            file.create_group(&object)?;
            let [height, width] = image.map.extent;
            let mut metadata = BTreeMap::from([
                ("class".to_owned(), Attribute::text(*group)),
                (
                    "extent".to_owned(),
                    Attribute::F64(vec![-width / 2.0, width / 2.0, -height / 2.0, height / 2.0]),
                ),
                ("units".to_owned(), Attribute::text(&image.map.unit.label)),
                ("units_extent".to_owned(), Attribute::text(&image.map.length_unit.label)),
            ]);
            metadata.extend(image.metadata.clone());
            for (name, value) in metadata {
                file.set_attribute(&object, &name, &value)?;
            }
        }
    }
    file.finish()
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    fn image(i: usize, side: usize) -> SkaisImage {
        let values = Array2::from_shape_fn((side, side), |(y, x)| (100 * i + 10 * y + x) as f32);
        let map = Map {
            values,
            extent: [30.0, 40.0],
            length_unit: Unit::new("kpc", LENGTHS[1].1, 0.0, 0.0),
            unit: Unit::new("Msun/kpc2", 1.0, 0.0, 0.0),
            field: "hi/21cm".into(),
            periodic: false,
        };
        let metadata = BTreeMap::from([
            ("gid".to_owned(), Attribute::I64(vec![7 + i as i64])),
            ("snapshot".to_owned(), Attribute::I64(vec![99])),
        ]);
        SkaisImage { map, metadata }
    }

    #[test]
    fn images_come_back_with_their_metadata() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tng50-1.99.2D.hdf5");
        let images: Vec<SkaisImage> = (0..12).map(|i| image(i, 8)).collect();
        let gas: Vec<SkaisImage> = images[..2]
            .iter()
            .map(|i| SkaisImage { map: Map { field: "gas".into(), ..i.map.clone() }, ..i.clone() })
            .collect();
        write_skais(&path, &[("gas", &gas), ("hi/21cm", &images)]).unwrap();
        let file = SkaisFile::open(&path).unwrap();
        assert_eq!(file.groups(), ["gas", "hi/21cm"]);
        assert_eq!(file.shape("hi/21cm").unwrap(), [12, 8, 8]);
        let back = file.image("hi/21cm", 11).unwrap();
        assert_eq!(back.map, images[11].map);
        assert_eq!((back.gid(), back.snapshot()), (Some(18), Some(99)));
        assert_eq!(file.image("gas", 1).unwrap().map.field, "gas");
        assert!(file.image("gas", 2).unwrap_err().to_string().contains("below 2"));
        assert!(file.image("dm", 0).err().unwrap().to_string().contains("gas, hi/21cm"));
    }

    #[test]
    fn other_files_and_shapes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.hdf5");
        assert!(write_skais(&path, &[("gas", &[image(0, 8), image(1, 9)])]).is_err());
        assert!(write_skais(&path, &[("gas", &[])]).is_err());
        assert!(!path.exists());
        let mut file = create_hdf5(&path).unwrap();
        file.create_group("Header").unwrap();
        file.finish().unwrap();
        assert!(SkaisFile::open(&path).err().unwrap().to_string().contains("images"));
        let mut file = create_hdf5(&path).unwrap();
        file.create_group("gas").unwrap();
        let flat = FieldValues::F32(Array2::ones((3, 3)).into_dyn());
        file.write_dataset("gas/images", &flat, Storage::Contiguous).unwrap();
        file.finish().unwrap();
        assert!(SkaisFile::open(&path).err().unwrap().to_string().contains("[3, 3]"));
    }
}
