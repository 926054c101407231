//! The units of the fields of IllustrisTNG files, and of files that name their fields as these do.
//!
//! A field's unit is read from its own attributes where it has them (snapshots of the data release), and comes from the
//! table of this file where not (group catalogues, trees, cutouts, CAMELS, GADGET-4). Where a file states another system
//! of units, such as Mpc/h for lengths, the table is in that system.

use std::collections::BTreeMap;

use halocast_core::Unit;

use crate::hdf5::Attribute;

/// Units of IllustrisTNG files in cgs: 1 kpc, 10^10 Msun, 1 km/s.
pub(super) const UNIT_LENGTH: f64 = 3.085678e21;
pub(super) const UNIT_MASS: f64 = 1.989e43;
pub(super) const UNIT_VELOCITY: f64 = 1e5;

/// The units of length, mass and velocity of a file, in cgs and without h and a.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct UnitSystem {
    pub length: f64,
    pub mass: f64,
    pub velocity: f64,
}

impl Default for UnitSystem {
    fn default() -> Self {
        Self { length: UNIT_LENGTH, mass: UNIT_MASS, velocity: UNIT_VELOCITY }
    }
}

impl UnitSystem {
    /// The system that the attributes `UnitLength_in_cm`, ... state; `None` where they state none.
    pub(super) fn of(attributes: &BTreeMap<String, Attribute>) -> Option<Self> {
        let number = |key: &str| {
            let value = attributes.get(key).and_then(Attribute::to_f64)?.first().copied()?;
            (value.is_finite() && value > 0.0).then_some(value)
        };
        Some(Self {
            length: number("UnitLength_in_cm")?,
            mass: number("UnitMass_in_g")?,
            velocity: number("UnitVelocity_in_cm_per_s")?,
        })
    }

    /// The factor from its lengths to ckpc/h.
    pub(super) fn to_kpc(self) -> f64 {
        let ratio = self.length / UNIT_LENGTH;
        // Constants of other digits are the same unit.
        if (ratio - 1.0).abs() < 1e-3 { 1.0 } else { ratio }
    }

    /// The factor from its masses to 10^10 Msun/h.
    pub(super) fn to_1e10_msun(self) -> f64 {
        let ratio = self.mass / UNIT_MASS;
        if (ratio - 1.0).abs() < 2e-3 { 1.0 } else { ratio }
    }
}

/// A unit as exponents of length, mass, velocity, a and h.
pub(super) struct Known {
    names: &'static [&'static str],
    label: &'static str,
    /// Exponents of length, mass and velocity.
    pub scaling: [f64; 3],
    a: f64,
    h: f64,
    /// Factor to cgs where it is not the product of the three.
    cgs: Option<f64>,
}

const fn known(
    names: &'static [&'static str],
    label: &'static str,
    scaling: [f64; 3],
    a: f64,
    h: f64,
    cgs: Option<f64>,
) -> Known {
    Known { names, label, scaling, a, h, cgs }
}

/// # Source
/// The documentation of the TNG data release (Nelson et al. 2019, arXiv:1812.05609) and the attributes of its files.
///
/// `MagneticField` is in (h/a^2) sqrt(unit pressure): to_cgs x value is in the Heaviside-Lorentz sense of the code.
const TABLE: &[Known] = &[
    known(
        &[
            "Coordinates",
            "CenterOfMass",
            "BirthPos",
            "SubfindHsml",
            "BH_Hsml",
            "SmoothingLength",
            "StellarHsml",
            "GroupPos",
            "GroupCM",
            "Group_R_Crit200",
            "Group_R_Crit500",
            "Group_R_Mean200",
            "Group_R_TopHat200",
            "SubhaloPos",
            "SubhaloCM",
            "SubhaloHalfmassRad",
            "SubhaloHalfmassRadType",
            "SubhaloVmaxRad",
            "SubhaloStellarPhotometricsRad",
        ],
        "ckpc/h",
        [1.0, 0.0, 0.0],
        1.0,
        -1.0,
        None,
    ),
    known(&["Velocities", "BirthVel"], "km sqrt(a)/s", [0.0, 0.0, 1.0], 0.5, 0.0, None),
    known(
        &[
            "GFM_WindDMVelDisp",
            "SubfindVelDisp",
            "SubhaloVel",
            "SubhaloVelDisp",
            "SubhaloVmax",
            "SubhaloVMax",
        ],
        "km/s",
        [0.0, 0.0, 1.0],
        0.0,
        0.0,
        None,
    ),
    known(&["GroupVel"], "km/s/a", [0.0, 0.0, 1.0], -1.0, 0.0, None),
    known(&["SubhaloSpin"], "(kpc/h) (km/s)", [1.0, 0.0, 1.0], 0.0, -1.0, None),
    known(
        &[
            "Masses",
            "GFM_InitialMass",
            "GFM_WindHostHaloMass",
            "BH_Mass",
            "BH_HostHaloMass",
            "BH_CumMassGrowth_QM",
            "BH_CumMassGrowth_RM",
            "GroupMass",
            "GroupMassType",
            "GroupBHMass",
            "GroupWindMass",
            "Group_M_Crit200",
            "Group_M_Crit500",
            "Group_M_Mean200",
            "Group_M_TopHat200",
            "SubhaloMass",
            "SubhaloMassType",
            "SubhaloMassInHalfRad",
            "SubhaloMassInHalfRadType",
            "SubhaloMassInMaxRad",
            "SubhaloMassInMaxRadType",
            "SubhaloMassInRad",
            "SubhaloMassInRadType",
            "SubhaloBHMass",
            "SubhaloWindMass",
            "SubhaloStellarPhotometricsMassInRad",
            "Mass",
            "MassHistory",
        ],
        "1e10 Msun/h",
        [0.0, 1.0, 0.0],
        0.0,
        -1.0,
        None,
    ),
    known(
        &["Density", "SubfindDensity", "SubfindDMDensity", "BH_Density"],
        "(1e10 Msun/h)/(ckpc/h)^3",
        [-3.0, 1.0, 0.0],
        -3.0,
        2.0,
        None,
    ),
    known(&["InternalEnergy", "BH_U"], "(km/s)^2", [0.0, 0.0, 2.0], 0.0, 0.0, None),
    known(&["Potential"], "(km/s)^2/a", [0.0, 0.0, 2.0], -1.0, 0.0, None),
    known(
        &["MagneticField", "SubhaloBfldDisk", "SubhaloBfldHalo"],
        "(h/a^2) sqrt(unit pressure)",
        [-1.5, 0.5, 1.0],
        -2.0,
        1.0,
        None,
    ),
    known(&["EnergyDissipation"], "(1/a) 1e10 Msun (km/s)^3/ckpc", [-1.0, 1.0, 3.0], -1.0, 0.0, None),
    known(
        &[
            "StarFormationRate",
            "GroupSFR",
            "SubhaloSFR",
            "SubhaloSFRinHalfRad",
            "SubhaloSFRinMaxRad",
            "SubhaloSFRinRad",
        ],
        "Msun/yr",
        [-1.0, 1.0, 1.0],
        0.0,
        0.0,
        Some(6.302_76e25),
    ),
    known(&["SubhaloStellarPhotometrics"], "mag", [0.0; 3], 0.0, 0.0, Some(1.0)),
    // The files give the exponents of length and mass with the wrong sign, and the right factor.
    known(
        &["BH_Mdot", "BH_MdotBondi", "BH_MdotEddington", "GroupBHMdot", "SubhaloBHMdot"],
        "(1e10 Msun/h)/(0.978 Gyr/h)",
        [1.0, -1.0, 1.0],
        0.0,
        0.0,
        Some(6.445_909e26),
    ),
    known(
        &["BH_CumEgyInjection_QM", "BH_CumEgyInjection_RM"],
        "(1e10 Msun/h) (ckpc/h)^2/(0.978 Gyr/h)^2",
        [0.0, 1.0, 2.0],
        2.0,
        -1.0,
        None,
    ),
    known(&["GFM_CoolingRate"], "erg cm^3/s", [0.0; 3], 0.0, 0.0, Some(1.0)),
    known(&["GFM_AGNRadiation"], "erg/(s cm^2)", [-3.0, 1.0, 3.0], 0.0, 0.0, Some(1.0)),
    known(
        &[
            "ParticleIDs",
            "TracerID",
            "ParentID",
            "BH_Progs",
            "ElectronAbundance",
            "NeutralHydrogenAbundance",
            "GFM_Metallicity",
            "GFM_Metals",
            "GFM_MetalsTagged",
            "GFM_StellarFormationTime",
            "GFM_StellarPhotometrics",
            "Machnumber",
            "GroupFirstSub",
            "GroupLen",
            "GroupLenType",
            "GroupNsubs",
            "GroupOffsetType",
            "GroupGasMetalFractions",
            "GroupGasMetallicity",
            "GroupStarMetalFractions",
            "GroupStarMetallicity",
            "GroupAscale",
            "SubhaloFlag",
            "SubhaloGrNr",
            "SubhaloGroupNr",
            "SubhaloIDMostbound",
            "SubhaloIDMostBound",
            "SubhaloLen",
            "SubhaloLenType",
            "SubhaloOffsetType",
            "SubhaloParent",
            "SubhaloParentRank",
            "SubhaloRankInGr",
            "SubhaloGasMetalFractions",
            "SubhaloGasMetalFractionsHalfRad",
            "SubhaloGasMetalFractionsMaxRad",
            "SubhaloGasMetalFractionsSfr",
            "SubhaloGasMetalFractionsSfrWeighted",
            "SubhaloGasMetallicity",
            "SubhaloGasMetallicityHalfRad",
            "SubhaloGasMetallicityMaxRad",
            "SubhaloGasMetallicitySfr",
            "SubhaloGasMetallicitySfrWeighted",
            "SubhaloStarMetalFractions",
            "SubhaloStarMetalFractionsHalfRad",
            "SubhaloStarMetalFractionsMaxRad",
            "SubhaloStarMetallicity",
            "SubhaloStarMetallicityHalfRad",
            "SubhaloStarMetallicityMaxRad",
            "SubhaloNumber",
            "SnapNum",
            "SubfindID",
        ],
        "",
        [0.0; 3],
        0.0,
        0.0,
        Some(1.0),
    ),
];

impl Known {
    fn to_cgs(&self) -> f64 {
        let [l, m, v] = self.scaling;
        self.cgs.unwrap_or_else(|| UNIT_LENGTH.powf(l) * UNIT_MASS.powf(m) * UNIT_VELOCITY.powf(v))
    }

    fn unit(&self) -> Unit {
        Unit::new(self.label, self.to_cgs(), self.a, self.h)
    }

    /// The unit in another system, with a label that says so where that matters.
    fn unit_in(&self, system: UnitSystem) -> Unit {
        let [l, m, v] = self.scaling;
        let same = (l == 0.0 || system.to_kpc() == 1.0)
            && (m == 0.0 || system.to_1e10_msun() == 1.0)
            && (v == 0.0 || (system.velocity / UNIT_VELOCITY - 1.0).abs() < 1e-3);
        if same || self.cgs.is_some() {
            return self.unit();
        }
        let to_cgs = system.length.powf(l) * system.mass.powf(m) * system.velocity.powf(v);
        let mpc = (system.to_kpc() / 1e3 - 1.0).abs() < 1e-3 && system.to_1e10_msun() == 1.0;
        let label = if mpc {
            self.label.replace("kpc", "Mpc")
        } else {
            format!("{to_cgs:e} cgs a^{} h^{}", self.a, self.h)
        };
        Unit::new(label, to_cgs, self.a, self.h)
    }

    /// Whether a unit is this one up to the digits of the constants.
    fn is(&self, unit: &Unit) -> bool {
        (unit.to_cgs / self.to_cgs() - 1.0).abs() < 2e-3 && unit.a == self.a && unit.h == self.h
    }
}

pub(super) fn of_field(name: &str) -> Option<&'static Known> {
    TABLE.iter().find(|known| known.names.contains(&name))
}

/// Whether a unit is the one that the table has for the field.
pub(super) fn is_known(name: &str, unit: &Unit) -> bool {
    of_field(name).is_some_and(|known| known.is(unit) && known.label == unit.label)
}

/// The unit of a field from its attributes, else from the table, else a unit without meaning.
#[cfg(test)]
fn read(name: &str, attributes: &BTreeMap<String, Attribute>) -> Unit {
    read_in(name, attributes, UnitSystem::default())
}

/// The unit of a field from its attributes, else from the table in the file's system, else a unit without meaning.
pub(super) fn read_in(name: &str, attributes: &BTreeMap<String, Attribute>, system: UnitSystem) -> Unit {
    let number = |key: &str| {
        attributes
            .get(key)
            .and_then(Attribute::to_f64)
            .and_then(|v| v.first().copied())
            .filter(|v| v.is_finite())
    };
    let (Some(to_cgs), Some(a), Some(h)) = (number("to_cgs"), number("a_scaling"), number("h_scaling"))
    else {
        return of_field(name)
            .map_or_else(|| Unit::new("unknown", 1.0, 0.0, 0.0), |known| known.unit_in(system));
    };
    // A factor of zero says that the quantity has no dimension.
    let mut unit = Unit::new("", if to_cgs == 0.0 { 1.0 } else { to_cgs }, a, h);
    unit.label = match attributes.get("unit") {
        Some(Attribute::Text(texts)) if texts.len() == 1 => texts[0].clone(),
        _ => label(name, &unit),
    };
    unit
}

/// The label that a unit of a field gets when the file gives none.
fn label(name: &str, unit: &Unit) -> String {
    let dimensionless = unit.to_cgs == 1.0 && unit.a == 0.0 && unit.h == 0.0;
    match of_field(name).filter(|known| known.is(unit)).or_else(|| TABLE.iter().find(|k| k.is(unit))) {
        Some(known) if of_field(name).is_some() || !dimensionless => known.label.to_owned(),
        _ if dimensionless => String::new(),
        _ => format!("{:e} cgs a^{} h^{}", unit.to_cgs, unit.a, unit.h),
    }
}

/// The attributes that give a field its unit.
pub(super) fn write(name: &str, unit: &Unit) -> Vec<(&'static str, Attribute)> {
    let known = of_field(name).filter(|k| k.is(unit)).or_else(|| TABLE.iter().find(|k| k.is(unit)));
    let [length, mass, velocity] = known.map_or([0.0; 3], |k| k.scaling);
    let dimensionless = unit.to_cgs == 1.0 && unit.a == 0.0 && unit.h == 0.0 && unit.label.is_empty();
    let mut attributes = vec![
        ("a_scaling", Attribute::number(unit.a)),
        ("h_scaling", Attribute::number(unit.h)),
        ("length_scaling", Attribute::number(length)),
        ("mass_scaling", Attribute::number(mass)),
        ("to_cgs", Attribute::number(if dimensionless { 0.0 } else { unit.to_cgs })),
        ("velocity_scaling", Attribute::number(velocity)),
    ];
    if label(name, unit) != unit.label {
        attributes.push(("unit", Attribute::text(&unit.label)));
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_magnetic_unit_is_the_documented_one() {
        // 2.60e-6 (h/a^2) in cgs: the factor of the TNG documentation.
        let unit = of_field("MagneticField").map(Known::unit).unwrap();
        assert!((unit.to_cgs - 2.602e-6).abs() < 1e-9, "{}", unit.to_cgs);
    }

    /// The reference names every field of the table, beside the unit of its row.
    #[test]
    fn every_field_is_in_the_reference() {
        const REFERENCE: &str = include_str!("../formats.rs");
        const ENDINGS: [&str; 6] = ["HalfRad", "MaxRad", "Sfr", "SfrWeighted", "Type", ""];
        for name in TABLE.iter().flat_map(|known| known.names) {
            let stem = ENDINGS.iter().find_map(|e| {
                let stem = name.strip_suffix(e)?;
                REFERENCE.contains(&format!("`{stem}`")).then_some(stem)
            });
            assert!(stem.is_some(), "{name} is not described");
        }
        for label in TABLE.iter().map(|known| known.label) {
            assert!(REFERENCE.contains(label), "{label} is not named");
        }
    }

    #[test]
    fn units_survive_their_attributes() {
        for (name, unit) in [
            ("Coordinates", Unit::kpc_h()),
            ("Masses", Unit::msun_h_1e10()),
            ("Velocities", Unit::km_s_sqrt_a()),
            ("ParticleIDs", Unit::dimensionless()),
            ("GFM_CoolingRate", of_field("GFM_CoolingRate").map(Known::unit).unwrap()),
            ("Temperature", Unit::new("K", 1.0, 0.0, 0.0)),
            ("Mystery", Unit::new("furlong", 20116.8, 1.0, 0.5)),
            ("Mystery", Unit::new("1e3 cgs a^0 h^1", 1e3, 0.0, 1.0)),
        ] {
            let attributes = write(name, &unit).into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
            assert_eq!(read(name, &attributes), unit, "{name}");
        }
        assert_eq!(read("Masses", &BTreeMap::new()).label, "1e10 Msun/h");
        assert_eq!(read("Mystery", &BTreeMap::new()).label, "unknown");
    }
}
