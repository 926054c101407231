//! The fields that can be projected, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// What a map shows.
///
/// Densities are per area, (Msun/h) / (Mpc/h)^2; means are weighted by mass: the ratio of two projections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Quantity {
    /// Gas.
    Gas,
    /// Dark matter.
    DarkMatter,
    /// Stars, without wind particles.
    Stars,
    /// All matter: gas, dark matter, stars with wind, black holes.
    Total,
    /// Atomic hydrogen.
    Hi,
    /// Molecular hydrogen.
    H2,
    /// Brightness temperature of the 21 cm line in mK, the mean over the projected depth.
    Brightness21cm,
    /// Temperature of gas in K.
    Temperature,
    /// Pressure of gas in h^2 Msun (km/s)^2 / kpc^3, comoving.
    Pressure,
    /// Metal mass fraction of gas.
    Metallicity,
    /// Mass of magnesium over mass of iron in gas.
    MagnesiumOverIron,
    /// Column of free electrons in h^2 cm^-3 (Mpc/h), comoving.
    Electrons,
    /// Speed of gas in km/s.
    GasSpeed,
    /// Speed of dark matter in km/s.
    DarkMatterSpeed,
    /// Velocity of gas along the line of sight in km/s, positive along the axis.
    LineOfSightVelocity,
    /// Magnetic field strength |B| in G; see [`MagneticConvention`](super::MagneticConvention).
    MagneticField,
    /// Its component along the image's x axis.
    MagneticX,
    /// Its component along the image's y axis.
    MagneticY,
    /// Its component along the line of sight.
    MagneticZ,
    /// Star formation rate in Msun/yr per (Mpc/h)^2.
    StarFormationRate,
    /// Gravitational potential at the gas, in (km/s)^2.
    Potential,
}

impl Quantity {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::Gas,
        Self::DarkMatter,
        Self::Stars,
        Self::Total,
        Self::Hi,
        Self::H2,
        Self::Brightness21cm,
        Self::Temperature,
        Self::Pressure,
        Self::Metallicity,
        Self::MagnesiumOverIron,
        Self::Electrons,
        Self::GasSpeed,
        Self::DarkMatterSpeed,
        Self::LineOfSightVelocity,
        Self::MagneticField,
        Self::MagneticX,
        Self::MagneticY,
        Self::MagneticZ,
        Self::StarFormationRate,
        Self::Potential,
    ];

    /// The thirteen fields of the CAMELS Multifield Dataset, in the order of its documentation.
    pub const CMD: [Self; 13] = [
        Self::Gas,
        Self::GasSpeed,
        Self::Temperature,
        Self::Pressure,
        Self::Metallicity,
        Self::Hi,
        Self::Electrons,
        Self::MagneticField,
        Self::MagnesiumOverIron,
        Self::DarkMatter,
        Self::DarkMatterSpeed,
        Self::Stars,
        Self::Total,
    ];

    /// The name on the command line, and the name in the files of the CAMELS Multifield Dataset or one in its manner.
    pub fn names(self) -> [&'static str; 2] {
        match self {
            Self::Gas => ["gas", "Mgas"],
            Self::DarkMatter => ["dm", "Mcdm"],
            Self::Stars => ["stars", "Mstar"],
            Self::Total => ["total", "Mtot"],
            Self::Hi => ["hi", "HI"],
            Self::H2 => ["h2", "H2"],
            Self::Brightness21cm => ["21cm", "T21"],
            Self::Temperature => ["temperature", "T"],
            Self::Pressure => ["pressure", "P"],
            Self::Metallicity => ["metallicity", "Z"],
            Self::MagnesiumOverIron => ["mgfe", "MgFe"],
            Self::Electrons => ["electrons", "ne"],
            Self::GasSpeed => ["velocity", "Vgas"],
            Self::DarkMatterSpeed => ["dm_velocity", "Vcdm"],
            Self::LineOfSightVelocity => ["vlos", "Vlos"],
            Self::MagneticField => ["bfield", "B"],
            Self::MagneticX => ["bx", "Bx"],
            Self::MagneticY => ["by", "By"],
            Self::MagneticZ => ["bz", "Bz"],
            Self::StarFormationRate => ["sfr", "SFR"],
            Self::Potential => ["potential", "Phi"],
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.names()[0])
    }
}

impl FromStr for Quantity {
    type Err = Error;

    /// Either of its names, in any case.
    fn from_str(name: &str) -> Result<Self, Error> {
        let is = |q: &Self| q.names().iter().any(|n| n.eq_ignore_ascii_case(name));
        Self::ALL.into_iter().find(is).ok_or_else(|| Error::Value {
            operation: "projection",
            what: "the field".into(),
            expected: "gas, dm, stars, total, hi, h2, 21cm, temperature, pressure, metallicity, mgfe, electrons, \
                       velocity, dm_velocity, vlos, bfield, bx, by, bz, sfr, potential or a name of the CAMELS maps",
            got: format!("{name:?}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_understood() {
        for quantity in Quantity::ALL {
            for name in quantity.names() {
                assert_eq!(name.parse::<Quantity>().unwrap(), quantity);
            }
        }
        let message = "colour".parse::<Quantity>().unwrap_err().to_string();
        assert!(message.contains("colour") && message.contains("bfield"), "{message}");
    }
}
