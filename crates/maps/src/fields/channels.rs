//! Channel maps of the 21 cm line: a region cut by the frequency at which it is received.

use halocast_core::{Map, PeriodicBox, Snapshot, Species};

use super::brightness::brightness_map;
use super::gas::{Gas, camera, velocities};
use super::{FieldOptions, Quantity};
use crate::region::place;
use crate::telescope::line_frequency;
use crate::{Error, Masses, ProjectOptions, Result, project};

/// One channel of [`channel_maps`].
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// The brightness temperature in mK, the mean over the channel.
    pub map: Map,
    /// The frequency in Hz of its middle, seen from redshift 0.
    pub frequency: f64,
    /// Its width in Hz.
    pub width: f64,
}

/// The brightness temperature of neutral hydrogen in `channels` channels of equal width that cover the region's depth, nearest first.
///
/// A cell at the comoving distance x behind the region's middle, with the peculiar velocity v away from the observer, is received as if it
/// were at s = x + v / (a H(a)) (Kaiser 1987); a is the snapshot's, for the whole region. The observer looks along the axis from its lower
/// end. In a periodic box what moves out of one face comes in at the other; in a cube it leaves the band. Channels are parts of s, and
/// dnu = nu H(a) ds a / c. The thermal width of the line, about 10 km/s, is neglected: let channels be wider.
///
/// # Errors
/// As [`project_field`](super::project_field); [`Error::Value`] for no channels, or a slab, which channels are.
pub fn channel_maps(
    snapshot: &Snapshot,
    channels: usize,
    options: &ProjectOptions,
    fields: &FieldOptions,
) -> Result<Vec<Channel>> {
    let operation = "channel maps";
    let refuse =
        |what: &str, expected, got: String| Err(Error::Value { operation, what: what.into(), expected, got });
    if channels == 0 {
        return refuse("the number of channels", "at least 1", "0".into());
    }
    if options.slab.is_some() {
        return refuse("the slab", "none: channels cut the whole depth", format!("{:?}", options.slab));
    }
    let cosmology = &snapshot.header.cosmology;
    let (a, z) = (snapshot.header.time, snapshot.header.redshift);
    let gas = Gas::new(snapshot, fields)?;
    let hydrogen = gas.hydrogen_masses(fields)?.into_iter().map(|m| m[0]).collect();
    let along = camera(velocities(snapshot, Species::Gas)?, options.rotation, options.axis, 2);
    let mut layers = [gas.layer(vec![hydrogen])];
    let projection = place(snapshot, &mut layers, options)?;
    let [layer] = layers;
    let depth = options.axis.depth();
    let side = projection.sides[depth];
    // Mpc/h per km/s: H0 is 100 h km/s/Mpc.
    let stretch = 1.0 / (a * 100.0 * cosmology.e(a));
    let periodic = projection.periodic.then(|| PeriodicBox::new(side)).transpose()?;
    let channel_of: Vec<Option<usize>> = layer
        .positions
        .iter()
        .zip(&along)
        .map(|(p, v)| {
            let s = p[depth] - projection.origin[depth] + v * stretch;
            let s = periodic.map_or(s, |b| b.wrap(s)) / side * channels as f64;
            (s >= 0.0 && s < channels as f64).then_some(s as usize)
        })
        .collect();
    let thick = side / channels as f64;
    let nu = line_frequency(z);
    // A comoving depth ds in Mpc/h is a redshift of H ds / c.
    let per_length = 100.0 * cosmology.e(a) / halocast_core::SPEED_OF_LIGHT * a;
    (0..channels)
        .map(|channel| {
            let keep: Vec<bool> = channel_of.iter().map(|c| *c == Some(channel)).collect();
            let mut here = layer.clone();
            here.retain(&keep);
            let masses = Masses::Each(&here.amounts[0]);
            let name = Quantity::Hi.names()[1];
            let map =
                project(name, &here.positions, masses, here.radii.as_deref(), &projection, options.method)?;
            let map = brightness_map(&map, thick, cosmology, a)?;
            let behind = (channel as f64 + 0.5) * thick - 0.5 * side;
            Ok(Channel { map, frequency: nu * (1.0 - per_length * behind), width: nu * per_length * thick })
        })
        .collect()
}
