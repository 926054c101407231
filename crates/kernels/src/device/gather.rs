//! Rows picked and added by index on a device.

use std::sync::OnceLock;

use candle_core::{Device, Result, Shape, Tensor};

use super::graph::{DeviceOp, apply};
use super::queue::{Arg, Block, launch_each};
use super::source;
use crate::gather::order;

/// Which rows of `[outer, rows, inner]` are picked.
pub(crate) struct Rows {
    pub(crate) name: &'static str,
    pub(crate) outer: usize,
    pub(crate) rows: usize,
    pub(crate) inner: usize,
    /// The indices: of all outer slices together, or if `own` of each.
    pub(crate) picks: Vec<u32>,
    pub(crate) own: bool,
}

/// Where the entries of each row start, and the entries.
struct Order {
    starts: Tensor,
    entries: Tensor,
}

/// [`Rows`] on a device; each output row is the sum of `spread` picked ones times their weights.
struct Map {
    rows: Rows,
    /// Indices of an outer slice.
    count: usize,
    spread: usize,
    indices: Tensor,
    weights: Option<Tensor>,
    /// Made for the gradient alone.
    order: OnceLock<Order>,
}

impl Map {
    fn new(rows: Rows, spread: usize, weights: Option<Tensor>, device: &Device) -> Result<Self> {
        let count = if rows.own { rows.picks.len() / rows.outer } else { rows.picks.len() };
        let indices = Tensor::from_slice(&rows.picks, rows.picks.len(), device)?;
        Ok(Self { rows, count, spread, indices, weights, order: OnceLock::new() })
    }

    fn made(&self) -> usize {
        self.rows.outer * (self.count / self.spread) * self.rows.inner
    }

    fn gather(&self, x: &Tensor) -> Result<Block> {
        let made = self.made();
        let mut y = Block::floats(x.device(), made)?;
        let args = &mut [
            Arg::In(x),
            Arg::In(&self.indices),
            Arg::In(self.weights.as_ref().unwrap_or(x)),
            y.out(),
            Arg::Int(made),
            Arg::Int(self.rows.rows),
            Arg::Int(self.rows.inner),
            Arg::Int(self.count),
            Arg::Int(self.rows.own.into()),
            Arg::Int(self.spread),
            Arg::Int(self.weights.is_some().into()),
        ];
        launch_each(x.device(), source::GATHER_ROWS, made, args)?;
        Ok(y)
    }

    fn order(&self, device: &Device) -> Result<&Order> {
        if let Some(order) = self.order.get() {
            return Ok(order);
        }
        let (mut starts, mut entries) = (vec![], vec![]);
        for picks in self.rows.picks.chunks(self.count.max(1)) {
            let (slice_starts, slice_entries) = order(picks, self.rows.rows);
            starts.extend(slice_starts);
            entries.extend(slice_entries);
        }
        let starts = Tensor::from_slice(&starts, starts.len(), device)?;
        let entries = Tensor::from_slice(&entries, entries.len(), device)?;
        Ok(self.order.get_or_init(|| Order { starts, entries }))
    }

    fn add(&self, base: Option<&Tensor>, source: &Tensor) -> Result<Block> {
        let order = self.order(source.device())?;
        let count = self.rows.outer * self.rows.rows * self.rows.inner;
        let mut y = Block::floats(source.device(), count)?;
        let args = &mut [
            Arg::In(base.unwrap_or(source)),
            Arg::In(source),
            Arg::In(&order.starts),
            Arg::In(&order.entries),
            Arg::In(self.weights.as_ref().unwrap_or(source)),
            y.out(),
            Arg::Int(count),
            Arg::Int(self.rows.rows),
            Arg::Int(self.rows.inner),
            Arg::Int(self.count),
            Arg::Int(self.rows.own.into()),
            Arg::Int(self.spread),
            Arg::Int(self.weights.is_some().into()),
            Arg::Int(base.is_some().into()),
        ];
        launch_each(source.device(), source::ADD_ROWS, count, args)?;
        Ok(y)
    }
}

/// The picked rows, as a tensor of `shape`.
pub(crate) fn gather(x: &Tensor, rows: Rows, shape: impl Into<Shape>) -> Result<Tensor> {
    let map = Map::new(rows, 1, None, x.device())?;
    apply(Gather { map, shape: shape.into() }, &[x])
}

/// Sums of `spread` picked rows times their weights, as a tensor of `shape`.
pub(crate) fn gather_weighted(
    x: &Tensor,
    rows: Rows,
    spread: usize,
    weights: Tensor,
    shape: impl Into<Shape>,
) -> Result<Tensor> {
    let map = Map::new(rows, spread, Some(weights), x.device())?;
    apply(Gather { map, shape: shape.into() }, &[x])
}

/// `x` with the rows of `source` added where they were picked.
pub(crate) fn scatter_add(x: &Tensor, source: &Tensor, rows: Rows) -> Result<Tensor> {
    let map = Map::new(rows, 1, None, x.device())?;
    apply(Scatter { map, shape: x.shape().clone() }, &[x, source])
}

struct Gather {
    map: Map,
    shape: Shape,
}

impl DeviceOp for Gather {
    fn name(&self) -> &'static str {
        self.map.rows.name
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<(Block, Shape)> {
        Ok((self.map.gather(&inputs[0])?, self.shape.clone()))
    }

    fn backward(&self, _: &[Option<Tensor>], dy: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let dx = self.map.add(None, dy)?;
        let len = dx.len();
        Ok(vec![Some(dx.tensor(len))])
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }
}

struct Scatter {
    map: Map,
    shape: Shape,
}

impl DeviceOp for Scatter {
    fn name(&self) -> &'static str {
        self.map.rows.name
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<(Block, Shape)> {
        Ok((self.map.add(Some(&inputs[0]), &inputs[1])?, self.shape.clone()))
    }

    fn backward(&self, _: &[Option<Tensor>], dy: &Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let source = if wanted[1] { Some(self.map.gather(dy)?.tensor(self.map.made())) } else { None };
        Ok(vec![Some(dy.clone()), source])
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }
}
