//! Maps of the CAMELS Multifield Dataset as examples: fields, conditions, parameters.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use halocast::core::{Dataset, Map, Rng};
use halocast::data::{
    CMD_PARAMETERS, CmdMaps, CmdName, DatasetExt, MapDataset, Transform, read_params, split_by_group,
};
use ndarray::Array2;

use super::data::fit;
use super::{Axis, Examples, MapsConfig, Scales};
use crate::console::bar;
use crate::make_dataset::{Share, make};
use crate::truth::coarsen;

pub(super) fn examples(config: &MapsConfig, seed: u64) -> Result<Examples> {
    if let Some(make) = &config.make {
        made(config, make)?;
    }
    if config.fields.is_empty() {
        bail!("data.fields is empty, expected at least one field");
    }
    let (maps, groups) = read(config, &config.fields)?;
    let mut rng = Rng::new(seed).split_named("split");
    let sets = split_by_group(&groups, config.split, &mut rng)?;
    let (mut fields, field_axes) = dataset(config, &config.fields, maps, &sets[0])?;
    let mut scales = Scales {
        fields: field_axes,
        condition: vec![],
        parameters: vec![],
        last: false,
        box_side: Some(config.box_side),
    };
    if !config.parameters.is_empty() {
        let (rows, axes) = parameters(config, &groups, &sets[0])?;
        fields = fields.with_parameters(rows)?;
        scales.parameters = axes;
    }
    let condition = if config.condition.is_empty() {
        None
    } else {
        let (maps, other) = read(config, &config.condition)?;
        if other != groups {
            bail!("the maps of {:?} are not of the simulations of {:?}", config.condition, config.fields);
        }
        let (condition, axes) = dataset(config, &config.condition, maps, &sets[0])?;
        scales.condition = axes;
        Some(condition)
    };
    let part = |set: usize| -> Result<Arc<dyn Dataset>> {
        let augment = config.augment && set == 0;
        let own = fields.subset(&sets[set])?.with_augmentation(augment);
        let Some(condition) = &condition else { return Ok(Arc::new(own)) };
        let given = condition.subset(&sets[set])?.with_augmentation(augment);
        Ok(match config.unpaired {
            true => Arc::new(own.given(given.shuffle(seed))?),
            false => Arc::new(own.given(given)?),
        })
    };
    let description = format!(
        "{} maps of {:?}{} from {}",
        groups.len(),
        config.fields,
        if condition.is_some() { format!(" given {:?}", config.condition) } else { String::new() },
        config.folder.display()
    );
    Ok(Examples { train: part(0)?, validation: part(1)?, test: part(2)?, scales, description })
}

/// Makes the mock set that the configuration describes, where it is not there yet.
fn made(config: &MapsConfig, make_config: &crate::make_dataset::DatasetConfig) -> Result<()> {
    ensure!(
        (make_config.shard, make_config.format) == (0, crate::make_dataset::Format::Npy),
        "[data.make]: training reads one npy file a field, without shards"
    );
    let make_config =
        crate::make_dataset::DatasetConfig { out: config.folder.clone(), ..make_config.clone() };
    let progress = bar("mock simulations", make_config.simulations as u64);
    make(&make_config, Share::ALONE, &|done, total| {
        progress.set_length(total);
        progress.set_position(done);
    })?;
    progress.finish();
    Ok(())
}

/// Reads the maps of several fields, each a channel, and the simulation of each example.
fn read(config: &MapsConfig, names: &[String]) -> Result<(Vec<Vec<Map>>, Vec<usize>)> {
    let mut channels = Vec::new();
    let mut groups: Option<Vec<usize>> = None;
    for name in names {
        let name = CmdName {
            prefix: name.clone(),
            suite: config.suite.clone(),
            set: config.set.clone(),
            redshift: config.redshift,
        };
        let path = config.folder.join(name.file_name());
        let mut file = CmdMaps::open(&path)?.with_box_side(config.box_side);
        let table = config.folder.join(name.params_file_name());
        if table.exists() {
            file = file.with_params(&read_params(&table)?)?;
        }
        let of_file = file.groups();
        if groups.as_ref().is_some_and(|groups| *groups != of_file) {
            bail!("{}: {} maps, not as many as of {}", path.display(), file.len(), names[0]);
        }
        let maps = (0..file.len()).map(|i| {
            let map = file.map(i)?;
            match config.size {
                Some(size) => coarsen(&map, size).with_context(|| path.display().to_string()),
                None => Ok(map),
            }
        });
        channels.push(maps.collect::<Result<Vec<_>>>()?);
        groups = Some(of_file);
    }
    Ok((channels, groups.unwrap_or_default()))
}

/// A data set of channels, scaled by what the training set says.
fn dataset(
    config: &MapsConfig,
    names: &[String],
    channels: Vec<Vec<Map>>,
    train: &[usize],
) -> Result<(MapDataset, Vec<Axis>)> {
    let mut data: Option<MapDataset> = None;
    let mut axes = Vec::new();
    for (name, maps) in names.iter().zip(channels) {
        let transform = Transform::fit(&config.scaling, train.iter().map(|&i| &maps[i]))
            .with_context(|| format!("scaling of {name}"))?;
        axes.push(Axis {
            name: name.clone(),
            unit: maps.first().map(|map| map.unit.label.clone()).unwrap_or_default(),
            transform: transform.clone(),
        });
        data = Some(match data {
            None => MapDataset::new(&maps, transform)?,
            Some(data) => data.with_channel(&maps, transform)?,
        });
    }
    Ok((data.context("no field")?, axes))
}

/// The rows of parameters, one a map, scaled to mean zero and variance one over the training set; strengths of feedback by
/// their logarithm.
fn parameters(config: &MapsConfig, groups: &[usize], train: &[usize]) -> Result<(Array2<f32>, Vec<Axis>)> {
    let name = CmdName {
        prefix: String::new(),
        suite: config.suite.clone(),
        set: config.set.clone(),
        redshift: config.redshift,
    };
    let path = config.folder.join(name.params_file_name());
    let table = read_params(&path)?;
    let mut columns = Vec::new();
    for wanted in &config.parameters {
        let found = CMD_PARAMETERS.iter().position(|name| name == wanted);
        columns.push(found.with_context(|| {
            format!("{}: no parameter {wanted:?}, expected one of {CMD_PARAMETERS:?}", path.display())
        })?);
    }
    let mut rows = Array2::from_shape_fn((groups.len(), columns.len()), |(i, c)| {
        table.values[[groups[i], columns[c]]] as f32
    });
    let mut axes = Vec::new();
    for (c, name) in config.parameters.iter().enumerate() {
        // Strengths of feedback are factors.
        let transform = fit(train.iter().map(|&i| rows[[i, c]]), true, name.starts_with("A_"))?;
        rows.column_mut(c).mapv_inplace(|v| transform.forward(v));
        axes.push(Axis { name: name.clone(), unit: String::new(), transform });
    }
    Ok((rows, axes))
}
