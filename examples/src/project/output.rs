//! Maps in files: npy, FITS, HDF5, PNG.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use halocast::core::{FieldValues, Map};
use halocast::data::{Attribute, FitsAxes, FitsCard, Storage, create_hdf5, write_fits_map, write_npy};
use halocast::maps::fields::Quantity;
use serde_json::Value;

use super::Shown;
use super::plot::{Labels, figure};
use crate::picture::{Colours, Scale};

/// How figures look; what is not said follows from the field.
#[derive(Clone, Default)]
pub struct Style {
    /// The colours.
    pub colours: Option<Colours>,
    /// The values at the ends of the scale.
    pub range: Option<[f64; 2]>,
    /// Whether the scale is logarithmic.
    pub logarithmic: Option<bool>,
}

/// The kinds of files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Npy,
    Fits,
    Hdf5,
    Png,
}

/// The kind of a path by its ending.
pub(super) fn kind(path: &Path) -> Result<Kind> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("npy") => Ok(Kind::Npy),
        Some("fits" | "fit") => Ok(Kind::Fits),
        Some("hdf5" | "h5") => Ok(Kind::Hdf5),
        Some("png") => Ok(Kind::Png),
        _ => bail!("--out {}: expected an ending npy, fits, hdf5 or png", path.display()),
    }
}

/// Writes all maps; into one HDF5 file, else into one file each, whose name gets the field's where there are several.
pub(super) fn write(path: &Path, shown: &[Shown], style: &Style) -> Result<Vec<PathBuf>> {
    let kind = kind(path)?;
    if kind == Kind::Hdf5 {
        hdf5(path, shown)?;
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for one in shown {
        let path = match shown.len() {
            1 => path.to_path_buf(),
            _ => {
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                let ending = path.extension().unwrap_or_default().to_string_lossy();
                path.with_file_name(format!("{name}-{}.{ending}", one.map.field))
            }
        };
        match kind {
            Kind::Npy => write_npy(&path, &one.map.values)?,
            Kind::Fits => fits(&path, one)?,
            Kind::Png | Kind::Hdf5 => png(&path, one, style)?,
        }
        files.push(path);
    }
    Ok(files)
}

fn fits(path: &Path, shown: &Shown) -> Result<()> {
    // FITS has no unit with an h in it: lengths are comoving Mpc.
    let scale = shown.mpc.unwrap_or(1.0);
    let axes = FitsAxes {
        names: ["Y".into(), "X".into()],
        unit: if shown.mpc.is_some() { "Mpc".into() } else { String::new() },
        origin: shown.corner.map(|x| x * scale),
        extent: shown.map.extent.map(|x| x * scale),
    };
    let key = |name: &str| match name {
        "redshift" => Some("REDSHIFT"),
        "scale_factor" => Some("TIME"),
        "hubble_parameter" => Some("HUBBLE"),
        "omega_m" => Some("OMEGA_M"),
        "line_of_sight" => Some("LOS"),
        "method" => Some("METHOD"),
        "particles" => Some("NPART"),
        _ => None,
    };
    let mut cards: Vec<FitsCard> = Vec::new();
    for (name, value) in &shown.facts {
        let Some(key) = key(name) else { continue };
        let (value, is_text) = match value {
            Value::String(text) => (text.clone(), true),
            other => (other.to_string(), false),
        };
        cards.push(FitsCard { key: key.into(), value, is_text });
    }
    cards.push(FitsCard { key: "CREATOR".into(), value: "halocast project".into(), is_text: true });
    Ok(write_fits_map(path, &shown.map, &axes, &cards)?)
}

/// A dataset for each field, with its unit and extent as attributes.
fn hdf5(path: &Path, shown: &[Shown]) -> Result<()> {
    let mut file = create_hdf5(path)?;
    for one in shown {
        let map = &one.map;
        let storage = Storage::Gzip { rows: map.shape()[0].min(64), level: 4 };
        file.write_dataset(&map.field, &FieldValues::F32(map.values.clone().into_dyn()), storage)?;
        let mut set = |name: &str, value: Attribute| file.set_attribute(&map.field, name, &value);
        set("unit", Attribute::Text(vec![map.unit.label.clone()]))?;
        set("to_cgs", Attribute::F64(vec![map.unit.to_cgs]))?;
        set("a_scaling", Attribute::F64(vec![map.unit.a]))?;
        set("h_scaling", Attribute::F64(vec![map.unit.h]))?;
        set("length_unit", Attribute::Text(vec![map.length_unit.label.clone()]))?;
        set("extent", Attribute::F64(map.extent.to_vec()))?;
        set("corner", Attribute::F64(one.corner.to_vec()))?;
        set("periodic", Attribute::U32(vec![u32::from(map.periodic)]))?;
        for (name, value) in &one.facts {
            let numbers =
                |v: &Value| v.as_array().map(|a| a.iter().filter_map(Value::as_f64).collect::<Vec<_>>());
            match value {
                Value::String(text) => set(name, Attribute::Text(vec![text.clone()]))?,
                Value::Number(n) => set(name, Attribute::F64(vec![n.as_f64().unwrap_or(f64::NAN)]))?,
                other => set(name, Attribute::F64(numbers(other).unwrap_or_default()))?,
            }
        }
    }
    Ok(file.finish()?)
}

fn png(path: &Path, shown: &Shown, style: &Style) -> Result<()> {
    let map = &shown.map;
    let quantity = map.field.parse::<Quantity>().ok();
    let signed = matches!(
        quantity,
        Some(Quantity::LineOfSightVelocity | Quantity::MagneticX | Quantity::MagneticY | Quantity::MagneticZ)
    );
    let negative = map.values.iter().any(|v| *v < 0.0) || style.range.is_some_and(|[low, _]| low <= 0.0);
    let mut scale = match style.logarithmic.unwrap_or(!negative) {
        true => Scale::logarithmic([map]),
        false => Scale::covering([map]),
    };
    if signed {
        scale = scale.about_zero();
    }
    if let Some([low, high]) = style.range {
        scale = scale.between(low as f32, high as f32);
    }
    let scale = scale.with_colours(style.colours.unwrap_or_else(|| colours(quantity)));
    let labels = lengths(map, shown);
    figure(map, scale, &labels)?.save(path).with_context(|| format!("cannot write {}", path.display()))
}

/// Lengths in the unit that keeps them between 1 and 1000.
fn lengths(map: &Map, shown: &Shown) -> Labels {
    let (mut width, mut length_unit) = (map.extent[1], map.length_unit.label.clone());
    if shown.mpc.is_some() && width < 1.0 {
        (width, length_unit) = (1e3 * width, "ckpc/h".into());
    }
    let unit = map.unit.label.clone();
    Labels { title: shown.title.clone(), unit, length_unit, width }
}

fn colours(quantity: Option<Quantity>) -> Colours {
    use colorous::{CIVIDIS, MAGMA, PLASMA, VIRIDIS};
    match quantity {
        Some(Quantity::DarkMatter | Quantity::DarkMatterSpeed | Quantity::Total) => Colours::DARK,
        Some(Quantity::Stars | Quantity::StarFormationRate) => Colours::STARS,
        Some(Quantity::Hi | Quantity::H2 | Quantity::Brightness21cm) => Colours::HYDROGEN,
        Some(Quantity::Temperature | Quantity::Pressure) => Colours::HEAT,
        Some(Quantity::MagneticField) => Colours::Gradient(PLASMA),
        Some(Quantity::Metallicity | Quantity::MagnesiumOverIron) => Colours::Gradient(VIRIDIS),
        Some(Quantity::Electrons | Quantity::GasSpeed | Quantity::Potential) => Colours::Gradient(CIVIDIS),
        Some(
            Quantity::LineOfSightVelocity | Quantity::MagneticX | Quantity::MagneticY | Quantity::MagneticZ,
        ) => Colours::DIVERGING,
        _ => Colours::Gradient(MAGMA),
    }
}
