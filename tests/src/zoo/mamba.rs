//! Diffusion by Mamba.

use halocast::kernels::PadMode;
use halocast::models::ModelConfig;
use halocast::models::diffusion::Objective;
use halocast::models::dim::{DimConfig, DimDdpmConfig};

pub(super) fn cases() -> Vec<(&'static str, ModelConfig)> {
    vec![
        ("dim: noise, long skips, padding", dim(|_| {})),
        (
            "dim: velocity, classes, alternating split, circular, two channels, not square",
            dim(|c| {
                (c.objective, c.network.classes, c.network.alternate_split) = (Objective::Velocity, 3, true);
                (c.network.channels, c.network.outputs, c.network.size) = (2, 2, [4, 6]);
                c.network.padding = PadMode::Circular;
            }),
        ),
        (
            "dim: data, three parameters, no padding, no skips, two directions",
            dim(|c| {
                (c.objective, c.network.parameters, c.network.directions) = (Objective::Data, 3, 2);
                (c.network.pad, c.network.skips, c.network.time_network) = (0, false, true);
            }),
        ),
        ("dim: a field of two channels", dim(|c| c.network.field = 2)),
    ]
}

fn dim(change: impl Fn(&mut DimDdpmConfig)) -> ModelConfig {
    let network = DimConfig { size: [4, 4], dim: 8, layers: 5, states: 4, pad: 2, ..DimConfig::small() };
    let mut config = DimDdpmConfig { network, timesteps: 20, ..Default::default() };
    change(&mut config);
    ModelConfig::Dim(config)
}
