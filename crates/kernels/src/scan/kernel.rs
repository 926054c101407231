//! The recurrence over one chunk of positions, for a block of channels in the lanes of vectors.
//!
//! Channels lie in the lanes: the states of a block are independent numbers, so that no sum runs across lanes but those
//! of the gradients of B and C, and these are taken once for all blocks of a task.

use crate::simd::math::{exp, log1p_exp, sigmoid};
use crate::simd::{fma, multiversion};

/// Channels of a block.
pub(super) const WIDTH: usize = 16;
/// Positions of a chunk: the distance of the states that the forward pass keeps.
pub(super) const STEPS: usize = 16;

/// One number of each channel of a block.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Lanes(pub(super) [f32; WIDTH]);

impl Lanes {
    pub(super) const ZERO: Self = Self([0.0; WIDTH]);
}

/// What a chunk reads: `a [state]`, `b` and `c` `[position][state]`, the others `[position]`.
#[derive(Clone, Copy)]
pub(super) struct Chunk<'a> {
    pub(super) a: &'a [Lanes],
    pub(super) b: &'a [f32],
    pub(super) c: &'a [f32],
    pub(super) dt: &'a [Lanes],
    pub(super) u: &'a [Lanes],
}

multiversion! {
    /// Advances the states `h` over the chunk and gives `y = sum_s C h`.
    pub(super) fn advance(chunk: Chunk<'_>, h: &mut [Lanes], y: &mut [Lanes]) {
        let states = h.len();
        for (t, y) in y.iter_mut().enumerate() {
            let (dt, u) = (chunk.dt[t].0, chunk.u[t].0);
            let (b, c) = (&chunk.b[t * states..][..states], &chunk.c[t * states..][..states]);
            let mut dtu = [0.0; WIDTH];
            for w in 0..WIDTH {
                dtu[w] = dt[w] * u[w];
            }
            let mut sum = [0.0; WIDTH];
            for (((a, h), b), c) in chunk.a.iter().zip(h.iter_mut()).zip(b).zip(c) {
                // Copies: the compiler need not ask whether the lanes overlap.
                let (a, mut now) = (a.0, h.0);
                for w in 0..WIDTH {
                    now[w] = fma::<FMA>(exp::<FMA>(dt[w] * a[w]), now[w], dtu[w] * b);
                    sum[w] = fma::<FMA>(now[w], *c, sum[w]);
                }
                h.0 = now;
            }
            y.0 = sum;
        }
    }
}

multiversion! {
    /// As `advance` from `entry`, keeping all states and decays, `[position][state]`.
    pub(super) fn replay(
        chunk: Chunk<'_>,
        entry: &[f32],
        history: &mut [Lanes],
        decays: &mut [Lanes],
        y: &mut [Lanes],
    ) {
        let states = chunk.a.len();
        let (first, history) = history.split_at_mut(states);
        for (first, entry) in first.iter_mut().zip(entry.as_chunks::<WIDTH>().0) {
            first.0 = *entry;
        }
        let mut before: &[Lanes] = first;
        let rows = history.chunks_exact_mut(states).zip(decays.chunks_exact_mut(states));
        for ((t, y), (now, decays)) in y.iter_mut().enumerate().zip(rows) {
            let (dt, u) = (chunk.dt[t].0, chunk.u[t].0);
            let (b, c) = (&chunk.b[t * states..][..states], &chunk.c[t * states..][..states]);
            let mut dtu = [0.0; WIDTH];
            for w in 0..WIDTH {
                dtu[w] = dt[w] * u[w];
            }
            let mut sum = [0.0; WIDTH];
            for s in 0..states {
                let (a, mut h, b, c) = (chunk.a[s].0, before[s].0, b[s], c[s]);
                let mut decay = [0.0; WIDTH];
                for w in 0..WIDTH {
                    decay[w] = exp::<FMA>(dt[w] * a[w]);
                    h[w] = fma::<FMA>(decay[w], h[w], dtu[w] * b);
                    sum[w] = fma::<FMA>(h[w], c, sum[w]);
                }
                now[s].0 = h;
                decays[s].0 = decay;
            }
            y.0 = sum;
            before = now;
        }
    }
}

/// What the gradient of a chunk adds to: `h` and `a` `[state]`, `b` and `c` `[position][state]`.
pub(super) struct Sums<'a> {
    /// The gradient of the states after the chunk, and on return before it.
    pub(super) h: &'a mut [Lanes],
    pub(super) a: &'a mut [Lanes],
    pub(super) b: &'a mut [Lanes],
    pub(super) c: &'a mut [Lanes],
}

multiversion! {
    /// Goes back through a chunk that was replayed; `dy` is the gradient of `y`. Adds to `du`, and sets `ddt`.
    pub(super) fn retreat(
        chunk: Chunk<'_>,
        history: &[Lanes],
        decays: &[Lanes],
        dy: &[Lanes],
        sums: Sums<'_>,
        du: &mut [Lanes],
        ddt: &mut [Lanes],
    ) {
        let states = chunk.a.len();
        for t in (0..dy.len()).rev() {
            let (dt, u, dy) = (chunk.dt[t].0, chunk.u[t].0, dy[t].0);
            let (b, c) = (&chunk.b[t * states..][..states], &chunk.c[t * states..][..states]);
            let (before, now) = history[t * states..][..2 * states].split_at(states);
            let decays = &decays[t * states..][..states];
            let (sums_b, sums_c) =
                (&mut sums.b[t * states..][..states], &mut sums.c[t * states..][..states]);
            let (mut dtu, mut d_dtu, mut d_dt) = ([0.0; WIDTH], [0.0; WIDTH], [0.0; WIDTH]);
            for w in 0..WIDTH {
                dtu[w] = dt[w] * u[w];
            }
            for s in 0..states {
                let (a, before, now, decay) = (chunk.a[s].0, before[s].0, now[s].0, decays[s].0);
                let (mut dh, mut da) = (sums.h[s].0, sums.a[s].0);
                let (mut db, mut dc) = (sums_b[s].0, sums_c[s].0);
                let (b, c) = (b[s], c[s]);
                for w in 0..WIDTH {
                    let d = fma::<FMA>(dy[w], c, dh[w]);
                    dc[w] = fma::<FMA>(dy[w], now[w], dc[w]);
                    db[w] = fma::<FMA>(d, dtu[w], db[w]);
                    d_dtu[w] = fma::<FMA>(d, b, d_dtu[w]);
                    let carried = d * decay[w];
                    dh[w] = carried;
                    let d_exponent = carried * before[w];
                    da[w] = fma::<FMA>(d_exponent, dt[w], da[w]);
                    d_dt[w] = fma::<FMA>(d_exponent, a[w], d_dt[w]);
                }
                (sums.h[s].0, sums.a[s].0) = (dh, da);
                (sums_b[s].0, sums_c[s].0) = (db, dc);
            }
            for w in 0..WIDTH {
                du[t].0[w] = fma::<FMA>(d_dtu[w], dt[w], du[t].0[w]);
                ddt[t].0[w] = fma::<FMA>(d_dtu[w], u[w], d_dt[w]);
            }
        }
    }
}

multiversion! {
    /// `delta + bias`, and its softplus.
    pub(super) fn step_sizes(delta: &mut [Lanes], bias: &Lanes, softplus: bool) {
        for delta in delta {
            for w in 0..WIDTH {
                delta.0[w] += bias.0[w];
            }
            if softplus {
                for w in 0..WIDTH {
                    delta.0[w] = log1p_exp::<FMA>(delta.0[w]);
                }
            }
        }
    }
}

multiversion! {
    /// The gradient of the step sizes, pulled back through the softplus; adds its sum to `total`.
    pub(super) fn step_sizes_back(dt: &[Lanes], ddt: &mut [Lanes], softplus: bool, total: &mut Lanes) {
        for (dt, ddt) in dt.iter().zip(ddt) {
            if softplus {
                // With dt = ln(1 + e^x): dt/dx = 1 - e^{-dt}. Where that cancels, it is dt (1 - dt/2 + dt^2/6).
                for w in 0..WIDTH {
                    let x = dt.0[w];
                    let small = x * fma::<FMA>(x, fma::<FMA>(x, 1.0 / 6.0, -0.5), 1.0);
                    let slope = if x < 0.01 { small } else { 1.0 - exp::<FMA>(-x) };
                    ddt.0[w] *= slope;
                }
            }
            for w in 0..WIDTH {
                total.0[w] += ddt.0[w];
            }
        }
    }
}

multiversion! {
    /// `(y + D u) z sigma(z)`.
    pub(super) fn finish(y: &mut [Lanes], u: &[Lanes], skip: &Lanes, gate: Option<&[Lanes]>) {
        for (y, u) in y.iter_mut().zip(u) {
            for w in 0..WIDTH {
                y.0[w] = fma::<FMA>(skip.0[w], u.0[w], y.0[w]);
            }
        }
        for (y, z) in y.iter_mut().zip(gate.unwrap_or_default()) {
            for w in 0..WIDTH {
                y.0[w] *= z.0[w] * sigmoid::<FMA>(z.0[w]);
            }
        }
    }
}

multiversion! {
    /// Turns the gradient `dy` of the output into that of the sum over states, the gate into its gradient; sets `du` to
    /// the part of D, and adds to `dskip`.
    pub(super) fn finish_back(
        y: &[Lanes],
        u: &[Lanes],
        skip: &Lanes,
        gate: Option<&mut [Lanes]>,
        dy: &mut [Lanes],
        du: &mut [Lanes],
        dskip: &mut Lanes,
    ) {
        for ((z, dy), (y, u)) in gate.unwrap_or_default().iter_mut().zip(dy.iter_mut()).zip(y.iter().zip(u)) {
            for w in 0..WIDTH {
                let s = sigmoid::<FMA>(z.0[w]);
                let y = fma::<FMA>(skip.0[w], u.0[w], y.0[w]);
                let dz = dy.0[w] * y * s * fma::<FMA>(z.0[w], 1.0 - s, 1.0);
                dy.0[w] *= z.0[w] * s;
                z.0[w] = dz;
            }
        }
        for ((dy, u), du) in dy.iter().zip(u).zip(du) {
            for w in 0..WIDTH {
                du.0[w] = dy.0[w] * skip.0[w];
                dskip.0[w] = fma::<FMA>(dy.0[w], u.0[w], dskip.0[w]);
            }
        }
    }
}
