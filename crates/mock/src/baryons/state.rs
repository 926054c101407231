//! Gas, stars and black holes as arrays, one entry a particle.

/// The group and the subhalo, of the group, that a particle belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The group; `u32::MAX` for none.
    pub group: u32,
    /// The subhalo, counted within the group; `u32::MAX` for none.
    pub subhalo: u32,
}

impl Owner {
    /// Of no group.
    pub const NONE: Self = Self { group: u32::MAX, subhalo: u32::MAX };
}

/// Gas. Lengths are comoving Mpc/h, velocities peculiar km/s, masses Msun/h; what is local is physical.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GasCells {
    /// Comoving positions in Mpc/h.
    pub positions: Vec<[f32; 3]>,
    /// Peculiar velocities in km/s.
    pub velocities: Vec<[f32; 3]>,
    /// Masses in Msun/h.
    pub masses: Vec<f32>,
    /// Physical density in h^2 Msun / kpc^3.
    pub density: Vec<f32>,
    /// Temperature in K.
    pub temperature: Vec<f32>,
    /// Physical pressure in h^2 Msun (km/s)^2 / kpc^3.
    pub pressure: Vec<f32>,
    /// Physical number density of electrons in h^2 / cm^3.
    pub electrons: Vec<f32>,
    /// Neutral fraction of hydrogen.
    pub neutral: Vec<f32>,
    /// Mass fraction of metals.
    pub metallicity: Vec<f32>,
    /// Mass of magnesium over mass of iron.
    pub magnesium_to_iron: Vec<f32>,
    /// Physical magnetic field in Gauss.
    pub magnetic_field: Vec<[f32; 3]>,
    /// Star formation rate in Msun/yr.
    pub star_formation: Vec<f32>,
    /// Where each belongs.
    pub owner: Vec<Owner>,
}

impl GasCells {
    /// The number of cells.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }
}

/// Stars, in the units of [`GasCells`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stars {
    /// Comoving positions in Mpc/h.
    pub positions: Vec<[f32; 3]>,
    /// Peculiar velocities in km/s.
    pub velocities: Vec<[f32; 3]>,
    /// Masses in Msun/h.
    pub masses: Vec<f32>,
    /// Mass fraction of metals.
    pub metallicity: Vec<f32>,
    /// Scale factor at formation.
    pub formation: Vec<f32>,
    /// Where each belongs.
    pub owner: Vec<Owner>,
}

/// Black holes, in the units of [`GasCells`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlackHoles {
    /// Comoving positions in Mpc/h.
    pub positions: Vec<[f32; 3]>,
    /// Peculiar velocities in km/s.
    pub velocities: Vec<[f32; 3]>,
    /// Masses in Msun/h.
    pub masses: Vec<f32>,
    /// Accretion rate in Msun/yr.
    pub accretion: Vec<f32>,
    /// Where each belongs.
    pub owner: Vec<Owner>,
}
