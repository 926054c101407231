//! What a Diffusion Mamba is told beside the map: time, class and parameters.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};
use halocast_kernels::nn::Linear;
use halocast_kernels::{index_select, silu};

use super::DimConfig;
use crate::{Error, Result};

/// Sinusoids of the time that the modulation is computed from.
const SINUSOIDS: usize = 256;

/// The embeddings of one batch.
pub(super) struct Embedded {
    /// The time token, `[batch, dim]`.
    pub(super) time: Tensor,
    /// The class token, `[batch, dim]`.
    pub(super) class: Option<Tensor>,
    /// Shift, scale and gate that all blocks share, `[batch, 3, dim]`.
    pub(super) modulation: Tensor,
}

/// Cosines and sines of t: a token, and through a network the modulation of the blocks (adaLN-single, Chen et al. 2023,
/// arXiv:2310.00426, section 2.3).
pub(super) struct Embedding {
    dim: usize,
    time: Option<(Linear, Linear)>,
    class_token: Option<Tensor>,
    first: Linear,
    second: Linear,
    class: Option<Tensor>,
    parameters: Option<(Linear, Linear)>,
    modulation: Linear,
}

impl Embedding {
    pub(super) fn new(config: &DimConfig, vb: VarBuilder) -> Result<Self> {
        let dim = config.dim;
        let emb = vb.pp("adaln_single.emb");
        let table = |vb: &VarBuilder, name: &str| -> Result<Option<Tensor>> {
            let init = Init::Randn { mean: 0.0, stdev: 0.02 };
            let rows = config.classes + 1;
            Ok((config.classes > 0).then(|| vb.get_with_hints((rows, dim), name, init)).transpose()?)
        };
        let pair = |wanted: bool, inputs, hidden, vb: VarBuilder, names: [&str; 2]| -> Result<_> {
            let layers = || -> Result<(Linear, Linear)> {
                Ok((
                    Linear::new(inputs, hidden, vb.pp(names[0]))?,
                    Linear::new(hidden, dim, vb.pp(names[1]))?,
                ))
            };
            wanted.then(layers).transpose()
        };
        let times = vb.pp("time_embed");
        let parameters = vb.pp("parameter_embed");
        Ok(Self {
            dim,
            time: pair(config.time_network, dim, 4 * dim, times, ["0", "2"])?,
            class_token: table(&vb, "label_emb.weight")?,
            first: Linear::new(SINUSOIDS, dim, emb.pp("timestep_embedder.linear_1"))?,
            second: Linear::new(dim, dim, emb.pp("timestep_embedder.linear_2"))?,
            class: table(&emb, "class_embedder.embedding_table.weight")?,
            parameters: pair(
                config.parameters > 0,
                config.parameters,
                dim,
                parameters,
                ["linear_1", "linear_2"],
            )?,
            modulation: Linear::new(dim, 3 * dim, vb.pp("adaln_single.linear"))?,
        })
    }

    /// The embeddings, of the float type and device of `like`. Without `labels` all are of the class of none.
    pub(super) fn forward(
        &self,
        t: &[f64],
        labels: Option<&[u32]>,
        parameters: Option<&Tensor>,
        like: &Tensor,
    ) -> Result<Embedded> {
        let mut time = sinusoids(t, self.dim, like)?;
        if let Some((first, second)) = &self.time {
            time = second.forward(&silu(&first.forward(&time)?)?)?;
        }
        let mut all = self.second.forward(&silu(&self.first.forward(&sinusoids(t, SINUSOIDS, like)?)?)?)?;
        let rows = self.rows(t.len(), labels, like)?;
        let row = |table: &Option<Tensor>| -> Result<Option<Tensor>> {
            Ok(table
                .as_ref()
                .zip(rows.as_ref())
                .map(|(table, rows)| index_select(table, rows, 0))
                .transpose()?)
        };
        if let Some(class) = row(&self.class)? {
            all = (all + class)?;
        }
        match (&self.parameters, parameters) {
            (Some((first, second)), Some(p)) => {
                let p = second.forward(&silu(&first.forward(p)?)?)?;
                (time, all) = ((time + &p)?, (all + p)?);
            }
            (None, None) => {}
            (layers, _) => return Err(condition("parameters", layers.is_some())),
        }
        let modulation = self.modulation.forward(&silu(&all)?)?.reshape((t.len(), 3, self.dim))?;
        Ok(Embedded { time, class: row(&self.class_token)?, modulation })
    }

    /// The row of the tables of each example.
    fn rows(&self, batch: usize, labels: Option<&[u32]>, like: &Tensor) -> Result<Option<Tensor>> {
        let none = self.class_token.as_ref().map(|table| table.dim(0)).transpose()?.map(|rows| rows - 1);
        let rows = match (none, labels) {
            (None, None) => return Ok(None),
            (None, Some(_)) => return Err(condition("classes", false)),
            (Some(none), None) => vec![none as u32; batch],
            (Some(_), Some(labels)) => labels.to_vec(),
        };
        Ok(Some(Tensor::new(rows, like.device())?))
    }
}

/// The error of a condition that is absent or superfluous.
pub(super) fn condition(what: &str, expected: bool) -> Error {
    let name = |given: bool| if given { what } else { "none" }.to_owned();
    Error::Condition { model: "DiM", expected: name(expected), got: name(!expected) }
}

/// cos and sin of t 10000^(-2i/width), `[batch, width]`.
fn sinusoids(t: &[f64], width: usize, like: &Tensor) -> Result<Tensor> {
    let half = width / 2;
    let mut values = Vec::with_capacity(t.len() * width);
    for &t in t {
        let phases = (0..half).map(|i| t * (-(10_000f64.ln()) * i as f64 / half as f64).exp());
        values.extend(phases.clone().map(|p| p.cos() as f32));
        values.extend(phases.map(|p| p.sin() as f32));
    }
    Ok(Tensor::from_vec(values, (t.len(), width), like.device())?.to_dtype(like.dtype())?)
}
