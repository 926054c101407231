//! Particles to maps: a field of a snapshot, a galaxy or raw arrays, as npy, FITS with coordinates, HDF5 or a figure.
//!
//! ```text
//! cargo run --release --example project -- PATH --field gas,temperature --out maps.png --out maps.fits
//! cargo run --release --example project -- --positions P.npy --smoothing H.npy --box 10 --out map.npy
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use clap::Parser;
use halocast::maps::fields::Quantity;
use halocast_examples::picture::Colours;
use halocast_examples::{console, project};

/// Projects particles to maps.
#[derive(Parser)]
#[command(name = "project")]
struct Arguments {
    /// A snapshot: a folder, or a file. Not with --positions.
    path: Option<PathBuf>,
    /// Fields with commas between them: gas, dm, stars, total, hi, h2, 21cm, temperature, pressure, metallicity, mgfe,
    /// electrons, velocity, dm_velocity, vlos, bfield, bx, by, bz, sfr, potential; the names of the CAMELS maps; or cmd for all
    /// thirteen of those.
    #[arg(long, default_value = "gas")]
    field: String,
    /// How mass is laid on pixels: sph, sphere, ngp, cic, tsc, pcs, wendland, wendland_c2, wendland_c4. Left out: sph for raw
    /// arrays, dark matter and stars, sphere for the others.
    #[arg(long)]
    method: Option<String>,
    /// The neighbour whose distance is the radius of particles without a density.
    #[arg(long, default_value_t = 32)]
    neighbours: usize,
    /// Pixels a side.
    #[arg(long, default_value_t = 256)]
    grid: usize,
    /// The line of sight: x, y or z.
    #[arg(long, default_value = "z")]
    los: String,
    /// The number of a subhalo to show.
    #[arg(long, value_name = "ID", conflicts_with_all = ["centre", "region"])]
    subhalo: Option<usize>,
    /// The group catalogue of --subhalo: a folder or a file. Left out: groups_NNN beside snapdir_NNN.
    #[arg(long, value_name = "PATH")]
    groups: Option<PathBuf>,
    /// Half the side of what is shown of a subhalo, in half-mass radii.
    #[arg(long, default_value_t = 2.0)]
    aperture: f64,
    /// Whose half-mass radius: gas, dm or stars.
    #[arg(long, default_value = "dm")]
    aperture_of: String,
    /// The centre of a cube, Mpc/h: x,y,z.
    #[arg(long, requires = "side", allow_hyphen_values = true)]
    centre: Option<String>,
    /// The side of that cube, Mpc/h.
    #[arg(long)]
    side: Option<f64>,
    /// box, bounding or auto: the periodic box where particles fill it, else the cube about them.
    #[arg(long, default_value = "auto", conflicts_with = "centre")]
    region: String,
    /// The part of the region along the line of sight: from,to in Mpc/h from its near face.
    #[arg(long)]
    slab: Option<String>,
    /// Turns the particles about the region's centre: theta,phi,psi in degrees about x, then y, then z; or random.
    #[arg(long, allow_hyphen_values = true)]
    rotate: Option<String>,
    /// Projects what there is of a snapshot with missing files.
    #[arg(long)]
    allow_missing: bool,
    /// A file to write, by its ending: npy, fits, hdf5 or png. May be given several times.
    #[arg(long, required = true)]
    out: Vec<PathBuf>,
    /// Positions [particle, 3] of raw arrays, npy.
    #[arg(long, requires = "box_side", conflicts_with = "path")]
    positions: Option<PathBuf>,
    /// Their masses [particle], npy; left out: one each.
    #[arg(long, requires = "positions")]
    masses: Option<PathBuf>,
    /// Their radii of compact support [particle], npy; left out: the distance to the 32nd neighbour.
    #[arg(long, requires = "positions")]
    smoothing: Option<PathBuf>,
    /// The side of their box.
    #[arg(long = "box", value_name = "L", requires = "positions", allow_hyphen_values = true)]
    box_side: Option<f64>,
    /// Whether their box is open.
    #[arg(long, requires = "positions")]
    open: bool,
    /// Whose Gauss: gauss, heaviside_lorentz, without_h, skais_mapper.
    #[arg(long, default_value = "gauss")]
    gauss: String,
    /// Neutral hydrogen: self_shielded, stored, rahmati.
    #[arg(long, default_value = "self_shielded")]
    neutral: String,
    /// Molecular hydrogen: kmt, blitz_rosolowsky, none.
    #[arg(long, default_value = "kmt")]
    molecular: String,
    /// Colours of figures: stars, dark, hydrogen, heat, inferno, magma, plasma, viridis, cividis, cubehelix, diverging.
    #[arg(long)]
    colours: Option<String>,
    /// The ends of the colour scale: low,high.
    #[arg(long, allow_hyphen_values = true)]
    range: Option<String>,
    /// The colour scale: log or linear. Left out: log where no pixel is negative.
    #[arg(long)]
    scale: Option<String>,
    /// Writes a summary to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The seed of --rotate random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of threads; 0 for one a core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// The device; projection runs on the CPU.
    #[arg(long, default_value = "cpu")]
    device: String,
}

fn main() -> ExitCode {
    console::main(|arguments: Arguments| {
        console::set_threads(arguments.threads)?;
        project::run(&options(arguments)?)
    })
}

fn options(arguments: Arguments) -> Result<project::Options> {
    ensure!(arguments.device == "cpu", "--device is {:?}, expected cpu", arguments.device);
    let quantities = match arguments.field.as_str() {
        "cmd" => Quantity::CMD.to_vec(),
        names => names.split(',').map(str::parse).collect::<Result<Vec<Quantity>, _>>()?,
    };
    let known = "sph, sphere, ngp, cic, tsc, pcs, wendland, wendland_c2 or wendland_c4";
    let method = arguments.method.as_deref().map(|m| project::named("--method", m, known)).transpose()?;
    let part = match (arguments.subhalo, &arguments.centre, arguments.region.as_str()) {
        (Some(id), ..) => {
            ensure!(arguments.aperture > 0.0, "--aperture is {}, expected above 0", arguments.aperture);
            let of = match arguments.aperture_of.as_str() {
                "gas" => 0,
                "dm" => 1,
                "stars" => 4,
                other => bail!("--aperture-of is {other:?}, expected gas, dm or stars"),
            };
            project::Part::Subhalo { id, groups: arguments.groups, aperture: arguments.aperture, of }
        }
        (None, Some(centre), _) => {
            project::Part::Cube(project::numbers("--centre", centre)?, arguments.side.unwrap_or_default())
        }
        (None, None, "auto") => project::Part::Auto,
        (None, None, "box") => project::Part::Box,
        (None, None, "bounding") => project::Part::Bounding,
        (None, None, other) => bail!("--region is {other:?}, expected auto, box or bounding"),
    };
    let source = match (arguments.path, arguments.positions) {
        (Some(path), None) => project::Source::Snapshot { path, allow_missing: arguments.allow_missing },
        (None, Some(positions)) => project::Source::Arrays {
            positions,
            masses: arguments.masses,
            smoothing: arguments.smoothing,
            box_side: arguments.box_side.unwrap_or_default(),
            open: arguments.open,
        },
        _ => bail!("give a snapshot, or --positions with --box"),
    };
    let colours = match arguments.colours.as_deref() {
        None => None,
        Some(name) => match Colours::by_name(name) {
            Some(colours) => Some(colours),
            None => bail!("--colours is {name:?}; --help names those there are"),
        },
    };
    let logarithmic = match arguments.scale.as_deref() {
        None => None,
        Some("log") => Some(true),
        Some("linear") => Some(false),
        Some(other) => bail!("--scale is {other:?}, expected log or linear"),
    };
    let range: Option<[f64; 2]> =
        arguments.range.as_deref().map(|r| project::numbers("--range", r)).transpose()?;
    if let Some([low, high]) = range {
        ensure!(low < high, "--range is {low},{high}, expected the lower first");
        ensure!(low > 0.0 || logarithmic != Some(true), "--range is {low},{high}: a log scale is above 0");
    }
    Ok(project::Options {
        source,
        quantities,
        method,
        neighbours: arguments.neighbours,
        grid: arguments.grid,
        axis: project::axis(&arguments.los)?,
        part,
        rotation: arguments.rotate.as_deref().map(|r| project::rotation(r, arguments.seed)).transpose()?,
        slab: arguments.slab.as_deref().map(|s| project::numbers("--slab", s)).transpose()?,
        fields: project::fields(&arguments.gauss, &arguments.neutral, &arguments.molecular)?,
        out: arguments.out,
        style: project::Style { colours, range, logarithmic },
        json: arguments.json,
    })
}
