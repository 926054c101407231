//! Kernels of many pixels: the mean over a pixel from the profile at its centre.
//!
//! The mean of a smooth F over a square of side h about a point is F + h^2/24 (F_xx + F_yy) there, with an error of order
//! h^4. From six pixels a radius on that is within 5e-4 of a kernel's mass (eight for Wendland C4), and costs a polynomial a
//! pixel where the exact integral costs a table.

use std::f64::consts::PI;
use std::sync::OnceLock;

use crate::Kernel;

/// The degree of the polynomials in q^2.
const DEGREE: usize = 8;
/// The q^2 at which one piece ends and the other begins: the knot of the cubic spline.
pub(crate) const KNOT: f64 = 0.25;
/// Rows are computed in whole groups of this many pixels.
pub(crate) const LANES: usize = 16;

pub(crate) type Piece<T> = [T; DEGREE + 1];

/// The column of a kernel of unit radius and its Laplacian, as polynomials.
pub(crate) enum Profile {
    /// In q^2, below and above the knot: F and F_xx + F_yy, in u from -1 to 1 over each piece.
    Squared { value: [Piece<f64>; 2], laplacian: [Piece<f64>; 2] },
    /// In q: the planar Wendland kernel.
    Linear { value: Piece<f64>, laplacian: Piece<f64> },
    /// sqrt(1 - q^2) times a constant, at the centre alone: its rim is never smooth.
    Sphere,
}

/// The most groups of a row of a stamp.
const GROUPS: usize = 5;

/// The polynomials of one kernel, and what takes q^2 to their variable.
struct Blend {
    pieces: [Piece<f32>; 2],
    lines: [[f32; 2]; 2],
}

/// Where a stamp lies.
pub(crate) struct Stamp {
    pub(crate) corner: [usize; 2],
    pub(crate) rows: usize,
    pub(crate) groups: usize,
    /// The sum of its weights.
    pub(crate) total: f64,
}

/// The middle and half of the width of a piece.
pub(crate) fn place(piece: usize) -> (f64, f64) {
    let (low, high) = if piece == 0 { (0.0, KNOT) } else { (KNOT, 1.0) };
    (0.5 * (low + high), 0.5 * (high - low))
}

impl Profile {
    /// The profile of a kernel, made at its first use.
    pub(crate) fn of(kernel: Kernel) -> &'static Self {
        static PROFILES: [OnceLock<Profile>; 5] = [const { OnceLock::new() }; 5];
        PROFILES[kernel as usize].get_or_init(|| Self::new(kernel))
    }

    fn new(kernel: Kernel) -> Self {
        let padded =
            |few: &[f64]| -> Piece<f64> { std::array::from_fn(|i| few.get(i).map_or(0.0, |c| 7.0 / PI * c)) };
        match kernel {
            Kernel::UniformSphere => Self::Sphere,
            Kernel::PlanarWendlandC2 => Self::Linear {
                value: padded(&[1.0, 0.0, -10.0, 20.0, -15.0, 4.0]),
                laplacian: padded(&[-40.0, 180.0, -240.0, 100.0]),
            },
            _ => {
                let value = [0, 1].map(|piece| {
                    let (middle, half) = place(piece);
                    interpolate(|u| kernel.column((middle + half * u).max(0.0).sqrt()))
                });
                let laplacian = [0, 1].map(|piece| {
                    // With t = q^2 the Laplacian is 4 (F' + t F'').
                    let (middle, half) = place(piece);
                    let first = derivative(&value[piece]).map(|c| c / half);
                    let second = derivative(&first).map(|c| c / half);
                    std::array::from_fn(|i| {
                        let shifted = if i == 0 { 0.0 } else { half * second[i - 1] };
                        4.0 * (first[i] + middle * second[i] + shifted)
                    })
                });
                Self::Squared { value, laplacian }
            }
        }
    }

    /// F + h^2/24 (F_xx + F_yy) for square pixels of side h, F for others.
    #[inline(always)]
    fn blend(&self, radius: [f64; 2]) -> Blend {
        let square = (radius[0] / radius[1] - 1.0).abs() < 1e-9;
        let share = if square { 1.0 / (24.0 * radius[0] * radius[0]) } else { 0.0 };
        let sum = |a: &Piece<f64>, b: &Piece<f64>| -> Piece<f32> {
            std::array::from_fn(|i| (a[i] + share * b[i]) as f32)
        };
        let pieces = match self {
            Self::Squared { value, laplacian } => [0, 1].map(|p| sum(&value[p], &laplacian[p])),
            Self::Linear { value, laplacian } => [sum(value, laplacian); 2],
            Self::Sphere => [[0.0; DEGREE + 1]; 2],
        };
        let lines = [0, 1].map(|p| {
            let (middle, half) = place(p);
            [(1.0 / half) as f32, (-middle / half) as f32]
        });
        Blend { pieces, lines }
    }

    /// The weights of a kernel of moderate radius on the whole square about it, in `out`: a constant number of groups a row, without a
    /// branch in the loop. Not for [`Profile::Sphere`].
    #[inline(always)]
    pub(crate) fn stamp<const FUSED: bool>(
        &self,
        at: [f64; 2],
        radius: [f64; 2],
        out: &mut Vec<[f32; LANES]>,
    ) -> Stamp {
        let Blend { pieces, lines } = self.blend(radius);
        let corner = [0, 1].map(|a| (at[a] - radius[a]).floor());
        let count = [0, 1].map(|a| (at[a] + radius[a]).floor() as usize + 1 - corner[a] as usize);
        let groups = count[1].div_ceil(LANES).min(GROUPS);
        let mut squares = [[0f32; LANES]; GROUPS];
        let (start, step) = (((corner[1] + 0.5 - at[1]) / radius[1]) as f32, (1.0 / radius[1]) as f32);
        for (g, group) in squares[..groups].iter_mut().enumerate() {
            for (i, square) in group.iter_mut().enumerate() {
                let x = times_plus::<FUSED>(step, (g * LANES + i) as f32, start);
                *square = x * x;
            }
        }
        if out.len() < count[0] * groups {
            out.resize(count[0] * groups, [0.0; LANES]);
        }
        let per_radius = 1.0 / radius[0];
        for (row, out) in out.chunks_exact_mut(groups).take(count[0]).enumerate() {
            let dy = (corner[0] + row as f64 + 0.5 - at[0]) * per_radius;
            let dy2 = (dy * dy) as f32;
            for (out, squares) in out.iter_mut().zip(&squares) {
                for i in 0..LANES {
                    let t = dy2 + squares[i];
                    let value = match self {
                        Self::Linear { .. } => {
                            let [c0, c1, c2, c3, c4, c5, ..] = pieces[0];
                            let q = t.sqrt();
                            ((((c5 * q + c4) * q + c3) * q + c2) * q + c1) * q + c0
                        }
                        _ => {
                            let piece = |p: usize| {
                                horner::<FUSED>(&pieces[p], times_plus::<FUSED>(lines[p][0], t, lines[p][1]))
                            };
                            let (inner, outer) = (piece(0), piece(1));
                            if t < KNOT as f32 { inner } else { outer }
                        }
                    };
                    let inside = value.max(0.0);
                    out[i] = if t < 1.0 { inside } else { 0.0 };
                }
            }
        }
        let mut lanes = [0f32; LANES];
        for group in &out[..count[0] * groups] {
            for i in 0..LANES {
                lanes[i] += group[i];
            }
        }
        let total = lanes.iter().map(|&v| f64::from(v)).sum();
        Stamp { corner: corner.map(|c| c as usize), rows: count[0], groups, total }
    }

    /// Lays the kernel of `radius` pixels at `at`, `[y, x]`, on the rows `from..=to`, one row of weights after the
    /// other in whole groups, those beyond the kernel 0; `each` gets the row, its first pixel, and the place of its weights. Square pixels have the means over pixels, others the values at their centres.
    #[inline(always)]
    pub(crate) fn rows<const FUSED: bool>(
        &self,
        at: [f64; 2],
        radius: [f64; 2],
        (from, to): (i64, i64),
        weights: &mut Vec<f32>,
        mut each: impl FnMut(i64, i64, usize, usize, &[f32]),
    ) {
        let Blend { pieces, lines } = self.blend(radius);
        let (step, knot) = (1.0 / radius[1] as f32, KNOT as f32);
        let inner = |t: f32| horner::<FUSED>(&pieces[0], times_plus::<FUSED>(lines[0][0], t, lines[0][1]));
        let outer = |t: f32| horner::<FUSED>(&pieces[1], times_plus::<FUSED>(lines[1][0], t, lines[1][1]));
        // No row is longer than the diameter.
        let most = ((2.0 * radius[1]) as usize + 1).div_ceil(LANES) * LANES;
        let room = (to - from + 1).max(0) as usize * most;
        if weights.len() < room {
            weights.resize(room, 0.0);
        }
        let mut end = 0;
        for y in from..=to {
            let dy = (y as f64 + 0.5 - at[0]) / radius[0];
            let chord = 1.0 - dy * dy;
            if chord <= 0.0 {
                continue;
            }
            let half = chord.sqrt() * radius[1];
            let first = (at[1] - half - 0.5).ceil();
            let count = ((at[1] + half - 0.5).floor() - first + 1.0).max(0.0) as usize;
            let begin = end;
            end = begin + (count.div_ceil(LANES) * LANES).min(most);
            let row = &mut weights[begin..end];
            let (dy2, start) = ((dy * dy) as f32, ((first + 0.5 - at[1]) / radius[1]) as f32);
            match self {
                Self::Squared { .. } if dy2 >= knot => fill::<FUSED>(row, dy2, start, step, outer),
                Self::Squared { .. } => fill::<FUSED>(row, dy2, start, step, |t| {
                    let (a, b) = (inner(t), outer(t));
                    if t < knot { a } else { b }
                }),
                Self::Linear { .. } => fill::<FUSED>(row, dy2, start, step, |t| {
                    let [c0, c1, c2, c3, c4, c5, ..] = pieces[0];
                    let q = t.sqrt();
                    ((((c5 * q + c4) * q + c3) * q + c2) * q + c1) * q + c0
                }),
                Self::Sphere => {
                    fill::<FUSED>(row, dy2, start, step, |t| (1.5 / PI) as f32 * (1.0 - t).max(0.0).sqrt())
                }
            }
            each(y, first as i64, begin, end, weights);
        }
    }
}

/// The sum of a kernel's weights over all its rows.
pub(crate) struct Sum<'a> {
    pub(crate) profile: &'a Profile,
    pub(crate) at: [f64; 2],
    pub(crate) radius: [f64; 2],
    pub(crate) scratch: &'a mut Vec<f32>,
}

impl Sum<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) -> f64 {
        let Self { profile, at, radius, scratch } = self;
        let rows = ((at[0] - radius[0]).floor() as i64, (at[0] + radius[0]).floor() as i64);
        let mut lanes = [0f64; LANES];
        profile.rows::<FUSED>(at, radius, rows, scratch, |_, _, from, to, weights| {
            for group in weights[from..to].chunks_exact(LANES) {
                lanes.iter_mut().zip(group).for_each(|(sum, v)| *sum += f64::from(*v));
            }
        });
        lanes.iter().sum()
    }
}

impl pulp::WithSimd for Sum<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> f64 {
        if S::IS_SCALAR { self.run::<false>() } else { self.run::<true>() }
    }
}

/// The weights of one row of pixel centres, at squared distances dy2 + (start + step i)^2.
#[inline(always)]
fn fill<const FUSED: bool>(row: &mut [f32], dy2: f32, start: f32, step: f32, weight: impl Fn(f32) -> f32) {
    for (g, group) in row.chunks_exact_mut(LANES).enumerate() {
        let first = (g * LANES) as f32;
        for (i, out) in group.iter_mut().enumerate() {
            let x = times_plus::<FUSED>(step, first + i as f32, start);
            let t = times_plus::<FUSED>(x, x, dy2);
            let inside = weight(t).max(0.0);
            *out = if t < 1.0 { inside } else { 0.0 };
        }
    }
}

/// a b + c, rounded once where the processor has an instruction for it.
#[inline(always)]
fn times_plus<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
fn horner<const FUSED: bool>(c: &Piece<f32>, u: f32) -> f32 {
    let mut sum = c[DEGREE];
    for i in (0..DEGREE).rev() {
        sum = times_plus::<FUSED>(sum, u, c[i]);
    }
    sum
}

fn derivative(c: &Piece<f64>) -> Piece<f64> {
    std::array::from_fn(|i| if i < DEGREE { (i + 1) as f64 * c[i + 1] } else { 0.0 })
}

/// The coefficients in powers of u of the polynomial through f at Chebyshev's nodes.
fn interpolate(f: impl Fn(f64) -> f64) -> Piece<f64> {
    let n = DEGREE + 1;
    let angle = |k: usize| PI * (k as f64 + 0.5) / n as f64;
    let nodes: Piece<f64> = std::array::from_fn(|k| f(angle(k).cos()));
    let mut sum = [0.0; DEGREE + 1];
    // T_0, T_1, ... in powers of u, by T_(j+1) = 2 u T_j - T_(j-1).
    let (mut before, mut here) = ([0.0; DEGREE + 1], [0.0; DEGREE + 1]);
    here[0] = 1.0;
    for j in 0..n {
        let coefficient: f64 = (0..n).map(|k| nodes[k] * (j as f64 * angle(k)).cos()).sum::<f64>()
            * if j == 0 { 1.0 } else { 2.0 }
            / n as f64;
        sum.iter_mut().zip(here).for_each(|(s, t)| *s += coefficient * t);
        let factor = if j == 0 { 1.0 } else { 2.0 };
        let next = std::array::from_fn(|i| if i == 0 { 0.0 } else { factor * here[i - 1] } - before[i]);
        (before, here) = (here, next);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_the_columns() {
        for kernel in [Kernel::CubicSpline, Kernel::WendlandC2, Kernel::WendlandC4, Kernel::PlanarWendlandC2]
        {
            // Wide kernels have no Laplacian to speak of.
            let (radius, mut scratch) = ([1e4; 2], Vec::new());
            let at = [0.5, -0.25];
            for row in [0i64, 3000, 4999, 5001, 7000, 9990] {
                Profile::of(kernel).rows::<false>(
                    at,
                    radius,
                    (row, row),
                    &mut scratch,
                    |y, x, from, to, weights| {
                        for (i, w) in weights[from..to].iter().enumerate().step_by(37) {
                            let d = [y as f64 + 0.5 - at[0], (x + i as i64) as f64 + 0.5 - at[1]];
                            let expected = kernel.column(d[0].hypot(d[1]) / 1e4);
                            let error = (f64::from(*w) - expected).abs() / kernel.column(0.0);
                            assert!(error < 2e-4, "{kernel:?} {y} {i}: {w} {expected}");
                        }
                    },
                );
            }
        }
    }

    #[test]
    fn the_laplacian_is_that_of_the_column() {
        for kernel in [Kernel::CubicSpline, Kernel::WendlandC2, Kernel::WendlandC4, Kernel::PlanarWendlandC2]
        {
            for q in [0.1, 0.3, 0.45, 0.6, 0.8, 0.95] {
                let e = 1e-3;
                let f = |dx: f64, dy: f64| kernel.column((q + dx).hypot(dy));
                let expected =
                    (f(e, 0.0) + f(-e, 0.0) + f(0.0, e) + f(0.0, -e) - 4.0 * f(0.0, 0.0)) / (e * e);
                let found = match Profile::of(kernel) {
                    Profile::Squared { laplacian, .. } => {
                        let piece = usize::from(q * q >= KNOT);
                        let (middle, half) = place(piece);
                        let u = (q * q - middle) / half;
                        laplacian[piece].iter().rev().fold(0.0, |s, c| s * u + c)
                    }
                    Profile::Linear { laplacian, .. } => laplacian.iter().rev().fold(0.0, |s, c| s * q + c),
                    Profile::Sphere => expected,
                };
                assert!((found - expected).abs() < 0.01 * 40.0, "{kernel:?} {q}: {found} {expected}");
            }
        }
    }
}
