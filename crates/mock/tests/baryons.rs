//! Baryons on whole universes: mass, order, scatter, bytes.

#![allow(clippy::unwrap_used)]

use halocast_core::{FieldValues, Species};
use halocast_mock::{BaryonConfig, Feedback, HaloConfig, Populated, Scatter, Universe, UniverseConfig};

fn universe() -> Universe {
    let config = UniverseConfig { particles: 40, box_side: 18.0, steps: 12, seed: 11, ..Default::default() };
    Universe::simulate(&config, &|_, _| {}).unwrap()
}

fn populate(config: BaryonConfig) -> Populated {
    Populated::new(universe(), &HaloConfig::default(), &config).unwrap()
}

fn sum(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v)).sum()
}

#[test]
fn mass_is_conserved_and_every_number_is_physical() {
    for feedback in [Feedback::default(), Feedback { a_sn1: 4.0, a_agn1: 4.0, a_sn2: 2.0, a_agn2: 2.0 }] {
        let made = populate(BaryonConfig { feedback, ..Default::default() });
        let total = sum(&made.gas.masses) + sum(&made.stars.masses) + sum(&made.black_holes.masses);
        let expected = made.universe.gas_particle_mass() * made.gas.len() as f64;
        assert!((total / expected - 1.0).abs() < 1e-5, "{total} {expected}");
        assert!(made.stars.masses.len() > 100 && made.black_holes.masses.len() > 5);
        let gas = &made.gas;
        for (name, values) in [
            ("mass", &gas.masses),
            ("density", &gas.density),
            ("temperature", &gas.temperature),
            ("pressure", &gas.pressure),
            ("neutral", &gas.neutral),
            ("metallicity", &gas.metallicity),
            ("ratio", &gas.magnesium_to_iron),
        ] {
            assert!(values.iter().all(|v| v.is_finite() && *v > 0.0), "{name}");
        }
        assert!(gas.neutral.iter().all(|&n| n <= 1.0) && gas.metallicity.iter().all(|&z| z <= 0.05));
        let side = made.universe.config().box_side as f32;
        let all = gas.positions.iter().chain(&made.stars.positions).chain(&made.black_holes.positions);
        assert!(all.flatten().all(|x| (0.0..=side).contains(x)));
    }
}

#[test]
fn luck_stays_with_a_halo_when_feedback_changes() {
    let (weak, strong) = (
        populate(BaryonConfig {
            feedback: Feedback { a_agn1: 0.5, ..Default::default() },
            ..Default::default()
        }),
        populate(BaryonConfig {
            feedback: Feedback { a_agn1: 2.0, ..Default::default() },
            ..Default::default()
        }),
    );
    // More is thrown out: less hot gas within haloes.
    let hot = |made: &Populated| made.gas.owner.iter().filter(|o| o.subhalo == 0).count();
    assert!(hot(&strong) < hot(&weak), "{} {}", hot(&strong), hot(&weak));
    let none = populate(BaryonConfig { scatter: Scatter(0.0), ..Default::default() });
    let other = populate(BaryonConfig { scatter: Scatter(0.0), seed: 5, ..Default::default() });
    // Without scatter the stars of a halo do not depend on the seed.
    assert!((sum(&none.stars.masses) / sum(&other.stars.masses) - 1.0).abs() < 1e-6);
    assert_ne!(none.stars.masses.len(), 0);
    let one = populate(BaryonConfig { seed: 5, ..Default::default() });
    assert!((sum(&one.stars.masses) / sum(&none.stars.masses) - 1.0).abs() > 1e-3);
}

#[test]
fn a_snapshot_is_ordered_by_group_and_its_catalogue_counts_it() {
    let made = populate(BaryonConfig::default());
    let (snapshot, catalogue) = (made.snapshot().unwrap(), made.catalogue().unwrap());
    let integers = |values: &FieldValues| values.to_f64().into_iter().map(|v| v as usize).collect::<Vec<_>>();
    let groups = &catalogue.groups;
    let lengths = integers(&groups.field("GroupLenType").unwrap().values);
    let (first, nsubs) = (groups.scalars("GroupFirstSub").unwrap(), groups.scalars("GroupNsubs").unwrap());
    let sub_lengths = integers(&catalogue.subhalos.field("SubhaloLenType").unwrap().values);
    let of = catalogue.subhalos.scalars("SubhaloGrNr").unwrap();
    let masses = groups.field("GroupMassType").unwrap().values.to_f64();
    let positions = groups.vectors("GroupPos").unwrap();
    let space = snapshot.periodic_box().unwrap();
    assert!(groups.len() > 10 && catalogue.subhalos.len() > 10);
    for species in [Species::Gas, Species::DarkMatter, Species::Stars, Species::BlackHoles] {
        let kind = species.number();
        let mass = snapshot.masses(species).unwrap();
        let x = snapshot.set(species).unwrap().vectors("Coordinates").unwrap();
        let mut start = 0;
        for g in 0..groups.len() {
            let end = start + lengths[6 * g + kind];
            // GroupMassType is the sum over the slice that the offsets give, as illustris_python reads it.
            let total: f64 = mass[start..end].iter().sum();
            assert!((total - masses[[g, kind]]).abs() <= 1e-4 * total, "group {g}, {species}");
            assert!(x[start..end].iter().all(|x| space.distance(*x, positions[g]) < 6000.0));
            let subs = first[g] as usize..(first[g].max(0.0) + nsubs[g]) as usize;
            let within: usize =
                if nsubs[g] > 0.0 { subs.map(|s| sub_lengths[6 * s + kind]).sum() } else { 0 };
            assert!(within <= end - start);
            start = end;
        }
        assert!(start <= mass.len());
    }
    let mut expected = 0.0;
    for g in 0..groups.len() {
        if nsubs[g] > 0.0 {
            assert_eq!(first[g], expected);
        } else {
            assert_eq!(first[g], -1.0);
        }
        expected += nsubs[g];
    }
    assert!(of.windows(2).all(|pair| pair[0] <= pair[1]));
    // Identifiers are unique.
    let mut ids: Vec<u64> = snapshot
        .sets
        .values()
        .flat_map(|set| set.scalars("ParticleIDs").unwrap())
        .map(|id| id as u64)
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn the_same_seed_gives_the_same_bytes_at_any_number_of_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let made = populate(BaryonConfig::default());
            (made.snapshot().unwrap(), made.catalogue().unwrap())
        })
    };
    let one = run(1);
    assert_eq!(one, run(4));
}

#[test]
fn absurd_baryons_are_refused_by_name() {
    for (config, field) in [
        (
            BaryonConfig {
                feedback: Feedback { a_sn1: f64::NAN, ..Default::default() },
                ..Default::default()
            },
            "a_sn1",
        ),
        (
            BaryonConfig { feedback: Feedback { a_agn2: 0.0, ..Default::default() }, ..Default::default() },
            "a_agn2",
        ),
        (BaryonConfig { scatter: Scatter(-1.0), ..Default::default() }, "scatter"),
    ] {
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
    let config = UniverseConfig { particles: 16, box_side: 20.0, steps: 2, gas: false, ..Default::default() };
    let dark = Universe::simulate(&config, &|_, _| {}).unwrap();
    let error = Populated::new(dark, &HaloConfig::default(), &BaryonConfig::default()).unwrap_err();
    assert!(error.to_string().contains("gas"), "{error}");
}
