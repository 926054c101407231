//! AdaPoinTr and its parts against the release: intermediate tensors, clouds, losses and gradients.

#![allow(clippy::print_stdout)]

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use halocast::models::adapointr::{
    AdaPoinTr, AdaPoinTrConfig, EncoderKind, FcHead, FoldHead, Grouper, completion_loss,
};
use halocast::models::{Configured, Parameters, Trainable};
use halocast_tests::parity::{Case, cases};
use serde_json::{Value, json};

/// The configuration of a case: the constructor's arguments, and the defaults of the classes where it has none.
fn config(case: &Case) -> Result<AdaPoinTrConfig> {
    let mut given = case.meta["constructor"].clone();
    let given = given.as_object_mut().context("constructor")?;
    given.remove("NAME");
    for part in ["encoder_config", "decoder_config"] {
        let config = given.get_mut(part).and_then(Value::as_object_mut).context(part)?;
        config.remove("n_group"); // of deformable attention alone
        for (key, default) in [
            ("embed_dim", json!(256)),
            ("num_heads", json!(4)),
            ("mlp_ratio", json!(4.0)),
            ("k", json!(10)),
            ("qkv_bias", json!(true)),
        ] {
            config.entry(key).or_insert(default);
        }
        for key in ["drop_rate", "attn_drop_rate", "drop_path_rate"] {
            let rate = config.remove(key).and_then(|rate| rate.as_f64()).unwrap_or(0.0);
            ensure!(rate == 0.0, "{}: {part}.{key} is {rate}: there is no dropout", case.name);
        }
        let depth = config.remove("depth").and_then(|d| d.as_u64()).unwrap_or(12) as usize;
        for (key, value) in config.iter().filter(|(key, _)| key.ends_with("style_list")) {
            ensure!(value.as_array().map(Vec::len) == Some(depth), "{}: {key}", case.name);
        }
    }
    let queries = given.get("num_query").and_then(Value::as_u64).context("num_query")?;
    given.entry("center_num").or_insert(json!([512, 128]));
    if given.get("num_points").is_none_or(Value::is_null) || given["decoder_type"] == "fold" {
        given.insert("num_points".into(), json!(64 * queries));
    }
    let hidden = case.weights.get("base_model.increase_dim.0.weight").context("weights")?.dims()[0];
    given.insert("hidden_dim".into(), json!(hidden));
    given.insert("input_points".into(), json!(case.tensor("xyz")?.dims()[1]));
    serde_json::from_value(Value::Object(given.clone())).with_context(|| case.name.clone())
}

#[test]
fn adapointr() -> Result<()> {
    for case in cases(|class, _| class.ends_with("AdaPoinTr.py::AdaPoinTr"))? {
        let config = config(&case)?;
        let model = AdaPoinTr::new(&config, 0, &Device::Cpu)?;
        model.parameters().load(&case.weights)?;
        let net = model.network();
        let xyz = Var::from_tensor(case.tensor("xyz")?)?;

        let encoded = net.encode(&xyz, false)?;
        let queries = net.queries(&encoded, &xyz, None)?;
        let decoded = net.decode(&encoded, &queries)?;
        let out = net.rebuild(&queries, &decoded, false)?;
        for (key, tensor) in [
            ("inter.grouper.coor", &encoded.centers),
            ("inter.grouper.feat", &encoded.grouped),
            ("inter.encoder_out", &encoded.tokens),
            ("inter.candidates", &queries.candidates),
            ("inter.ranking", &queries.ranking),
            ("inter.decoder_q_in", &queries.features),
            ("inter.decoder_q_out", &decoded),
            ("eval.coarse", &out.coarse),
            ("eval.fine", &out.fine),
        ] {
            case.forward(key, tensor)?;
        }
        let weighted = |x: &Tensor, key: &str| -> Result<Tensor> { Ok((x * case.tensor(key)?)?.mean_all()?) };
        let loss = (weighted(&out.coarse, "w_coarse")? + weighted(&out.fine, "w_fine")?)?;
        let loss = (loss + (out.fine.sqr()?.mean_all()? * 0.5)?)?;
        case.forward("eval.loss", &loss)?;
        let store = loss.backward()?;
        case.gradients("eval.grad.", model.parameters(), &store)?;
        case.gradient("eval.grad.xyz", store.get(&xyz).context("xyz")?)?;

        let out = net.forward(&xyz, Some(case.tensor("train.jitter")?))?;
        let (denoised_coarse, denoised_fine) = out.denoised.as_ref().context("denoised")?;
        for (key, tensor) in [
            ("train.pred_coarse", &out.coarse),
            ("train.denoised_coarse", denoised_coarse),
            ("train.denoised_fine", denoised_fine),
            ("train.pred_fine", &out.fine),
        ] {
            case.forward(key, tensor)?;
        }
        let parts = completion_loss(&out, case.tensor("train.gt")?, None)?;
        let (denoised, recon) = (parts.denoised.context("denoised")?, (parts.coarse + parts.fine)?);
        case.forward("train.loss_denoised", &denoised)?;
        case.forward("train.loss_recon", &recon)?;
        let store = (denoised + recon)?.backward()?;
        if case.gradients("train.grad.", model.parameters(), &store).is_err() {
            by_differences(&case, &config, &store, model.parameters())?;
        }
        let unmoved = |name: &str| name.contains("query_ranking") || name.contains("encoder.norm");
        for (name, var) in model.parameters().named() {
            let moved = model.trains(0, &name);
            ensure!(store.get(&var).is_some() == moved, "{name}: a gradient, or none, where not expected");
            ensure!(moved || unmoved(&name) || name.contains("running") || name.contains("num_batches"));
        }
    }
    Ok(())
}

/// Where a maximum, or a nearest point, is decided by the rounding of single precision, the gradient of the case goes one
/// way and that of the loss another. For every gradient of the case that is not ours, the slope of the loss in double
/// precision along the difference of both must be that of ours.
fn by_differences(
    case: &Case,
    config: &AdaPoinTrConfig,
    store: &GradStore,
    single: &Parameters,
) -> Result<()> {
    let parameters = Parameters::with_dtype(0, DType::F64, &Device::Cpu);
    let model = AdaPoinTr::with_parameters(config, parameters.clone())?;
    parameters.load(&case.weights)?;
    let wide = |key: &str| -> Result<Tensor> { Ok(case.tensor(key)?.to_dtype(DType::F64)?) };
    let (xyz, jitter, truth) = (wide("xyz")?, wide("train.jitter")?, wide("train.gt")?);
    let loss = || -> Result<f64> {
        let out = model.network().forward(&xyz, Some(&jitter))?;
        let parts = completion_loss(&out, &truth, None)?;
        Ok(((parts.coarse + parts.fine)? + parts.denoised.context("denoised")?)?.to_scalar()?)
    };
    let ours: HashMap<String, Var> = single.named().into_iter().collect();
    for (name, var) in parameters.named() {
        let key = format!("train.grad.{name}");
        let (Some(theirs), Some(ours)) = (case.io.get(&key), store.get(&ours[&name])) else { continue };
        if case.gradient(&key, ours).is_ok() {
            continue;
        }
        let number = |t: Tensor| -> Result<f64> { Ok(t.sum_all()?.to_dtype(DType::F64)?.to_scalar()?) };
        let (theirs, ours) = (theirs.to_dtype(DType::F64)?, ours.to_dtype(DType::F64)?);
        let difference = (&theirs - &ours)?;
        let length = number(difference.sqr()?)?.sqrt();
        let direction = (difference / length)?;
        let kept = var.as_tensor().copy()?;
        let at = |step: f64| -> Result<f64> {
            var.set(&(&kept + (&direction * step)?)?)?;
            loss()
        };
        let slope = (at(1e-7)? - at(-1e-7)?) / 2e-7;
        var.set(&kept)?;
        let (of_ours, of_theirs) = (number((&direction * ours)?)?, number((&direction * theirs)?)?);
        println!("{}: {key}: slope {slope:.6e}, ours {of_ours:.6e}, of the case {of_theirs:.6e}", case.name);
        ensure!((slope - of_ours).abs() < 0.02 * length, "{}: {key}: not the slope of the loss", case.name);
    }
    Ok(())
}

#[test]
fn grouper() -> Result<()> {
    for case in cases(|class, _| class.ends_with("AdaPoinTr.py::DGCNN_Grouper"))? {
        let k = case.argument("k")?;
        let parameters = Parameters::new(0, &Device::Cpu);
        let net = Grouper::new(EncoderKind::Graph, 0, k, Some(1e-3), parameters.builder())?;
        parameters.load(&case.weights)?;
        let xyz = Var::from_tensor(case.tensor("xyz")?)?;
        let num: [usize; 2] = serde_json::from_value(case.meta["num"].clone())?;
        let (coor, feat) = net.forward(&xyz, num, false)?;
        case.forward("coor", &coor)?;
        case.forward("feat", &feat)?;
        let loss = weighted_loss(&feat, case.tensor("w")?)?;
        case.forward("loss", &loss)?;
        let store = loss.backward()?;
        case.gradients("grad.", &parameters, &store)?;
        case.gradient("grad.xyz", store.get(&xyz).context("xyz")?)?;
    }
    Ok(())
}

/// mean(out w) + mean(out^2) / 2.
fn weighted_loss(out: &Tensor, w: &Tensor) -> Result<Tensor> {
    Ok(((out * w)?.mean_all()? + (out.sqr()?.mean_all()? * 0.5)?)?)
}

/// The state dict behind a prefix.
fn behind(prefix: &str, weights: &HashMap<String, Tensor>) -> HashMap<String, Tensor> {
    let of =
        |(name, tensor): (&String, &Tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()));
    weights.iter().filter_map(of).collect()
}

#[test]
fn heads() -> Result<()> {
    for case in cases(|class, _| class.contains("Fold") && class.contains("SimpleRebuildFCLayer"))? {
        let size = |head: &str, key: &str| -> Result<usize> {
            let value = case.meta["constructor"][head][key].as_u64();
            Ok(value.with_context(|| format!("{}: {head}.{key}", case.name))? as usize)
        };
        let parameters = Parameters::new(0, &Device::Cpu);
        let (dim, step, hidden) =
            (size("fold", "in_channel")?, size("fold", "step")?, size("fold", "hidden_dim")?);
        let fold = FoldHead::new(dim, step, 3, hidden, parameters.builder())?;
        parameters.load(&behind("fold.", &case.weights))?;
        let x = Var::from_tensor(case.tensor("fold.x")?)?;
        case.forward("fold.seed_grid", &fold.grid(&x)?)?;
        let out = fold.forward(&x, false)?;
        case.forward("fold.out", &out)?;
        let loss = weighted_loss(&out, case.tensor("fold.w")?)?;
        case.forward("fold.loss", &loss)?;
        let store = loss.backward()?;
        case.gradients("fold.grad.", &parameters, &store)?;
        case.gradient("fold.grad.x", store.get(&x).context("x")?)?;
        case.forward("fold.train.out", &fold.forward(&x, true)?)?;

        let parameters = Parameters::new(0, &Device::Cpu);
        let (dim, step, hidden) = (size("fc", "input_dims")?, size("fc", "step")?, size("fc", "hidden_dim")?);
        let fc = FcHead::new(dim / 2, step, 3, hidden, parameters.builder())?;
        parameters.load(&behind("fc.", &case.weights))?;
        let x = Var::from_tensor(case.tensor("fc.x")?)?;
        let out = fc.forward(&x)?;
        case.forward("fc.out", &out)?;
        let loss = weighted_loss(&out, case.tensor("fc.w")?)?;
        case.forward("fc.loss", &loss)?;
        let store = loss.backward()?;
        case.gradients("fc.grad.", &parameters, &store)?;
        case.gradient("fc.grad.x", store.get(&x).context("x")?)?;
    }
    Ok(())
}
