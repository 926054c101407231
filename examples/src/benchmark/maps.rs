//! Jobs on fields and particles: statistics, projection, augmentation.

use halocast::core::fft::RealFft;
use halocast::core::{Map, PeriodicBox, Rng};
use halocast::maps::{
    Axis, Centring, Dihedral, Masses, Method, Projection, Scheme, assign_2d, assign_3d, project, rotate,
    shift, smoothing_lengths,
};
use halocast::stats::{
    Bins, Membership, MinkowskiConvention, PowerConvention, Rings, cloud_profile, correlation_function,
    cross_spectrum, cross_spectrum_3d, minkowski_functionals, pair_counts, power_spectra, power_spectrum_3d,
};
use rayon::prelude::*;

use super::{Job, Work, done, inputs};

const MILLION: usize = 1_000_000;

pub(super) fn jobs() -> Vec<Job> {
    let mut jobs = power();
    jobs.extend(minkowski());
    jobs.extend(radial());
    jobs.extend(pairs());
    jobs.extend(smooth());
    jobs.extend(mesh());
    jobs.extend(augment());
    jobs
}

fn power() -> Vec<Job> {
    const GROUP: &str = "b1_power";
    let convention = PowerConvention::pylians;
    vec![
        Job::new(GROUP, "pk2d_200x256", "power spectra of 200 maps of 256x256", move |seed| {
            let maps = inputs::maps(200, 256, seed);
            Ok(Box::new(move || done(power_spectra(&maps, convention())?)))
        }),
        Job::new(GROUP, "xpk2d_100pairs_256", "cross spectra of 100 pairs of maps", move |seed| {
            let maps = inputs::maps(200, 256, seed);
            Ok(Box::new(move || {
                let pairs = maps.par_chunks(2).map(|pair| cross_spectrum(&pair[0], &pair[1], convention()));
                done(pairs.collect::<Result<Vec<_>, _>>()?)
            }))
        }),
        Job::new(GROUP, "pk3d_256", "the power spectrum of a cube of 256^3", move |seed| {
            let cube = inputs::cube(256, seed);
            Ok(Box::new(move || done(power_spectrum_3d(&cube, convention())?)))
        }),
        Job::new(GROUP, "xpk3d_256", "the cross spectrum of two cubes of 256^3", move |seed| {
            let (a, b) = (inputs::cube(256, seed), inputs::cube(256, seed + 1));
            Ok(Box::new(move || done(cross_spectrum_3d(&a, &b, convention())?)))
        }),
    ]
}

fn minkowski() -> Vec<Job> {
    const GROUP: &str = "b2_minkowski";
    let job = |count: usize, what| {
        Job::new(GROUP, format!("minkowski2d_{count}x256_50th"), what, move |seed| {
            let maps = inputs::maps(count, 256, seed);
            let thresholds: Vec<f64> = (0..50).map(|i| -2.5 + 5.0 * f64::from(i) / 49.0).collect();
            let convention = MinkowskiConvention::Quantimpy;
            Ok(Box::new(move || done(minkowski_functionals(&maps, &thresholds, convention)?)))
        })
    };
    vec![
        job(200, "QuantImPy's functionals of 200 maps at 50 thresholds"),
        job(20, "QuantImPy's functionals of 20 maps at 50 thresholds"),
    ]
}

fn radial() -> Vec<Job> {
    const GROUP: &str = "b3_radial";
    vec![
        Job::new(GROUP, "radprof2d_200x256_64b", "64 rings of 200 maps of 256x256", |seed| {
            let maps: Vec<Map> =
                inputs::maps(200, 256, seed).iter().map(|m| m.map_values(f32::exp)).collect();
            let bins = Bins::linear(0.0, 128.0, 64)?;
            Ok(Box::new(move || {
                let rings = Rings::new([256, 256], Rings::middle([256, 256]), &bins, Membership::Centre)?;
                done(rings.profiles(&maps)?)
            }))
        }),
        Job::new(
            GROUP,
            "radprof2d_200x256_64b_exact",
            "the same by exact overlap of pixel and circle",
            |seed| {
                let maps: Vec<Map> =
                    inputs::maps(200, 256, seed).iter().map(|m| m.map_values(f32::exp)).collect();
                let bins = Bins::linear(0.0, 128.0, 64)?;
                Ok(Box::new(move || {
                    let rings = Rings::new([256, 256], Rings::middle([256, 256]), &bins, Membership::Exact)?;
                    done(rings.profiles(&maps)?)
                }))
            },
        ),
        Job::new(GROUP, "radprof3d_1e6_64logbins", "64 logarithmic shells of a million points", |seed| {
            let points = cloud(MILLION, 1.0, seed);
            let masses = inputs::masses(MILLION, seed);
            let bins = Bins::logarithmic(1e-3, 0.5, 64)?;
            let periodic = Some(PeriodicBox::new(1.0)?);
            Ok(Box::new(move || done(cloud_profile(&points, &masses, [0.5; 3], periodic, &bins)?)))
        }),
    ]
}

fn pairs() -> Vec<Job> {
    const GROUP: &str = "b6_tpcf";
    const SIDE: f64 = 100.0;
    let uniform = |seed: u64| -> Vec<[f64; 3]> {
        let mut rng = Rng::new(seed).split_named("uniform");
        (0..100_000).map(|_| [0; 3].map(|_| SIDE * rng.uniform())).collect()
    };
    let points =
        move |tag: &str, seed| if tag == "uniform" { uniform(seed) } else { cloud(100_000, SIDE, seed) };
    let mut jobs = Vec::new();
    for tag in ["clustered", "uniform"] {
        let name = format!("pairs3d_1e5_20b_{tag}");
        jobs.push(Job::new(GROUP, name, "pairs of 1e5 points in 20 logarithmic bins", move |seed| {
            let (points, bins) = (points(tag, seed), Bins::logarithmic(0.1, 20.0, 20)?);
            let periodic = Some(PeriodicBox::new(SIDE)?);
            Ok(Box::new(move || done(pair_counts(&points, periodic, &bins)?)))
        }));
        let name = format!("xi3d_1e5_20b_{tag}");
        jobs.push(Job::new(GROUP, name, "the correlation function of 1e5 points", move |seed| {
            let (points, bins) = (points(tag, seed), Bins::logarithmic(0.1, 20.0, 20)?);
            let periodic = PeriodicBox::new(SIDE)?;
            Ok(Box::new(move || done(correlation_function(&points, periodic, &bins)?)))
        }));
    }
    jobs
}

fn cloud(count: usize, side: f64, seed: u64) -> Vec<[f64; 3]> {
    inputs::points(count, seed).iter().map(|p| p.map(|x| side * f64::from(x))).collect()
}

fn smooth() -> Vec<Job> {
    const GROUP: &str = "b4_sph";
    let neighbours = |name: &'static str, what, side: Option<f64>| {
        Job::new(GROUP, name, what, move |seed| {
            let points = inputs::points(MILLION, seed);
            Ok(Box::new(move || done(smoothing_lengths(&points, 32, side)?)))
        })
    };
    let image = |name: &'static str, what, method: Method, periodic: bool| {
        Job::new(GROUP, name, what, move |seed| {
            let (points, masses) = (inputs::points(MILLION, seed), inputs::masses(MILLION, seed));
            let radii = smoothing_lengths(&points, 32, Some(1.0))?;
            let projection = Projection { periodic, ..Projection::periodic_box(Axis::Z, 512, 1.0) };
            let work: Work = Box::new(move || {
                let masses = Masses::Each(&masses);
                done(project("mass", &points, masses, Some(&radii), &projection, method)?)
            });
            Ok(work)
        })
    };
    vec![
        neighbours("knn32_1e6_3d_periodic", "the 32nd neighbour of a million points", Some(1.0)),
        neighbours("knn32_1e6_3d_open", "the same, not periodic", None),
        image("sph2d_1e6_512_periodic", "cubic splines of a million particles on 512x512", Method::Sph, true),
        image("sph2d_1e6_512_open", "the same, not periodic", Method::Sph, false),
        image("sphere2d_1e6_512_periodic", "the same by uniform spheres", Method::Sphere, true),
    ]
}

fn mesh() -> Vec<Job> {
    const GROUP: &str = "b5_mas";
    let schemes = [("NGP", Scheme::Ngp), ("CIC", Scheme::Cic), ("TSC", Scheme::Tsc), ("PCS", Scheme::Pcs)];
    let job = |(name, scheme): (&str, Scheme)| {
        let cube = move |weighted: bool| {
            move |seed| {
                let (points, masses) = (inputs::points(MILLION, seed), inputs::masses(MILLION, seed));
                let work: Work = Box::new(move || {
                    let masses = if weighted { Masses::Each(&masses) } else { Masses::Equal(1.0) };
                    let grid = assign_3d(&points, masses, [256; 3], 1.0, scheme, Centring::Node)?;
                    done(grid)
                });
                Ok(work)
            }
        };
        let plane = move |seed| {
            let points: Vec<[f32; 2]> =
                inputs::points(MILLION, seed).into_iter().map(|[x, y, _]| [x, y]).collect();
            let work: Work = Box::new(move || {
                let grid = assign_2d(&points, Masses::Equal(1.0), [512; 2], 1.0, scheme, Centring::Node)?;
                done(grid)
            });
            Ok(work)
        };
        [
            Job::new(GROUP, format!("mas3d_{name}_1e6_256"), "a million particles on 256^3", cube(false)),
            Job::new(GROUP, format!("mas3d_{name}_1e6_256_weighted"), "the same, weighted", cube(true)),
            Job::new(GROUP, format!("mas2d_{name}_1e6_512"), "a million particles on 512x512", plane),
        ]
    };
    schemes.into_iter().flat_map(job).collect()
}

fn augment() -> Vec<Job> {
    const GROUP: &str = "b8_augment";
    /// A random symmetry of each of 64 maps, one stream of random numbers a map.
    fn job(name: &'static str, what: &'static str, change: fn(&Map, &mut Rng) -> Map) -> Job {
        Job::new(GROUP, name, what, move |seed| {
            let maps = inputs::maps(64, 256, seed);
            let mut rng = Rng::new(seed);
            Ok(Box::new(move || {
                let key = Rng::new(rng.next_u64());
                let changed =
                    maps.par_iter().enumerate().map(|(i, map)| change(map, &mut key.split(i as u64)));
                done(changed.collect::<Vec<_>>())
            }))
        })
    }
    vec![
        job("augment_64x256_dihedral", "a turn or mirror image of 64 maps", |map, rng| {
            Dihedral::random(rng).apply(map)
        }),
        job("augment_64x256_dihedral_roll", "the same, and a periodic shift", |map, rng| {
            let by = [rng.below(256) as i64, rng.below(256) as i64];
            shift(&Dihedral::random(rng).apply(map), by)
        }),
        job("rotate_any_64x256_bilinear_wrap", "a turn of 64 maps by any angle", |map, rng| {
            // The angle is finite.
            rotate(map, 360.0 * rng.uniform()).unwrap_or_else(|_| map.clone())
        }),
        Job::new(GROUP, "rfft2_64x256", "real Fourier transforms of 64 maps", |seed| {
            let maps = inputs::maps(64, 256, seed);
            let fft = RealFft::<f32>::new([1, 256, 256]);
            let fields: Vec<Vec<f32>> = maps.iter().map(|map| map.values.iter().copied().collect()).collect();
            Ok(Box::new(move || {
                let spectra = fields.par_iter().map(|field| {
                    let mut spectrum = fft.spectrum();
                    fft.forward(field, &mut spectrum);
                    spectrum
                });
                done(spectra.collect::<Vec<_>>())
            }))
        }),
    ]
}
