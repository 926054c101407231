//! Diffusion Mamba and its block against their reference implementations: outputs, activations and gradients.

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor, Var};
use halocast::kernels::{ScanOrder, record};
use halocast::models::Parameters;
use halocast::models::dim::{Dim, DimCondition, DimConfig, Mamba, MambaConfig};
use halocast_tests::compare;
use halocast_tests::parity::{Case, cases};

/// An argument of the constructor, or its default where it is absent.
fn argument<T: serde::de::DeserializeOwned>(case: &Case, key: &str, default: T) -> Result<T> {
    if case.meta["constructor"].get(key).is_none() { Ok(default) } else { case.argument(key) }
}

/// The configuration of a case; one that asks for what the network does not have is refused.
fn config(case: &Case) -> Result<DimConfig> {
    let fixed = [
        ("norm_type", serde_json::json!("ada_norm_single")),
        ("use_bidirectional_rnn", false.into()),
        ("mamba_type", "enc".into()),
        ("nested_order", 0.into()),
        ("no_ff", true.into()),
        ("use_conv1d", true.into()),
        ("is_extra_tokens", true.into()),
        ("rms", true.into()),
        ("use_a4m_adapter", true.into()),
        ("drop_path_rate", 0.0.into()),
        ("encoder_start_blk_id", 1.into()),
        ("is_absorb", false.into()),
        ("use_adapter_modules", true.into()),
        ("pad_token_schedules", serde_json::json!(["dec_split", "lateral"])),
        ("pos_encoding_type", "learnable".into()),
        ("is_random_patterns", false.into()),
        ("pattern_type", "base".into()),
        ("use_final_conv", false.into()),
        ("is_freeu", false.into()),
        ("is_skip_tune", false.into()),
        ("is_difffit", false.into()),
        ("is_doubel_extra_tokens", false.into()),
        ("tkn_conv_dilated_rate", 1.into()),
        ("drop_rate", 0.into()),
        ("use_reverse", false.into()),
    ];
    for (key, expected) in fixed {
        if let Some(got) = case.meta["constructor"].get(key) {
            ensure!(*got == expected, "{}: {key} = {got} is not supported, only {expected}", case.name);
        }
    }
    let conv = argument(case, "mamba_d_conv", 4)?;
    let padded = argument(case, "use_pad_token", false)?;
    let pad = argument::<Option<usize>>(case, "pad_token_len", None)?.unwrap_or(conv);
    let pattern: i64 = argument(case, "scan_pattern_len", 3)?;
    let side: usize = case.argument("sample_size")?;
    let channels: usize = argument(case, "in_channels", 3)?;
    Ok(DimConfig {
        channels,
        outputs: argument::<Option<usize>>(case, "out_channels", None)?.unwrap_or(channels),
        size: [side, side],
        patch: case.argument("patch_size")?,
        dim: case.argument::<usize>("num_attention_heads")? * case.argument::<usize>("attention_head_dim")?,
        layers: case.argument("num_layers")?,
        expand: argument(case, "mamba_expand", 2)?,
        states: argument(case, "mamba_d_state", 16)?,
        conv,
        pad: if padded { pad } else { 0 },
        directions: (pattern.clamp(0, 3) + 1) as usize,
        skips: argument(case, "is_uconnect", true)?,
        alternate_split: argument(case, "is_align_exchange_q_kv", false)? && pattern > 0,
        time_network: argument(case, "mlp_time_embed", false)?,
        classes: argument::<Option<usize>>(case, "num_embeds_ada_norm", None)?.unwrap_or(0),
        ..DimConfig::default()
    })
}

fn times(case: &Case) -> Result<Vec<f64>> {
    let t = case.tensor("t")?.to_dtype(candle_core::DType::F64)?;
    Ok(t.to_vec1()?)
}

#[test]
fn dim_of_the_reference() -> Result<()> {
    for case in cases(|cls, _| cls.ends_with("Mamba2DModel"))? {
        let parameters = Parameters::new(0, &Device::Cpu);
        let network = Dim::new(&config(&case)?, parameters.builder())?;
        parameters.load(&case.weights)?;
        let (x, t) = (Var::from_tensor(case.tensor("x")?)?, times(&case)?);
        let labels: Option<Vec<u32>> = match case.io.get("y") {
            Some(y) => Some(y.to_vec1::<i64>()?.into_iter().map(|y| y as u32).collect()),
            None => None,
        };
        let given = DimCondition { labels: labels.as_deref(), ..Default::default() };
        let mut shown = Vec::new();
        let run = |shown: &mut Vec<(Tensor, ScanOrder)>| {
            network.forward_with(x.as_tensor(), &t, given, |tokens, order| {
                shown.push((tokens.clone(), order.clone()));
            })
        };
        let out = run(&mut shown)?;
        for (i, (tokens, order)) in shown.iter().enumerate() {
            let [hidden, residual] =
                ["hidden", "residual"].map(|part| case.io.get(&format!("inter.block{i}.{part}")));
            let Some((hidden, residual)) = hidden.zip(residual) else { continue };
            // The reference holds the tokens in the block's order, and their sum apart from what it adds to.
            let read = tokens.index_select(&Tensor::new(order.positions(), &Device::Cpu)?, 1)?;
            let (atol, rtol) = case.tolerance("fwd");
            let name = format!("{}: inter.block{i}.hidden + residual", case.name);
            compare(&name, &read, &(hidden + residual)?, atol, rtol)?;
        }
        case.forward("out", &out)?;
        if case.io.contains_key("out_null_class") {
            let none = network.forward(x.as_tensor(), &t, DimCondition::default())?;
            case.forward("out_null_class", &none)?;
        }
        let loss = case.weighted_loss(&out)?;
        case.forward("loss", &loss)?;
        let (recorded, tape) = record(|| case.weighted_loss(&run(&mut vec![])?))?;
        for store in [loss.backward()?, tape.backward(&recorded)?] {
            case.gradient("grad.x", store.get(&x).context("grad.x")?)?;
            case.gradients("grad.", &parameters, &store)?;
        }
    }
    Ok(())
}

#[test]
fn mamba_of_the_reference() -> Result<()> {
    for case in cases(|cls, _| cls.ends_with("mamba_simple.py::Mamba"))? {
        let dim: usize = case.argument("d_model")?;
        let config = MambaConfig {
            dim,
            states: argument(&case, "d_state", 16)?,
            conv: argument(&case, "d_conv", 4)?,
            expand: argument(&case, "expand", 2)?,
        };
        for (key, expected) in
            [("dt_rank", dim.div_ceil(16).into()), ("conv_bias", true.into()), ("bias", false.into())]
        {
            let expected: serde_json::Value = expected;
            if let Some(got) = case.meta["constructor"].get(key) {
                ensure!(
                    *got == expected || (key == "dt_rank" && *got == "auto"),
                    "{}: {key} = {got} is not supported, only {expected}",
                    case.name
                );
            }
        }
        let parameters = Parameters::new(0, &Device::Cpu);
        let block = Mamba::new(&config, parameters.builder())?;
        parameters.load(&case.weights)?;
        let x = Var::from_tensor(case.tensor("x")?)?;
        let (batch, tokens, _) = x.dims3()?;
        let out = block.forward(x.as_tensor(), &ScanOrder::forwards(tokens))?;
        case.forward("out", &out)?;
        let loss = case.weighted_loss(&out)?;
        case.forward("loss", &loss)?;
        let store = loss.backward()?;
        case.gradient("grad.x", store.get(&x).context("grad.x")?)?;
        case.gradients("grad.", &parameters, &store)?;

        if !case.io.contains_key("step.out") {
            continue;
        }
        let mut state = block.start(batch)?;
        let step = |t| Ok::<_, anyhow::Error>(block.step(&x.narrow(1, t, 1)?.squeeze(1)?, &mut state)?);
        let outputs = (0..tokens).map(step).collect::<Result<Vec<_>>>()?;
        case.forward("step.out", &Tensor::stack(&outputs, 1)?)?;
        for (key, got) in [("step.final_conv_state", &state.conv), ("step.final_ssm_state", &state.states)] {
            if case.io.contains_key(key) {
                case.forward(key, got)?;
            }
        }
    }
    Ok(())
}
