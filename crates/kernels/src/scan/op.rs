//! The selective scan as an operation: tasks over examples and blocks of channels, chunk after chunk.

use std::sync::OnceLock;

use candle_core::Shape;
use rayon::prelude::*;

use super::ScanOptions;
use super::kernel::{self, Chunk, Lanes, STEPS, Sums, WIDTH};
use crate::autograd::{Gradient, Op};
use crate::memory::{Output, Shared};
use crate::simd::Level;
use crate::simd::math::fold;
use crate::tokens::ScanOrder;

/// Blocks of one task: they share the sums over channels of the gradients of B and C.
const SPAN: usize = 4;

pub(super) struct SelectiveScan {
    n: usize,
    d: usize,
    l: usize,
    states: usize,
    groups: usize,
    skip: bool,
    gate: bool,
    bias: bool,
    softplus: bool,
    /// Where channels lie side by side, the order of the positions.
    tokens: Option<ScanOrder>,
    /// The states before each chunk, `[block][chunk][state][lane]`, from the forward pass.
    entries: OnceLock<Vec<f32>>,
}

/// The inputs by name; an absent one is empty.
#[derive(Clone, Copy, Default)]
struct Inputs<'a> {
    u: &'a [f32],
    delta: &'a [f32],
    a: &'a [f32],
    b: &'a [f32],
    c: &'a [f32],
    skip: &'a [f32],
    gate: &'a [f32],
    bias: &'a [f32],
}

/// What one task handles: up to [`SPAN`] blocks of channels of one group of one example.
struct Task {
    example: usize,
    group: usize,
    span: usize,
}

/// A block of channels of one example.
#[derive(Clone, Copy)]
struct Block {
    /// Its first channel.
    channel: usize,
    /// Its channels.
    width: usize,
    example: usize,
    /// Its number among all blocks of all examples.
    index: usize,
    /// Where its first row of `[n, d, l]` starts.
    start: usize,
}

impl SelectiveScan {
    pub(super) fn new([n, d, l]: [usize; 3], states: usize, groups: usize, options: &ScanOptions) -> Self {
        Self {
            n,
            d,
            l,
            states,
            groups,
            skip: options.skip.is_some(),
            gate: options.gate.is_some(),
            bias: options.delta_bias.is_some(),
            softplus: options.delta_softplus,
            tokens: None,
            entries: OnceLock::new(),
        }
    }

    /// The same of `[n, l, d]`, and of `b` and `c` `[n, l, s]`, with positions read in an order.
    pub(super) fn on_tokens(self, order: &ScanOrder) -> Self {
        Self { tokens: Some(order.clone()), ..self }
    }

    /// Where the numbers of a turn begin in `[n, l, width]`.
    fn token(&self, order: &ScanOrder, example: usize, turn: usize, width: usize) -> usize {
        (example * self.l + order.positions()[turn] as usize) * width
    }

    fn inputs<'a>(&self, inputs: &[&'a [f32]]) -> candle_core::Result<Inputs<'a>> {
        let &[u, delta, a, b, c, ref rest @ ..] = inputs else {
            candle_core::bail!("selective_scan takes five inputs or more")
        };
        let mut rest = rest.iter().copied();
        let mut next = |present: bool| if present { rest.next().unwrap_or_default() } else { &[] };
        let (skip, gate, bias) = (next(self.skip), next(self.gate), next(self.bias));
        Ok(Inputs { u, delta, a, b, c, skip, gate, bias })
    }

    /// Channels of a group.
    fn channels(&self) -> usize {
        self.d / self.groups
    }

    /// Blocks of a group.
    fn blocks(&self) -> usize {
        self.channels().div_ceil(WIDTH)
    }

    /// Tasks of a group.
    fn spans(&self) -> usize {
        self.blocks().div_ceil(SPAN)
    }

    fn chunks(&self) -> usize {
        self.l.div_ceil(STEPS)
    }

    fn tasks(&self) -> usize {
        self.n * self.groups * self.spans()
    }

    fn task(&self, index: usize) -> Task {
        let (outer, span) = (index / self.spans(), index % self.spans());
        Task { example: outer / self.groups, group: outer % self.groups, span }
    }

    fn blocks_of(&self, task: &Task) -> Vec<Block> {
        let range = task.span * SPAN..self.blocks().min((task.span + 1) * SPAN);
        let block = |k: usize| {
            let channel = task.group * self.channels() + k * WIDTH;
            Block {
                channel,
                example: task.example,
                width: WIDTH.min(self.channels() - k * WIDTH),
                index: (task.example * self.groups + task.group) * self.blocks() + k,
                start: (task.example * self.d + channel) * self.l,
            }
        };
        range.map(block).collect()
    }

    /// Runs through all positions; gives the output and the states before each chunk.
    fn scan(&self, x: &Inputs) -> (Vec<f32>, Vec<f32>) {
        let level = Level::current();
        let states = self.states;
        let mut y = Output::new(x.u.len());
        let mut entries = Output::new(self.n * self.groups * self.blocks() * self.chunks() * states * WIDTH);
        let (out, entries_out) = (y.shared(), entries.shared());
        (0..self.tasks()).into_par_iter().for_each(|index| {
            let task = self.task(index);
            let blocks = self.blocks_of(&task);
            let a: Vec<Lanes> = blocks.iter().flat_map(|block| self.decay_rates(x.a, *block)).collect();
            let mut h = vec![Lanes::ZERO; a.len()];
            let mut shared = Coefficients::new(states);
            let mut scratch = vec![Lanes::ZERO; 4 * STEPS];
            for chunk in 0..self.chunks() {
                let first = chunk * STEPS;
                let steps = STEPS.min(self.l - first);
                shared.read(self, x, &task, first, steps);
                for (k, block) in blocks.iter().enumerate() {
                    let h = &mut h[k * states..][..states];
                    let entry = (block.index * self.chunks() + chunk) * states * WIDTH;
                    // SAFETY: each task writes the entries of its own blocks, each chunk once.
                    let entry = unsafe { entries_out.slice(entry, states * WIDTH) };
                    for (entry, h) in entry.as_chunks_mut::<WIDTH>().0.iter_mut().zip(h.iter()) {
                        *entry = h.0;
                    }
                    let (u, rest) = scratch.split_at_mut(STEPS);
                    let (dt, rest) = rest.split_at_mut(STEPS);
                    let (z, y) = rest.split_at_mut(STEPS);
                    let (u, dt, z, y) = (&mut u[..steps], &mut dt[..steps], &mut z[..steps], &mut y[..steps]);
                    self.read(x.u, *block, first, u);
                    self.read(x.delta, *block, first, dt);
                    kernel::step_sizes(level, dt, &per_channel(x.bias, *block), self.softplus);
                    let a = &a[k * states..][..states];
                    kernel::advance(level, Chunk { a, b: &shared.b, c: &shared.c, dt, u }, h, y);
                    if self.gate {
                        self.read(x.gate, *block, first, z);
                    }
                    let gate = self.gate.then_some(&*z);
                    kernel::finish(level, y, u, &per_channel(x.skip, *block), gate);
                    // SAFETY: each task writes the rows of its own blocks.
                    unsafe { self.write(y, *block, first, out) };
                }
            }
        });
        // SAFETY: the blocks cover all channels of all examples, the chunks all positions.
        unsafe { (y.finish(), entries.finish()) }
    }

    /// The gradients of all inputs.
    fn pull_back(&self, x: &Inputs, dy: &[f32]) -> Pulled {
        let level = Level::current();
        let states = self.states;
        let computed;
        let entries = match self.entries.get() {
            Some(entries) => entries,
            None => {
                computed = self.scan(x).1;
                &computed
            }
        };
        let mut du = Output::new(x.u.len());
        let mut ddelta = Output::new(x.u.len());
        let mut dgate = Output::new(x.gate.len());
        let (out_u, out_delta, out_gate) = (du.shared(), ddelta.shared(), dgate.shared());
        let parts: Vec<Part> = (0..self.tasks())
            .into_par_iter()
            .map(|index| {
                let task = self.task(index);
                let blocks = self.blocks_of(&task);
                let mut part = Part::new(blocks.len(), states, self.l);
                let a: Vec<Lanes> = blocks.iter().flat_map(|block| self.decay_rates(x.a, *block)).collect();
                let mut dh = vec![Lanes::ZERO; a.len()];
                let mut shared = Coefficients::new(states);
                let mut history = vec![Lanes::ZERO; (STEPS + 1) * states];
                let mut decays = vec![Lanes::ZERO; STEPS * states];
                let mut sums = vec![Lanes::ZERO; 2 * STEPS * states];
                let mut scratch = vec![Lanes::ZERO; 7 * STEPS];
                for chunk in (0..self.chunks()).rev() {
                    let first = chunk * STEPS;
                    let steps = STEPS.min(self.l - first);
                    shared.read(self, x, &task, first, steps);
                    sums.fill(Lanes::ZERO);
                    let (sums_b, sums_c) = sums.split_at_mut(STEPS * states);
                    for (k, block) in blocks.iter().enumerate() {
                        let mut pieces = scratch.chunks_exact_mut(STEPS).map(|piece| &mut piece[..steps]);
                        let mut piece = || pieces.next().unwrap_or_default();
                        let (u, dt, z, y, dy_lanes) = (piece(), piece(), piece(), piece(), piece());
                        let (du, ddt) = (piece(), piece());
                        self.read(x.u, *block, first, u);
                        self.read(x.delta, *block, first, dt);
                        self.read(dy, *block, first, dy_lanes);
                        kernel::step_sizes(level, dt, &per_channel(x.bias, *block), self.softplus);
                        let mine = k * states..(k + 1) * states;
                        let chunk_of = Chunk { a: &a[mine.clone()], b: &shared.b, c: &shared.c, dt, u };
                        let entry = (block.index * self.chunks() + chunk) * states * WIDTH;
                        let entry = &entries[entry..][..states * WIDTH];
                        kernel::replay(level, chunk_of, entry, &mut history, &mut decays, y);
                        if self.gate {
                            self.read(x.gate, *block, first, z);
                        }
                        kernel::finish_back(
                            level,
                            y,
                            u,
                            &per_channel(x.skip, *block),
                            self.gate.then_some(&mut *z),
                            dy_lanes,
                            du,
                            &mut part.skip[k],
                        );
                        let sums =
                            Sums { h: &mut dh[mine.clone()], a: &mut part.a[mine], b: sums_b, c: sums_c };
                        kernel::retreat(level, chunk_of, &history, &decays, dy_lanes, sums, du, ddt);
                        kernel::step_sizes_back(level, dt, ddt, self.softplus, &mut part.bias[k]);
                        // SAFETY: each task writes the rows of its own blocks.
                        unsafe {
                            self.write(du, *block, first, out_u);
                            self.write(ddt, *block, first, out_delta);
                            if self.gate {
                                self.write(z, *block, first, out_gate);
                            }
                        }
                    }
                    for (sums, out) in [(sums_b, &mut part.b), (sums_c, &mut part.c)] {
                        for t in 0..steps {
                            for s in 0..states {
                                out[s * self.l + first + t] = fold(sums[t * states + s].0);
                            }
                        }
                    }
                }
                part
            })
            .collect();
        let [a, skip, bias, b, c] = self.join(&parts);
        // SAFETY: the blocks cover all channels of all examples, the chunks all positions.
        let [u, delta, gate] = unsafe { [du.finish(), ddelta.finish(), dgate.finish()] };
        Pulled { u, delta, a, b, c, skip, gate, bias }
    }

    /// The sums of the tasks' parts, in the order of the tasks.
    fn join(&self, parts: &[Part]) -> [Vec<f32>; 5] {
        let states = self.states;
        let [mut a, mut skip, mut bias] = [self.d * states, self.d, self.d].map(|len| vec![0.0f32; len]);
        let size = states * self.l;
        let [mut b, mut c] = [0, 1].map(|_| vec![0.0f32; self.n * self.groups * size]);
        for (index, part) in parts.iter().enumerate() {
            let task = self.task(index);
            for (k, block) in self.blocks_of(&task).iter().enumerate() {
                for w in 0..block.width {
                    let d = block.channel + w;
                    skip[d] += part.skip[k].0[w];
                    bias[d] += part.bias[k].0[w];
                    for s in 0..states {
                        a[d * states + s] += part.a[k * states + s].0[w];
                    }
                }
            }
            let start = (task.example * self.groups + task.group) * size;
            for (total, part) in [(&mut b, &part.b), (&mut c, &part.c)] {
                total[start..start + size].iter_mut().zip(part).for_each(|(total, part)| *total += part);
            }
        }
        if let Some(order) = &self.tokens {
            [b, c] = [b, c].map(|by_state| {
                let mut by_token = vec![0.0; by_state.len()];
                for (i, x) in by_state.iter().enumerate() {
                    let (row, turn) = (i / self.l, i % self.l);
                    let (example, state) = (row / states, row % states);
                    by_token[self.token(order, example, turn, states) + state] = *x;
                }
                by_token
            });
        }
        [a, skip, bias, b, c]
    }

    /// The rows of `a [d, states]` of a block, channels in lanes.
    fn decay_rates(&self, a: &[f32], block: Block) -> Vec<Lanes> {
        let mut lanes = vec![Lanes::ZERO; self.states];
        for w in 0..block.width {
            for (lanes, a) in lanes.iter_mut().zip(&a[(block.channel + w) * self.states..]) {
                lanes.0[w] = *a;
            }
        }
        lanes
    }

    /// Positions from `first` on of the rows of a block, channels in lanes; lanes without a channel are zero.
    fn read(&self, x: &[f32], block: Block, first: usize, lanes: &mut [Lanes]) {
        if let Some(order) = &self.tokens {
            for (i, lanes) in lanes.iter_mut().enumerate() {
                let start = self.token(order, block.example, first + i, self.d) + block.channel;
                let (these, rest) = lanes.0.split_at_mut(block.width);
                these.copy_from_slice(&x[start..][..block.width]);
                rest.fill(0.0);
            }
            return;
        }
        for w in 0..WIDTH {
            if w < block.width {
                let row = &x[block.start + w * self.l + first..][..lanes.len()];
                for (lanes, x) in lanes.iter_mut().zip(row) {
                    lanes.0[w] = *x;
                }
            } else {
                lanes.iter_mut().for_each(|lanes| lanes.0[w] = 0.0);
            }
        }
    }

    /// The inverse of [`Self::read`].
    ///
    /// # Safety
    /// `out` has the size of `[n, d, l]`, and no other task uses the rows of this block.
    unsafe fn write(&self, lanes: &[Lanes], block: Block, first: usize, out: Shared) {
        if let Some(order) = &self.tokens {
            for (i, lanes) in lanes.iter().enumerate() {
                let start = self.token(order, block.example, first + i, self.d) + block.channel;
                // SAFETY: an order names each token once; the caller vouches for exclusive use.
                let token = unsafe { out.slice(start, block.width) };
                token.copy_from_slice(&lanes.0[..block.width]);
            }
            return;
        }
        for w in 0..block.width {
            // SAFETY: the rows lie within `[n, d, l]`; the caller vouches for exclusive use.
            let row = unsafe { out.slice(block.start + w * self.l + first, lanes.len()) };
            for (lanes, x) in lanes.iter().zip(row) {
                *x = lanes.0[w];
            }
        }
    }
}

/// The numbers `[d]` of a block; zero where absent.
fn per_channel(x: &[f32], block: Block) -> Lanes {
    let mut lanes = Lanes::ZERO;
    if !x.is_empty() {
        lanes.0[..block.width].copy_from_slice(&x[block.channel..][..block.width]);
    }
    lanes
}

/// B and C of a chunk, `[position][state]`.
struct Coefficients {
    b: Vec<f32>,
    c: Vec<f32>,
}

impl Coefficients {
    fn new(states: usize) -> Self {
        Self { b: vec![0.0; STEPS * states], c: vec![0.0; STEPS * states] }
    }

    fn read(&mut self, op: &SelectiveScan, x: &Inputs, task: &Task, first: usize, steps: usize) {
        let start = (task.example * op.groups + task.group) * op.states * op.l;
        for (to, from) in [(&mut self.b, x.b), (&mut self.c, x.c)] {
            if let Some(order) = &op.tokens {
                for (t, to) in to.chunks_exact_mut(op.states).take(steps).enumerate() {
                    let token = op.token(order, task.example, first + t, op.states);
                    to.copy_from_slice(&from[token..][..op.states]);
                }
                continue;
            }
            for s in 0..op.states {
                let row = &from[start + s * op.l + first..][..steps];
                for (t, value) in row.iter().enumerate() {
                    to[t * op.states + s] = *value;
                }
            }
        }
    }
}

/// What one task adds to the gradients that are summed over examples or channels.
struct Part {
    a: Vec<Lanes>,
    skip: Vec<Lanes>,
    bias: Vec<Lanes>,
    /// `[state][position]`.
    b: Vec<f32>,
    c: Vec<f32>,
}

impl Part {
    fn new(blocks: usize, states: usize, l: usize) -> Self {
        Self {
            a: vec![Lanes::ZERO; blocks * states],
            skip: vec![Lanes::ZERO; blocks],
            bias: vec![Lanes::ZERO; blocks],
            b: vec![0.0; states * l],
            c: vec![0.0; states * l],
        }
    }
}

/// The gradients by name.
struct Pulled {
    u: Vec<f32>,
    delta: Vec<f32>,
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
    skip: Vec<f32>,
    gate: Vec<f32>,
    bias: Vec<f32>,
}

impl Op for SelectiveScan {
    fn name(&self) -> &'static str {
        "selective_scan"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let (y, entries) = self.scan(&self.inputs(inputs)?);
        let _ = self.entries.set(entries);
        let shape = if self.tokens.is_some() { (self.n, self.l, self.d) } else { (self.n, self.d, self.l) };
        Ok((y, shape.into()))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let all = self.pull_back(&self.inputs(inputs)?, dy);
        let optional = [(self.skip, all.skip), (self.gate, all.gate), (self.bias, all.bias)];
        let optional = optional.into_iter().filter_map(|(present, values)| present.then_some(values));
        let main = [all.u, all.delta, all.a, all.b, all.c];
        Ok(main.into_iter().chain(optional).map(Gradient::Values).collect())
    }
}
