//! Examples to train on, and what their numbers mean.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use halocast::core::{Dataset, Rng};
use halocast::data::{ArrayDataset, Transform, read_npy_f32, split_by_group};
use ndarray::{Array2, ArrayD, Axis as ArrayAxis, Ix2};
use serde::{Deserialize, Serialize};

use super::{ArraysConfig, DataConfig, clouds, maps};

/// What one channel, feature or parameter is, and how it was brought to the range of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// Its name.
    pub name: String,
    /// Its unit; empty for none.
    pub unit: String,
    /// From its unit to the model.
    pub transform: Transform,
}

/// What the numbers of a data set mean: every checkpoint carries it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scales {
    /// The channels of maps and spectra, the features of clouds, the places of vectors.
    pub fields: Vec<Axis>,
    /// Those of the condition.
    pub condition: Vec<Axis>,
    /// The parameters.
    pub parameters: Vec<Axis>,
    /// The axis of an example along which `fields` lie: 0 for channels, the last for the rest.
    pub last: bool,
    /// Side of the maps or of the box, in Mpc/h, where there is one.
    pub box_side: Option<f64>,
}

/// A data set in its three parts.
pub struct Examples {
    /// To train on.
    pub train: Arc<dyn Dataset>,
    /// To choose by.
    pub validation: Arc<dyn Dataset>,
    /// To judge by.
    pub test: Arc<dyn Dataset>,
    /// What the numbers mean.
    pub scales: Scales,
    /// What they are, in a sentence.
    pub description: String,
}

impl Examples {
    /// Reads, or makes, a data set.
    ///
    /// # Errors
    /// When a file is absent or does not fit, or a mock set cannot be made.
    pub fn new(config: &DataConfig, seed: u64) -> Result<Self> {
        match config {
            DataConfig::Maps(config) => maps::examples(config, seed),
            DataConfig::Arrays(config) => arrays(config, seed),
        }
    }
}

impl Scales {
    /// Brings values of a unit to the model, or back, along the axis of an array `[example, ..]`.
    ///
    /// # Errors
    /// When the array has another number of channels, or of features.
    pub fn apply(axes: &[Axis], last: bool, values: &mut ArrayD<f32>, forward: bool) -> Result<()> {
        let axis = if last { values.ndim().saturating_sub(1) } else { 1 };
        let found = values.shape().get(axis).copied().unwrap_or(0);
        if found != axes.len() {
            bail!("an array of shape {:?}, expected {} along axis {axis}", values.shape(), axes.len());
        }
        for (mut part, axis) in values.axis_iter_mut(ArrayAxis(axis)).zip(axes) {
            let transform = &axis.transform;
            part.mapv_inplace(|v| if forward { transform.forward(v) } else { transform.inverse(v) });
        }
        Ok(())
    }
}

fn arrays(config: &ArraysConfig, seed: u64) -> Result<Examples> {
    if let (Some(make), Some(folder)) = (&config.make, config.fields.parent()) {
        clouds::make(make, folder)?;
    }
    let read = |path: &Path| read_npy_f32(path).with_context(|| path.display().to_string());
    let mut fields = read(&config.fields)?;
    let count = fields.shape().first().copied().unwrap_or(0);
    let groups: Vec<usize> = (0..count).collect();
    let sets = split_by_group(&groups, config.split, &mut Rng::new(seed).split_named("split"))?;
    let scale = |values: &mut ArrayD<f32>, what: &str, log10: bool| -> Result<Vec<Axis>> {
        let axis = ArrayAxis(values.ndim().saturating_sub(1));
        let train = values.select(ArrayAxis(0), &sets[0]);
        let fitted = train.axis_iter(axis).enumerate().map(|(i, column)| {
            let transform = fit(column.iter().copied(), config.standardise, log10)
                .with_context(|| format!("place {i} of the {what}"))?;
            Ok(Axis { name: format!("{what} {i}"), unit: String::new(), transform })
        });
        let axes = fitted.collect::<Result<Vec<_>>>()?;
        Scales::apply(&axes, true, values, true)?;
        Ok(axes)
    };
    let mut scales = Scales {
        fields: scale(&mut fields, "fields", config.log10)?,
        condition: vec![],
        parameters: vec![],
        last: true,
        box_side: None,
    };
    let mut data = ArrayDataset::new(fields)?;
    if let Some(path) = &config.condition {
        let mut condition = read(path)?;
        scales.condition = scale(&mut condition, "condition", config.log10)?;
        data = data.with_condition(condition)?;
    }
    if let Some(path) = &config.parameters {
        let mut parameters = read(path)?;
        scales.parameters = scale(&mut parameters, "parameters", false)?;
        let parameters: Array2<f32> = parameters
            .into_dimensionality::<Ix2>()
            .with_context(|| format!("{}: expected [example, parameter]", path.display()))?;
        data = data.with_parameters(parameters)?;
    }
    let description =
        format!("{count} examples of {:?} from {}", data.event_shape(), config.fields.display());
    let part = |indices: &Vec<usize>| -> Result<Arc<dyn Dataset>> {
        Ok(Arc::new(halocast::data::DatasetExt::select(data.clone(), indices.clone())?))
    };
    Ok(Examples {
        train: part(&sets[0])?,
        validation: part(&sets[1])?,
        test: part(&sets[2])?,
        scales,
        description,
    })
}

/// The transform of a column.
pub(super) fn fit(
    values: impl Iterator<Item = f32> + Clone,
    standardise: bool,
    log10: bool,
) -> Result<Transform> {
    let mut steps = Vec::new();
    if log10 {
        let floor = values.clone().filter(|v| *v > 0.0).fold(f32::INFINITY, f32::min);
        if !floor.is_finite() {
            bail!("no positive value to take a logarithm of");
        }
        steps.push(Transform::Log10 { floor: f64::from(floor) });
    }
    if standardise {
        let so_far = Transform::Chain { steps: steps.clone() };
        let (mut n, mut sum, mut squares) = (0.0f64, 0.0f64, 0.0f64);
        for value in values.map(|v| f64::from(so_far.forward(v))) {
            (n, sum, squares) = (n + 1.0, sum + value, squares + value * value);
        }
        let mean = sum / n.max(1.0);
        let std = (squares / n.max(1.0) - mean * mean).max(0.0).sqrt();
        // A value that never changes carries nothing and stays near zero.
        steps.push(Transform::Standardise {
            mean,
            std: if std > 1e-12 * mean.abs() && std > 0.0 { std } else { 1.0 },
        });
    }
    Ok(Transform::Chain { steps })
}
