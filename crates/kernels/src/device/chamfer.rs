//! Chamfer distances on a device.

use std::sync::OnceLock;

use candle_core::{DType, Device, Result, Shape, Tensor};

use super::graph::{DeviceOp, apply};
use super::points::{Cloud, Sides, counts};
use super::queue::{Arg, Block, launch, launch_each};
use super::source;

/// Two batches of clouds, and how they are compared.
pub(crate) struct Pairs {
    pub(crate) name: &'static str,
    pub(crate) clouds: [Cloud; 2],
    pub(crate) axes: usize,
    pub(crate) sides: Sides,
    /// Whether distances count, not their squares.
    pub(crate) root: bool,
    /// Points of each example that count.
    pub(crate) counts: [Vec<usize>; 2],
}

/// The nearest points of one direction: indices and squared distances.
#[derive(Clone)]
struct Nearest {
    index: Tensor,
    squares: Tensor,
}

impl Pairs {
    fn device(&self) -> &Device {
        self.clouds[0].device()
    }

    fn batch(&self) -> usize {
        self.clouds[0].batch
    }

    fn nearest(&self, from: usize) -> Result<Nearest> {
        let (own, other) = (&self.clouds[from], &self.clouds[1 - from]);
        let (device, count) = (self.device(), self.batch() * own.n);
        let own_counts = counts(&self.counts[from], device)?;
        let other_counts = counts(&self.counts[1 - from], device)?;
        let (mut index, mut squares) =
            (Block::new(device, count, DType::U32)?, Block::floats(device, count)?);
        let mut args = vec![
            Arg::In(&own.points),
            Arg::In(&other.points),
            Arg::In(&own_counts),
            Arg::In(&other_counts),
            index.out(),
            squares.out(),
            Arg::Int(own.n),
            Arg::Int(other.n),
        ];
        args.extend(self.sides.args());
        let kernel = source::CLOUD_NEAREST;
        launch(device, kernel, self.batch() * own.n.div_ceil(kernel.threads), &mut args)?;
        drop(args);
        Ok(Nearest { index: index.tensor(count), squares: squares.tensor(count) })
    }

    fn distances(&self, nearest: &Nearest) -> Result<Block> {
        let count = nearest.squares.elem_count();
        let mut y = Block::floats(self.device(), count)?;
        let args = &mut [Arg::In(&nearest.squares), y.out(), Arg::Int(count), Arg::Int(self.root.into())];
        launch_each(self.device(), source::CLOUD_DISTANCES, count, args)?;
        Ok(y)
    }

    /// The gradient of the cloud `side` from its own distances, and from those that found it, each with their weights.
    fn pull_back(
        &self,
        side: usize,
        there: Option<(&Nearest, &Tensor)>,
        back: Option<(&Nearest, &Tensor)>,
    ) -> Result<Tensor> {
        let (own, other) = (&self.clouds[side], &self.clouds[1 - side]);
        let Some((idle, idle_weights)) = there.or(back) else {
            candle_core::bail!("no distance to differentiate")
        };
        let (a, a_weights) = there.unwrap_or((idle, idle_weights));
        let (b, b_weights) = back.unwrap_or((idle, idle_weights));
        let count = self.batch() * own.n * self.axes;
        let mut gradient = Block::floats(self.device(), count)?;
        let mut args = vec![
            Arg::In(&own.points),
            Arg::In(&other.points),
            Arg::In(&a.index),
            Arg::In(&a.squares),
            Arg::In(a_weights),
            Arg::In(&b.index),
            Arg::In(&b.squares),
            Arg::In(b_weights),
            gradient.out(),
            Arg::Int(own.n),
            Arg::Int(other.n),
            Arg::Int(self.axes),
            Arg::Int(there.is_some().into()),
            Arg::Int(back.is_some().into()),
            Arg::Int(self.root.into()),
        ];
        args.extend(self.sides.args());
        let kernel = source::CLOUD_PULL;
        launch(self.device(), kernel, self.batch() * own.n.div_ceil(kernel.threads), &mut args)?;
        drop(args);
        Ok(gradient.tensor(count))
    }
}

/// Weighted means of both directions, `[batch, 2]`, or with a `scale` their sum times it.
pub(crate) fn chamfer(
    [a, b]: [&Tensor; 2],
    pairs: Pairs,
    shares: &[Vec<f32>; 2],
    scale: Option<f32>,
) -> Result<Tensor> {
    let upload = |side: usize| Tensor::from_slice(&shares[side], shares[side].len(), a.device());
    let shares = [upload(0)?, upload(1)?];
    apply(Chamfer { pairs, shares, scale, nearest: OnceLock::new() }, &[a, b])
}

struct Chamfer {
    pairs: Pairs,
    shares: [Tensor; 2],
    scale: Option<f32>,
    nearest: OnceLock<[Nearest; 2]>,
}

impl Chamfer {
    fn nearest(&self) -> Result<&[Nearest; 2]> {
        if self.nearest.get().is_none() {
            let both = [self.pairs.nearest(0)?, self.pairs.nearest(1)?];
            let _ = self.nearest.set(both);
        }
        self.nearest.get().ok_or_else(|| candle_core::Error::msg("the nearest points are lost"))
    }
}

impl DeviceOp for Chamfer {
    fn name(&self) -> &'static str {
        self.pairs.name
    }

    fn forward(&self, _: &[Tensor]) -> Result<(Block, Shape)> {
        let (device, batch) = (self.pairs.device(), self.pairs.batch());
        let mut means = Block::floats(device, 2 * batch)?;
        for (side, nearest) in self.nearest()?.iter().enumerate() {
            let n = self.pairs.clouds[side].n;
            let distances = self.pairs.distances(nearest)?.tensor(batch * n);
            let args = &mut [
                Arg::In(&distances),
                Arg::In(&self.shares[side]),
                means.out(),
                Arg::Int(n),
                Arg::Int(side),
            ];
            launch(device, source::CLOUD_MEANS, batch, args)?;
        }
        let Some(scale) = self.scale else { return Ok((means, (batch, 2).into())) };
        let means = means.tensor(2 * batch);
        let mut y = Block::floats(device, 1)?;
        let args = &mut [Arg::In(&means), y.out(), Arg::Int(2 * batch), Arg::Real(scale)];
        launch(device, source::SCALED_SUM, 1, args)?;
        Ok((y, Shape::from(())))
    }

    fn backward(&self, _: &[Option<Tensor>], dy: &Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let nearest = self.nearest()?;
        let weights = |side: usize| {
            let (shares, n) = (&self.shares[side], self.pairs.clouds[side].n);
            let count = shares.elem_count();
            let mut y = Block::floats(dy.device(), count)?;
            let args = &mut [
                Arg::In(shares),
                Arg::In(dy),
                y.out(),
                Arg::Int(count),
                Arg::Int(n),
                Arg::Int(side),
                Arg::Int(self.scale.is_some().into()),
                Arg::Real(self.scale.unwrap_or(1.0)),
            ];
            launch_each(dy.device(), source::CLOUD_WEIGHTS, count, args)?;
            Ok(y.tensor(count))
        };
        let weights: [Result<Tensor>; 2] = [weights(0), weights(1)];
        let [forth, back] = weights;
        let weights = [forth?, back?];
        let gradient = |side: usize| {
            let with = |side: usize| Some((&nearest[side], &weights[side]));
            self.pairs.pull_back(side, with(side), with(1 - side)).map(Some)
        };
        let of = |side: usize| if wanted[side] { gradient(side) } else { Ok(None) };
        Ok(vec![of(0)?, of(1)?])
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }
}

/// The distance of each point of the first cloud to the nearest of the second, `[batch, points]`.
pub(crate) fn nearest_distance([a, b]: [&Tensor; 2], pairs: Pairs) -> Result<Tensor> {
    let nearest = pairs.nearest(0)?;
    apply(Distance { pairs, nearest }, &[a, b])
}

struct Distance {
    pairs: Pairs,
    nearest: Nearest,
}

impl DeviceOp for Distance {
    fn name(&self) -> &'static str {
        self.pairs.name
    }

    fn forward(&self, _: &[Tensor]) -> Result<(Block, Shape)> {
        let shape = (self.pairs.batch(), self.pairs.clouds[0].n).into();
        Ok((self.pairs.distances(&self.nearest)?, shape))
    }

    fn backward(&self, _: &[Option<Tensor>], dy: &Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let with = Some((&self.nearest, dy));
        let da = if wanted[0] { Some(self.pairs.pull_back(0, with, None)?) } else { None };
        let db = if wanted[1] { Some(self.pairs.pull_back(1, None, with)?) } else { None };
        Ok(vec![da, db])
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }
}
