//! Searches among points on a device: all pairs, in tiles; the answers are those of the CPU, index for index.

use candle_core::{DType, Device, Result, Tensor};

use super::queue::{Arg, Block, launch, launch_each};
use super::source;

/// Neighbours of a query that the kernel has room for.
pub(crate) const MOST_NEIGHBORS: usize = 64;

/// The sides of a periodic box, and whether it is one.
#[derive(Clone, Copy)]
pub(crate) struct Sides {
    pub(crate) periodic: bool,
    pub(crate) sides: [f32; 3],
}

impl Sides {
    pub(super) fn args(&self) -> [Arg<'static>; 4] {
        let [x, y, z] = self.sides.map(Arg::Real);
        [Arg::Int(self.periodic.into()), x, y, z]
    }
}

/// Clouds of up to three axes on a device as `[batch, points, 3]`, wrapped into the box.
pub(crate) struct Cloud {
    pub(super) points: Tensor,
    pub(super) batch: usize,
    pub(super) n: usize,
}

impl Cloud {
    /// The cloud, or `None` where one of the first `counts` points of an example has no distance.
    pub(crate) fn new(x: &Tensor, counts: Option<&Tensor>, sides: &Sides) -> Result<Option<Self>> {
        let (batch, n, axes) = x.dims3()?;
        let (x, device, points) = (x.detach().contiguous()?, x.device(), batch * n);
        let all;
        let counts = match counts {
            Some(counts) => counts,
            None => {
                all = self::counts(&vec![n; batch], device)?;
                &all
            }
        };
        let blocks = points.div_ceil(source::POINTS_LIFT.threads);
        let (mut lifted, mut bad) = (Block::floats(device, 3 * points)?, Block::floats(device, blocks)?);
        let mut args = vec![
            Arg::In(&x),
            Arg::In(counts),
            lifted.out(),
            bad.out(),
            Arg::Int(points),
            Arg::Int(n),
            Arg::Int(axes),
        ];
        args.extend(sides.args());
        launch(device, source::POINTS_LIFT, blocks, &mut args)?;
        drop(args);
        let good = bad.numbers()?.iter().all(|&bad| bad == 0.0);
        Ok(good.then(|| Self { points: lifted.tensor((batch, n, 3)), batch, n }))
    }

    pub(super) fn device(&self) -> &Device {
        self.points.device()
    }
}

/// The numbers of points of the examples as a kernel takes them.
pub(crate) fn counts(counts: &[usize], device: &Device) -> Result<Tensor> {
    let counts: Vec<u32> = counts.iter().map(|&count| count as u32).collect();
    Tensor::from_slice(&counts, counts.len(), device)
}

/// Indices and squared distances of the `k` nearest, at most [`MOST_NEIGHBORS`].
pub(crate) fn knn(points: &Cloud, queries: &Cloud, k: usize, sides: &Sides) -> Result<[Tensor; 2]> {
    let (device, rows) = (points.device(), queries.batch * queries.n);
    let (mut indices, mut squares) =
        (Block::new(device, rows * k, DType::U32)?, Block::floats(device, rows * k)?);
    let mut args = vec![
        Arg::In(&points.points),
        Arg::In(&queries.points),
        indices.out(),
        squares.out(),
        Arg::Int(points.n),
        Arg::Int(queries.n),
        Arg::Int(k),
    ];
    args.extend(sides.args());
    let kernel = source::POINTS_NEAREST;
    launch(device, kernel, queries.batch * queries.n.div_ceil(kernel.threads), &mut args)?;
    drop(args);
    let shape = (queries.batch, queries.n, k);
    Ok([indices.tensor(shape), squares.tensor(shape)])
}

/// Indices and counts of the points in balls of squared radius `limit`.
pub(crate) fn ball_query(
    points: &Cloud,
    queries: &Cloud,
    limit: f32,
    most: usize,
    sides: &Sides,
) -> Result<[Tensor; 2]> {
    let (device, rows) = (points.device(), queries.batch * queries.n);
    let mut indices = Block::new(device, rows * most, DType::U32)?;
    let mut found = Block::new(device, rows, DType::U32)?;
    let mut args = vec![
        Arg::In(&points.points),
        Arg::In(&queries.points),
        indices.out(),
        found.out(),
        Arg::Int(points.n),
        Arg::Int(queries.n),
        Arg::Int(most),
        Arg::Real(limit),
    ];
    args.extend(sides.args());
    let kernel = source::POINTS_BALL;
    launch(device, kernel, queries.batch * queries.n.div_ceil(kernel.threads), &mut args)?;
    drop(args);
    Ok([indices.tensor((queries.batch, queries.n, most)), found.tensor((queries.batch, queries.n))])
}

/// The `m` points of each cloud that farthest point sampling takes.
pub(crate) fn farthest_points(
    cloud: &Cloud,
    m: usize,
    start: usize,
    skip_within: Option<f32>,
    sides: &Sides,
) -> Result<Tensor> {
    let device = cloud.device();
    let mut nearest = Block::floats(device, cloud.batch * cloud.n)?;
    let mut chosen = Block::new(device, cloud.batch * m, DType::U32)?;
    let mut args = vec![
        Arg::In(&cloud.points),
        nearest.out(),
        chosen.out(),
        Arg::Int(cloud.n),
        Arg::Int(m),
        Arg::Int(start),
        Arg::Int(skip_within.is_some().into()),
        Arg::Real(skip_within.unwrap_or(0.0)),
    ];
    args.extend(sides.args());
    launch(device, source::POINTS_FARTHEST, cloud.batch, &mut args)?;
    drop(args);
    Ok(chosen.tensor((cloud.batch, m)))
}

/// Weights by inverse squared distance of the neighbours `[batch, queries, k]`.
pub(crate) fn inverse_weights(squares: &Tensor) -> Result<Tensor> {
    let (count, k) = (squares.elem_count(), squares.dim(2)?);
    let mut weights = Block::floats(squares.device(), count)?;
    let args = &mut [Arg::In(squares), weights.out(), Arg::Int(count / k), Arg::Int(k)];
    launch_each(squares.device(), source::INVERSE_WEIGHTS, count / k, args)?;
    Ok(weights.tensor(count))
}
