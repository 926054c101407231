//! The statistics that the program knows, each as JSON with bins and units and as curves to draw.

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;
use halocast::core::{Cube, Curve, Map, PeriodicBox, Rng};
use halocast::stats::{
    Bins, Membership, MinkowskiConvention, PowerConvention, Rings, Window, anisotropic_correlation,
    anisotropic_power, correlation_function, cross_spectrum, knn_cdf, minkowski_functionals,
    minkowski_functionals_3d, moments, pair_counts, pixel_pdf, power_spectra, power_spectrum_3d,
    projected_correlation, quantiles,
};
use serde_json::{Value, json};

use super::beyond;
use super::input::Input;

/// Whose conventions are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Convention {
    /// Pylians' bins of wavenumber, QuantImPy's Minkowski functionals.
    #[default]
    Pylians,
    /// The same.
    Quantimpy,
    /// Mudur & Finkbeiner's rings of wavenumber.
    Mudur,
    /// Exact counts of pixels for Minkowski functionals, periodic where the map is.
    Pixels,
}

impl Convention {
    fn power(self) -> PowerConvention {
        match self {
            Self::Mudur => PowerConvention::mudur(),
            _ => PowerConvention::pylians(),
        }
    }

    fn minkowski(self, periodic: bool) -> MinkowskiConvention {
        match self {
            Self::Pixels => MinkowskiConvention::Pixels { diagonal: true, periodic },
            _ => MinkowskiConvention::Quantimpy,
        }
    }
}

/// A curve under its title.
pub struct Drawn {
    /// The title.
    pub title: String,
    /// The curve.
    pub curve: Curve,
    /// Whether both axes are logarithmic.
    pub log: bool,
}

/// One statistic of one input.
pub struct Summary {
    /// Every array with its unit.
    pub json: Value,
    /// What is drawn of it.
    pub drawn: Vec<Drawn>,
}

const OF_MAPS: [&str; 10] =
    ["pk", "xpk", "pdf", "moments", "minkowski", "profile", "bispectrum", "peaks", "betti", "scattering"];
const OF_CUBES: [&str; 4] = ["pk", "multipoles", "minkowski", "bispectrum"];
const OF_CLOUDS: [&str; 4] = ["xi", "xismu", "wp", "knn"];

/// The statistics of a kind of input, by name.
pub fn available(input: &Input) -> &'static [&'static str] {
    match input {
        Input::Maps(_) => &OF_MAPS,
        Input::Cube(_) => &OF_CUBES,
        Input::Cloud(..) => &OF_CLOUDS,
    }
}

/// The statistic `name` of an input.
///
/// # Errors
/// When there is no such statistic of this kind of input, or the input is refused by it.
pub fn summarize(input: &Input, name: &str, convention: Convention, rng: &mut Rng) -> Result<Summary> {
    match input {
        Input::Maps(maps) => of_maps(maps, name, convention),
        Input::Cube(cube) => of_cube(cube, name, convention),
        Input::Cloud(points, periodic) => of_cloud(points, *periodic, name, rng),
    }
}

pub(super) fn array(values: impl Into<Value>, unit: &str) -> Value {
    json!({ "values": values.into(), "unit": unit })
}

fn rows(table: &ndarray::Array2<f64>) -> Value {
    table.outer_iter().map(|row| row.to_vec()).collect::<Vec<_>>().into()
}

pub(super) fn squared(unit: &str) -> String {
    if unit.is_empty() { "1".into() } else { format!("({unit})^2") }
}

pub(super) fn per(length: &str) -> String {
    if length == "Mpc/h" { "h/Mpc".into() } else { format!("1/({length})") }
}

fn of_maps(maps: &[Map], name: &str, convention: Convention) -> Result<Summary> {
    ensure!(!maps.is_empty(), "there are no maps");
    let first = &maps[0];
    let (length, unit) = (first.length_unit.label.as_str(), first.unit.label.as_str());
    let drawn = |title: &str, curve: Curve, log: bool| Drawn { title: title.into(), curve, log };
    match name {
        "pk" => {
            let found = power_spectra(maps, convention.power())?;
            let power = match convention {
                Convention::Mudur => squared(unit),
                _ => format!("{} ({length})^2", squared(unit)),
            };
            let json = json!({
                "convention": convention.power(),
                "k": array(found.k.clone(), &per(length)),
                "modes": array(found.modes.clone(), "independent modes"),
                "power": array(rows(&found.power), &power),
                "mean": array(found.mean(), &power),
                "std": array(found.std(), &power),
            });
            let mut curve = found.curve();
            curve.y_label = format!("P(k) [{power}]");
            Ok(Summary { json, drawn: vec![drawn("power spectrum", curve, true)] })
        }
        "xpk" => {
            ensure!(maps.len() >= 2, "xpk: there is one map, expected two or more (the first two are taken)");
            let found = cross_spectrum(&maps[0], &maps[1], convention.power())?;
            let json = json!({
                "convention": convention.power(),
                "k": array(found.k.clone(), &per(length)),
                "modes": array(found.modes.clone(), "independent modes"),
                "cross": array(found.cross.clone(), &format!("{} ({length})^2", squared(unit))),
                "r": array(found.coherence(), "1"),
                "transfer": array(found.transfer(), "1"),
            });
            let curve = plain(&found.k, found.coherence(), &format!("k [{}]", per(length)), "r(k)");
            Ok(Summary { json, drawn: vec![drawn("correlation coefficient", curve, false)] })
        }
        "pdf" => {
            let found = pixel_pdf(maps, &Bins::covering(maps, 50)?)?;
            let json = json!({
                "edges": array(found.bins.edges().to_vec(), unit),
                "density": array(rows(&found.density()), &format!("1/({unit})")),
            });
            Ok(Summary { json, drawn: vec![drawn("pixel distribution", found.curve(), false)] })
        }
        "moments" => {
            let found = moments(maps)?;
            let of = |f: fn(&halocast::stats::Moments) -> f64| found.iter().map(f).collect::<Vec<f64>>();
            let json = json!({
                "mean": array(of(|m| m.mean), unit),
                "variance": array(of(|m| m.variance), &squared(unit)),
                "skewness": array(of(|m| m.skewness), "1"),
                "excess_kurtosis": array(of(|m| m.kurtosis), "1"),
            });
            Ok(Summary { json, drawn: Vec::new() })
        }
        "minkowski" => {
            let ends = quantiles(maps, &[0.01, 0.99])?;
            let thresholds: Vec<f64> =
                (0..50).map(|i| ends[0] + (ends[1] - ends[0]) * f64::from(i) / 49.0).collect();
            let of = convention.minkowski(first.periodic);
            let found = minkowski_functionals(maps, &thresholds, of)?;
            let json = json!({
                "convention": of,
                "thresholds": array(thresholds, unit),
                "M0": array(rows(&found.values[0]), "pixels"),
                "M1": array(rows(&found.values[1]), "pixel sides"),
                "M2": array(rows(&found.values[2]), "1"),
            });
            let curves = (0..3).map(|i| drawn(&format!("Minkowski functional M{i}"), found.curve(i), false));
            Ok(Summary { json, drawn: curves.collect() })
        }
        "profile" => {
            let shape = first.shape();
            let limit = shape[0].min(shape[1]) as f64 / 2.0;
            let bins = Bins::linear(0.0, limit, ((limit / 2.0) as usize).clamp(1, 64))?;
            let rings = Rings::new(shape, Rings::middle(shape), &bins, Membership::Exact)?;
            let found = rings.profiles(maps)?;
            let table = |f: fn(&halocast::stats::RadialProfile) -> Vec<f64>| {
                Value::from(found.iter().map(f).collect::<Vec<Vec<f64>>>())
            };
            let json = json!({
                "membership": "exact",
                "centre": array(Rings::middle(shape).to_vec(), "pixels [y, x]"),
                "edges": array(bins.edges().to_vec(), "pixels"),
                "area": array(found[0].area.clone(), "pixels"),
                "mean": array(table(|p| p.mean()), unit),
                "dispersion": array(table(|p| p.dispersion.clone()), unit),
                "cumulative": array(table(|p| p.cumulative()), unit),
            });
            let mean =
                ndarray::Array2::from_shape_fn((found.len(), bins.count()), |(i, j)| found[i].mean()[j]);
            let means = mean.sum_axis(ndarray::Axis(0)) / found.len() as f64;
            let curve = plain(&bins.centres(), means.to_vec(), "radius [pixels]", "mean of the ring");
            Ok(Summary { json, drawn: vec![drawn("radial profile", curve, false)] })
        }
        other => match beyond::of_maps(maps, other)? {
            Some(summary) => Ok(summary),
            None => bail!("there is no statistic {other:?} of maps, expected one of {}", OF_MAPS.join(", ")),
        },
    }
}

fn of_cube(cube: &Cube, name: &str, convention: Convention) -> Result<Summary> {
    let length = cube.length_unit.label.as_str();
    let power = format!("({length})^3");
    match name {
        "pk" => {
            let found = power_spectrum_3d(cube, convention.power())?;
            let json = json!({
                "convention": convention.power(),
                "k": array(found.k.clone(), &per(length)),
                "modes": array(found.modes.clone(), "independent modes"),
                "power": array(found.power.clone(), &power),
                "gaussian_error": array(found.gaussian_error(), &power),
            });
            let x = format!("k [{}]", per(length));
            let curve = plain(&found.k, found.power, &x, &format!("P(k) [{power}]"));
            Ok(Summary { json, drawn: vec![Drawn { title: "power spectrum".into(), curve, log: true }] })
        }
        "multipoles" => {
            let found = anisotropic_power(cube, 2, Window::None)?.multipoles;
            let [p0, p2, p4] = found.power;
            let json = json!({
                "line_of_sight": "z",
                "k": array(found.k, &per(length)),
                "modes": array(found.modes, "independent modes"),
                "P0": array(p0, &power),
                "P2": array(p2, &power),
                "P4": array(p4, &power),
            });
            Ok(Summary { json, drawn: Vec::new() })
        }
        "minkowski" => {
            let mut values: Vec<f32> = cube.values.iter().copied().collect();
            values.sort_unstable_by(f32::total_cmp);
            let at = |p: f64| f64::from(values[(p * (values.len() - 1) as f64) as usize]);
            let (low, high) = (at(0.01), at(0.99));
            let thresholds: Vec<f64> = (0..50).map(|i| low + (high - low) * f64::from(i) / 49.0).collect();
            let found = minkowski_functionals_3d(cube, &thresholds)?;
            let json = json!({
                "convention": "quantimpy",
                "thresholds": array(thresholds, &cube.unit.label),
                "M0": array(found.values[0].clone(), "cells"),
                "M1": array(found.values[1].clone(), "cell sides^2"),
                "M2": array(found.values[2].clone(), "cell sides"),
                "M3": array(found.values[3].clone(), "1"),
            });
            Ok(Summary { json, drawn: Vec::new() })
        }
        "bispectrum" => beyond::of_cube(cube),
        other => bail!("there is no statistic {other:?} of a cube, expected one of {}", OF_CUBES.join(", ")),
    }
}

fn of_cloud(
    points: &[[f64; 3]],
    periodic: Option<PeriodicBox>,
    name: &str,
    rng: &mut Rng,
) -> Result<Summary> {
    const LENGTH: &str = "Mpc/h";
    ensure!(points.len() >= 2, "{name}: the cloud has {} points, expected at least 2", points.len());
    let extent = match periodic {
        Some(b) => b.side(),
        None => (0..3).fold(0.0, |largest: f64, a| {
            let ends =
                points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |e, p| (e.0.min(p[a]), e.1.max(p[a])));
            largest.max(ends.1 - ends.0)
        }),
    };
    let separations = || Bins::logarithmic(extent * 1e-3, extent / 5.0, 20);
    let closed = || periodic.ok_or_else(|| anyhow::anyhow!("{name}: --open, expected a periodic box"));
    let drawn = |title: &str, curve: Curve| Drawn { title: title.into(), curve, log: true };
    match name {
        "xi" => {
            let bins = separations()?;
            let edges = array(bins.edges().to_vec(), LENGTH);
            let Some(periodic) = periodic else {
                let pairs = pair_counts(points, None, &bins)?.pairs;
                let json = json!({ "edges": edges, "pairs": array(pairs, "ordered pairs") });
                return Ok(Summary { json, drawn: Vec::new() });
            };
            let found = correlation_function(points, periodic, &bins)?;
            let json = json!({
                "estimator": "natural",
                "edges": edges,
                "pairs": array(found.pairs.clone(), "ordered pairs"),
                "xi": array(found.xi.clone(), "1"),
                "poisson_error": array(found.poisson_error(), "1"),
            });
            let curve = plain(&bins.centres(), found.xi, &format!("r [{LENGTH}]"), "xi(r)");
            Ok(Summary { json, drawn: vec![drawn("correlation function", curve)] })
        }
        "xismu" => {
            let bins = separations()?;
            let found = anisotropic_correlation(points, closed()?, &bins, 20, 2)?;
            let [x0, x2, x4] = found.multipoles();
            let json = json!({
                "line_of_sight": "z",
                "s_edges": array(bins.edges().to_vec(), LENGTH),
                "mu_edges": array(found.mu.edges().to_vec(), "1"),
                "xi": array(rows(&found.xi), "1"),
                "xi0": array(x0, "1"),
                "xi2": array(x2, "1"),
                "xi4": array(x4, "1"),
            });
            Ok(Summary { json, drawn: Vec::new() })
        }
        "wp" => {
            let bins = separations()?;
            let found = projected_correlation(points, closed()?, &bins, extent / 5.0, 2)?;
            let json = json!({
                "line_of_sight": "z",
                "rp_edges": array(bins.edges().to_vec(), LENGTH),
                "pi_max": array(found.pi_max, LENGTH),
                "pairs": array(found.pairs, "ordered pairs"),
                "wp": array(found.w_p.clone(), LENGTH),
            });
            let curve =
                plain(&bins.centres(), found.w_p, &format!("r_p [{LENGTH}]"), &format!("w_p [{LENGTH}]"));
            Ok(Summary { json, drawn: vec![drawn("projected correlation function", curve)] })
        }
        "knn" => {
            let periodic = closed()?;
            let spacing = (periodic.volume() / points.len() as f64).cbrt();
            let radii: Vec<f64> = (1..=40).map(|i| 0.05 * f64::from(i) * spacing).collect();
            let k: Vec<usize> = [1, 2, 4, 8].into_iter().filter(|k| *k <= points.len()).collect();
            let found = knn_cdf(points, periodic, &k, &radii, 20_000, rng)?;
            let empty: Vec<f64> = found.cdf.row(0).iter().map(|p| 1.0 - p).collect();
            let json = json!({
                "places": found.places,
                "k": k,
                "radii": array(radii.clone(), LENGTH),
                "cdf": array(rows(&found.cdf), "1"),
                "void_probability": array(empty.clone(), "1"),
            });
            let curve = plain(&radii, empty, &format!("r [{LENGTH}]"), "void probability");
            let drawn = Drawn { title: "void probability".into(), curve, log: false };
            Ok(Summary { json, drawn: vec![drawn] })
        }
        other => {
            bail!("there is no statistic {other:?} of a cloud, expected one of {}", OF_CLOUDS.join(", "))
        }
    }
}

pub(super) fn plain(x: &[f64], y: Vec<f64>, x_label: &str, y_label: &str) -> Curve {
    let std = vec![0.0; y.len()];
    Curve { x: x.to_vec(), mean: y, std, x_label: x_label.into(), y_label: y_label.into() }
}
