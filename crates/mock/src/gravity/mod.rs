//! Gravity on a particle mesh, with the kick and drift factors of FastPM.

mod force;
mod mesh;

use halocast_core::Cosmology;
pub use mesh::Mesh;

use crate::initial::Particles;

/// When to kick and when to drift: scale factors spaced evenly from start to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Scale factor of the initial conditions.
    pub(crate) start: f64,
    /// Scale factor of the result.
    pub(crate) end: f64,
    /// Number of steps.
    pub(crate) steps: usize,
}

impl Schedule {
    /// The scale factor after step `i`, which may be a half.
    fn at(&self, i: f64) -> f64 {
        if i >= self.steps as f64 {
            return self.end;
        }
        self.start + (self.end - self.start) * i / self.steps as f64
    }
}

/// Gas that follows the same potential, filtered on the scale of its pressure.
pub(crate) struct PressuredGas<'a> {
    pub(crate) particles: &'a mut Particles,
    pub(crate) mesh: &'a mut Mesh,
    pub(crate) length: f64,
}

/// Moves particles through the potential they make, kick-drift-kick.
///
/// With G(a) = a^3 E dD/da = a^2 E f D, a kick from a_0 to a_1 with the potential at a_r, and a drift with the momentum
/// at a_r, are
///
/// $$\Delta p = -\nabla\phi(a_r)\\,\frac{G(a_1) - G(a_0)}{D(a_r)}, \qquad
/// \Delta x = p(a_r)\\,\frac{D(a_1) - D(a_0)}{G(a_r)}:$$
///
/// a particle of the linear growing mode moves exactly right at any step length. The half kicks on both sides of a
/// drift's end have one potential and are one kick, so that there are `steps` + 1 potentials.
///
/// # Source
/// Feng, Chu, Seljak & McDonald 2016, MNRAS 463, 2273, section 2.2. Their kick has g_f = dG/da, which the equation of
/// linear growth makes (3/2) Omega_m D / (a^2 E).
pub(crate) fn evolve(
    particles: &mut Particles,
    mut gas: Option<PressuredGas<'_>>,
    mesh: &mut Mesh,
    cosmology: &Cosmology,
    schedule: Schedule,
    progress: &(dyn Fn(usize) + Sync),
) {
    let momentum = |a: f64| a * a * cosmology.e(a) * cosmology.growth_rate(a) * cosmology.growth(a);
    let mut kicked_to = schedule.start;
    for step in 0..=schedule.steps {
        let here = schedule.at(step as f64);
        let middle = schedule.at(step as f64 + 0.5);
        let next = schedule.at(step as f64 + 1.0);
        let kick = (momentum(middle) - momentum(kicked_to)) / cosmology.growth(here);
        let drift = (cosmology.growth(next) - cosmology.growth(here)) / momentum(middle);
        mesh.solve(&particles.positions);
        if let Some(gas) = &mut gas {
            gas.mesh.filtered_from(mesh, gas.length);
            gas.mesh.kick_drift(gas.particles, kick, drift);
        }
        mesh.finish();
        mesh.kick_drift(particles, kick, drift);
        kicked_to = middle;
        progress(step);
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use halocast_core::Rng;

    use super::*;
    use crate::initial::wrap;

    fn random(n: usize, side: f32, seed: u64) -> Vec<[f32; 3]> {
        let mut rng = Rng::new(seed);
        (0..n).map(|_| [0; 3].map(|_| (rng.uniform() as f32 * side).min(side * 0.999_999))).collect()
    }

    #[test]
    fn deposit_conserves_mass_and_shares_it_by_distance() {
        let mut mesh = Mesh::new(8, 16.0, false);
        mesh.deposit(&[[15.0, 1.0, 4.5]]);
        // x = 7.5 cells: half in cell 7, half in cell 0; y = 0.5; z = 2.25: three quarters in cell 2.
        let at = |x: usize, y: usize, z: usize| mesh.field()[(x * 8 + y) * 8 + z] / 512.0;
        assert_eq!([at(7, 0, 2), at(0, 1, 2), at(0, 0, 3)], [0.1875, 0.1875, 0.0625]);
        mesh.deposit(&random(1000, 16.0, 1));
        let mean = mesh.field().iter().map(|&v| f64::from(v)).sum::<f64>() / 512.0;
        assert!((mean - 1.0).abs() < 1e-5, "{mean}");
    }

    #[test]
    fn gather_is_the_transpose_of_deposit() {
        let (a, b) = (random(50, 10.0, 1), random(60, 10.0, 2));
        let (mut on_a, mut on_b) = (Mesh::new(6, 10.0, false), Mesh::new(6, 10.0, false));
        on_a.deposit(&a);
        on_b.deposit(&b);
        let inner: f64 = on_a.field().iter().zip(on_b.field()).map(|(x, y)| f64::from(x * y)).sum();
        let gathered: f64 = on_b.gather(&a).iter().map(|&v| f64::from(v)).sum();
        assert!((gathered * 216.0 / 50.0 / inner - 1.0).abs() < 1e-5);
    }

    #[test]
    fn a_pair_attracts_along_its_axis_and_keeps_its_momentum() {
        let mut mesh = Mesh::new(32, 32.0, false);
        let positions = vec![[10.2, 16.7, 16.1], [16.4, 16.7, 16.1]];
        let mut pair = Particles { positions, momenta: vec![[0.0; 3]; 2] };
        mesh.solve(&pair.positions);
        mesh.finish();
        mesh.kick_drift(&mut pair, 1.0, 0.0);
        let [p, q] = [pair.momenta[0], pair.momenta[1]];
        assert!(p[0] > 0.0 && (p[0] + q[0]).abs() < 1e-3 * p[0], "{p:?} {q:?}");
        // Newton: delta of a particle is V/2 on a point, |grad phi| = (V/2) / (4 pi r^2), less the periodic images.
        let newton = 32f32.powi(3) / 2.0 / (4.0 * std::f32::consts::PI * 6.2f32.powi(2));
        assert!((p[0] / newton - 1.0).abs() < 0.05, "{} {newton}", p[0]);
        assert!(p[1].abs() < 0.02 * p[0] && p[2].abs() < 0.02 * p[0]);
    }

    #[test]
    fn momentum_is_conserved() {
        let mut particles = Particles { positions: random(4096, 20.0, 3), momenta: vec![[0.0; 3]; 4096] };
        let mut mesh = Mesh::new(24, 20.0, true);
        let schedule = Schedule { start: 0.2, end: 1.0, steps: 5 };
        evolve(&mut particles, None, &mut mesh, &Cosmology::camels(), schedule, &|_| {});
        for axis in 0..3 {
            let total: f64 = particles.momenta.iter().map(|p| f64::from(p[axis])).sum();
            let size: f64 = particles.momenta.iter().map(|p| f64::from(p[axis].abs())).sum();
            assert!(size > 1.0 && total.abs() < 1e-4 * size, "{total} of {size}");
        }
    }

    #[test]
    fn a_plane_wave_follows_zeldovich_until_shells_cross() {
        let (n, side) = (32usize, 64.0);
        let cosmology = Cosmology::camels();
        let k = TAU / side;
        // Shells cross at D = 1.25, after today.
        let amplitude = 0.8 / k;
        let start = 0.1;
        let momentum = |a: f64| a * a * cosmology.e(a) * cosmology.growth_rate(a) * cosmology.growth(a);
        let lattice: Vec<[f64; 3]> = (0..n.pow(3))
            .map(|i| [i / n / n, i / n % n, i % n].map(|i| (i as f64 + 0.25) * side / n as f64))
            .collect();
        let psi = |q: f64| -amplitude * (k * q).sin();
        let positions = lattice
            .iter()
            .map(|q| {
                let x = q[1] + cosmology.growth(start) * psi(q[1]);
                [q[0] as f32, wrap(x, side), q[2] as f32]
            })
            .collect();
        let momenta = lattice.iter().map(|q| [0.0, (momentum(start) * psi(q[1])) as f32, 0.0]).collect();
        let mut particles = Particles { positions, momenta };
        let mut mesh = Mesh::new(2 * n, side, false);
        let schedule = Schedule { start, end: 1.0, steps: 10 };
        evolve(&mut particles, None, &mut mesh, &cosmology, schedule, &|_| {});
        let (mut error, mut across, mut speed) = (0.0f64, 0.0f64, 0.0f64);
        for ((x, p), q) in particles.positions.iter().zip(&particles.momenta).zip(&lattice) {
            let away = |x: f32, expected: f64| {
                let d = (f64::from(x) - expected) / side;
                ((d - d.round()) * side).abs()
            };
            error = error.max(away(x[1], q[1] + psi(q[1])));
            across = across.max(away(x[0], q[0])).max(away(x[2], q[2]));
            speed = speed.max((f64::from(p[1]) - momentum(1.0) * psi(q[1])).abs());
        }
        assert!(error < 0.02 * amplitude, "{error} of {amplitude}");
        assert!(speed < 0.04 * momentum(1.0) * amplitude, "{speed}");
        assert!(across < 1e-3, "{across}");
    }

    #[test]
    fn compensation_sharpens_the_force_and_leaves_large_scales() {
        let positions = random(4000, 30.0, 5);
        let potential = |compensate: bool| {
            let mut mesh = Mesh::new(16, 30.0, compensate);
            mesh.solve(&positions);
            mesh.spectrum
        };
        let (plain, sharp) = (potential(false), potential(true));
        let ratio = |i: usize| (sharp[i] / plain[i]).re;
        let expected =
            |m: f32| (m * std::f32::consts::PI / 16.0 / (m * std::f32::consts::PI / 16.0).sin()).powi(4);
        assert!((ratio(1) - expected(1.0)).abs() < 1e-4 && (ratio(6) - expected(6.0)).abs() < 1e-4);
    }
}
