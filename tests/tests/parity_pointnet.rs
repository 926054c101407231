//! PointNet against its reference implementation.

use anyhow::{Context as _, Result, ensure};
use candle_core::{D, DType, Device, Tensor, Var};
use halocast::models::network::Context;
use halocast::models::pointnet::{PointNet, PointNetConfig};
use halocast::models::{Configured, Trainable};
use halocast_tests::parity::{Case, cases};

/// The model of a case: its widths are those of its weights.
fn model(case: &Case) -> Result<PointNet> {
    let feature_transform: bool = case.argument("feature_transform")?;
    let rows = |name: &str| -> Result<usize> {
        case.weights.get(name).map(|w| w.dims()[0]).with_context(|| format!("{}: no {name}", case.name))
    };
    let config = PointNetConfig {
        points: case.tensor("x")?.dims()[2],
        outputs: case.argument("k")?,
        widths: [rows("feat.conv1.weight")?, rows("feat.conv2.weight")?, rows("feat.conv3.weight")?],
        head: [rows("fc1.weight")?, rows("fc2.weight")?],
        feature_transform,
        dropout: 0.0,
        ..Default::default()
    };
    let model = PointNet::new(&config, 0, &Device::Cpu)?;
    let counters = model.parameters().named().into_iter();
    let mut weights = case.weights.clone();
    for (name, var) in counters.filter(|(name, _)| name.ends_with("num_batches_tracked")) {
        weights.entry(name).or_insert(var.as_detached_tensor());
    }
    model.parameters().load(&weights)?;
    Ok(model)
}

/// ln of the softmax of the scores, and the mean negative log-likelihood of the labels.
fn classified(scores: &Tensor, labels: &Tensor) -> Result<(Tensor, Tensor)> {
    let shifted = scores.broadcast_sub(&scores.detach().max_keepdim(D::Minus1)?)?;
    let log = shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?;
    let classes = Tensor::arange(0i64, scores.dims()[1] as i64, &Device::Cpu)?;
    let chosen = labels.unsqueeze(1)?.broadcast_eq(&classes.unsqueeze(0)?)?.to_dtype(DType::F32)?;
    let nll = ((&log * chosen)?.sum_all()? * (-1.0 / scores.dims()[0] as f64))?;
    Ok((log, nll))
}

#[test]
fn every_case_agrees() -> Result<()> {
    for case in cases(|class, _| class.ends_with("PointNetCls"))? {
        let (x, labels) = (Var::from_tensor(case.tensor("x")?)?, case.tensor("label")?);
        let model = model(&case)?;
        for train in [false, true] {
            let (features, turn, _) = model.body().forward(&x, train)?;
            let (log, nll) =
                classified(&model.head().forward(&features, train, &Context::default())?, labels)?;
            let store = nll.backward()?;
            if train {
                case.forward("train.out", &log)?;
                case.forward("train.nll", &nll)?;
                case.gradients("train.grad.", model.parameters(), &store)?;
                continue;
            }
            case.forward("trans", &turn)?;
            case.forward("global_feature", &features)?;
            case.forward("out", &log)?;
            case.forward("nll", &nll)?;
            case.gradients("grad.", model.parameters(), &store)?;
            case.gradient("grad.x", store.get(&x).context("grad.x")?)?;
        }
        // These were found last: by the running averages as the pass in training has left them.
        let clouds = x.transpose(1, 2)?.contiguous()?;
        case.forward("regressor_out_no_softmax", &model.predict(&clouds, None)?)?;
    }
    Ok(())
}

#[test]
fn order_and_padding_change_nothing() -> Result<()> {
    let config =
        PointNetConfig { points: 12, features: 4, widths: [8, 8, 16], head: [8, 8], ..Default::default() };
    let model = PointNet::new(&config, 3, &Device::Cpu)?;
    let values = halocast::core::Rng::new(1).normals(2 * 12 * 4);
    let clouds = Tensor::from_vec(values, (2, 12, 4), &Device::Cpu)?;
    let first = model.predict(&clouds, None)?;
    let order = Tensor::new(&[5u32, 2, 11, 0, 9, 1, 3, 10, 4, 8, 7, 6], &Device::Cpu)?;
    let near = |a: &Tensor, b: &Tensor| -> Result<bool> {
        Ok((a - b)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-5)
    };
    ensure!(near(&first, &model.predict(&clouds.index_select(&order, 1)?, None)?)?, "the order matters");

    // Seven points alone, and with anything behind them.
    let few = model.predict(&clouds.narrow(1, 0, 7)?, None)?;
    ensure!(near(&few, &model.predict(&clouds, Some(&[7, 7]))?)?, "padding matters");
    ensure!(!near(&few, &first)?, "the other points do not matter");
    ensure!(model.predict(&clouds, Some(&[7, 0])).is_err() && model.predict(&clouds, Some(&[7])).is_err());
    Ok(())
}
