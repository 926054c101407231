//! Faults of Candle's own gradients that this workspace works around.
//!
//! The first tests require each fault still to be there: when a future Candle mends one, its line fails and names the
//! workaround that may go. The last reads the sources of the libraries and programs and refuses every faulty function.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{Module, ops};
use halocast::core::Rng;

fn var(shape: &[usize]) -> Result<Var> {
    let values = Rng::new(1).normals(shape.iter().product());
    Ok(Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu)?)?)
}

fn ones(shape: &[usize]) -> Result<Tensor> {
    Ok(Tensor::ones(shape, DType::F32, &Device::Cpu)?)
}

/// The sum of the gradient of the sum of `y`'s elements, `None` where Candle says nothing about `x`.
fn gradient(x: &Var, y: &Tensor) -> Result<Option<f32>> {
    let gradients = y.sum_all()?.backward()?;
    Ok(gradients.get(x).map(|g| g.sum_all()?.to_scalar()).transpose()?)
}

#[test]
fn fused_operations_of_candle_still_have_no_gradient() -> Result<()> {
    let x = var(&[4, 10])?;
    let (one, zero) = (ones(&[10])?, ones(&[10])?.zeros_like()?);
    let heads = var(&[1, 2, 5, 4])?;
    let (cos, sin) = (ones(&[5, 2])?, ones(&[5, 2])?);
    // An operation whose gradient is there, so that the question is sound.
    ensure!(
        gradient(&x, &ops::softmax(&x, D::Minus1)?.sqr()?)?.is_some(),
        "Candle's plain softmax has lost its gradient"
    );
    let composed = "the composed softmax of crates/kernels/src/reference.rs";
    let norms = "the composed normalisations of crates/kernels/src/reference.rs";
    let cases = [
        ("ops::softmax_last_dim", gradient(&x, &ops::softmax_last_dim(&x)?.sqr()?)?, composed),
        ("ops::layer_norm", gradient(&x, &ops::layer_norm(&x, &one, &zero, 1e-5)?.sqr()?)?, norms),
        ("ops::rms_norm", gradient(&x, &ops::rms_norm(&x, &one, 1e-5)?.sqr()?)?, norms),
        (
            "LayerNorm",
            gradient(&x, &candle_nn::LayerNorm::new(one.clone(), zero, 1e-5).forward(&x)?.sqr()?)?,
            norms,
        ),
        ("RmsNorm", gradient(&x, &candle_nn::RmsNorm::new(one, 1e-5).forward(&x)?.sqr()?)?, norms),
        (
            "rotary_emb::rope",
            gradient(&heads, &candle_nn::rotary_emb::rope(&heads, &cos, &sin)?.sqr()?)?,
            "its place in the list of FAULTY functions here",
        ),
    ];
    for (name, found, workaround) in cases {
        ensure!(found.is_none(), "Candle now gives {name} a gradient: {workaround} may go");
    }
    Ok(())
}

#[test]
fn wrong_gradients_of_candle_are_still_wrong() -> Result<()> {
    // The gradient of sum(x) + sum(up(x)) is 1 + 4 an element, whichever term comes first.
    let x = var(&[2, 3, 8, 8])?;
    let up = |x: &Var| x.upsample_nearest2d(16, 16);
    let sums = [
        gradient(&x, &(up(&x)?.sum_all()? + x.sum_all()?)?)?,
        gradient(&x, &(x.sum_all()? + up(&x)?.sum_all()?)?)?,
    ];
    let right = Some(5.0 * x.elem_count() as f32);
    ensure!(
        sums != [right, right],
        "Candle now accumulates the gradient of upsample_nearest2d: upsample_nearest2x of crates/kernels/src/reference.rs may use it"
    );

    // Four of the forty elements are overwritten: their gradient is zero.
    let x = var(&[4, 10])?;
    let index = Tensor::zeros((4, 1), DType::U32, &Device::Cpu)?;
    let found = gradient(&x, &x.scatter(&index, &ones(&[4, 1])?, 1)?)?;
    ensure!(
        found != Some(36.0),
        "Candle now has the gradient of scatter right: it may leave the list of FAULTY functions here"
    );
    Ok(())
}

#[test]
fn second_derivatives_of_candle_are_still_cut() -> Result<()> {
    let w = Var::new(&[2f32, 3.0], &Device::Cpu)?;
    let first = w.sqr()?.sqr()?.sum_all()?.backward()?;
    let first = first.get(&w).context("no first derivative")?;
    let second = first.sum_all()?.backward()?;
    let second = second.get(&w).map(Tensor::to_vec1::<f32>).transpose()?;
    ensure!(
        second != Some(vec![48.0, 108.0]),
        "Candle now has second derivatives by default: models that need them may use its graph"
    );
    Ok(())
}

#[test]
fn gradients_that_candle_refuses_are_still_refused() -> Result<()> {
    let (x, signal, odd) = (var(&[2, 3, 8, 8])?, var(&[2, 3, 8])?, var(&[1, 1, 8, 7])?);
    let transposed = signal.conv_transpose1d(&ones(&[3, 4, 4])?, 1, 0, 2, 1, 1)?;
    let strided = odd.conv2d(&ones(&[1, 1, 3, 3])?, 0, 2, 1, 1)?;
    let cases = [
        (
            "conv_transpose1d",
            gradient(&signal, &transposed),
            "its place in the list of FAULTY functions here",
        ),
        (
            "upsample_bilinear2d",
            gradient(&x, &x.upsample_bilinear2d(16, 16, false)?),
            "its place in the list of FAULTY functions here",
        ),
        (
            "max_pool2d with a stride that is not its kernel",
            gradient(&x, &x.max_pool2d_with_stride(3, 2)?),
            "its place in the list of FAULTY functions here",
        ),
        (
            "avg_pool2d with a stride that is not its kernel",
            gradient(&x, &x.avg_pool2d_with_stride(3, 1)?),
            "its place in the list of FAULTY functions here",
        ),
        (
            "a strided conv2d that leaves a row unread",
            gradient(&odd, &strided),
            "the narrowing in conv2d of crates/kernels/src/reference.rs",
        ),
    ];
    for (name, found, workaround) in cases {
        ensure!(
            found.is_err(),
            "Candle now has a gradient of {name}: {workaround} may go, once it is checked"
        );
    }
    ensure!(
        Device::Cpu.set_seed(1).is_err(),
        "Candle's generator on the CPU can now be seeded: it may leave the list of FAULTY functions here"
    );
    Ok(())
}

/// What no source of the workspace may call: the text as written, and why.
const FAULTY: [(&str, &str); 17] = [
    ("softmax_last_dim", "has no gradient"),
    (".scatter(", "the gradient of what it overwrites is not zero"),
    (".scatter_set(", "has no gradient"),
    (".upsample_nearest1d(", "its gradient overwrites others"),
    (".upsample_nearest2d(", "its gradient overwrites others"),
    (".interpolate1d(", "its gradient overwrites others"),
    (".interpolate2d(", "its gradient overwrites others"),
    (".upsample_bilinear2d(", "its gradient is an error"),
    (".conv_transpose1d(", "its gradient is an error"),
    (".max_pool2d_with_stride(", "its gradient is an error"),
    (".avg_pool2d_with_stride(", "its gradient is an error"),
    ("Tensor::randn(", "cannot be seeded"),
    ("Tensor::rand(", "cannot be seeded"),
    ("Var::randn(", "cannot be seeded"),
    ("Var::rand(", "cannot be seeded"),
    (".randn_like(", "cannot be seeded"),
    (".rand_like(", "cannot be seeded"),
];

/// What no source may take from `candle_nn`, by import or by path. Our own functions may have the same names.
const FAULTY_OF_CANDLE_NN: [(&str, &str); 16] = [
    ("LayerNorm", "has no gradient"),
    ("RmsNorm", "has no gradient"),
    ("layer_norm", "has no gradient"),
    ("layer_norm_no_bias", "has no gradient"),
    ("rms_norm", "has no gradient"),
    ("sdpa", "has no gradient"),
    ("rope", "has no gradient"),
    ("rope_i", "has no gradient"),
    ("rope_thd", "has no gradient"),
    ("rotary_emb", "has no gradient"),
    ("dropout", "cannot be seeded"),
    ("Dropout", "cannot be seeded"),
    ("ConvTranspose1d", "its gradient is an error"),
    ("conv_transpose1d", "its gradient is an error"),
    ("AdamW", "its state cannot be saved"),
    ("SGD", "its state cannot be saved"),
];

/// The faulty functions that a source calls: line, what, why. Comments are not calls.
fn faulty_calls(source: &str) -> Vec<(usize, &'static str, &'static str)> {
    let code: Vec<&str> = source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let mut found = Vec::new();
    for (number, line) in code.iter().enumerate() {
        let calls = FAULTY.iter().filter(|(text, _)| line.contains(text));
        found.extend(calls.map(|&(text, why)| (number + 1, text, why)));
    }
    // From each mention of candle_nn:: to the end of the path or of the import.
    let joined = code.join("\n");
    for (start, _) in joined.match_indices("candle_nn::") {
        let rest = &joined[start..];
        let imported = joined[..start].trim_end().ends_with("use");
        let part_of_path = |c: char| c.is_alphanumeric() || "_:".contains(c);
        let end = if imported { rest.find(';') } else { rest.find(|c| !part_of_path(c)) };
        let words = rest[..end.unwrap_or(rest.len())].split(|c: char| !(c.is_alphanumeric() || c == '_'));
        let number = joined[..start].matches('\n').count() + 1;
        for word in words {
            let calls = FAULTY_OF_CANDLE_NN.iter().filter(|(name, _)| *name == word);
            found.extend(calls.map(|&(name, why)| (number, name, why)));
        }
    }
    found
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
    Ok(())
}

#[test]
fn no_library_and_no_program_calls_a_faulty_function() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join("crates"))? {
        rust_files(&entry?.path().join("src"), &mut files)?;
    }
    rust_files(&root.join("examples"), &mut files)?;
    ensure!(files.len() > 50, "only {} sources were found", files.len());
    let mut calls = Vec::new();
    for path in &files {
        for (line, what, why) in faulty_calls(&fs::read_to_string(path)?) {
            calls.push(format!("{}:{line}: {what} {why}", path.display()));
        }
    }
    ensure!(calls.is_empty(), "faulty functions of Candle are called:\n{}", calls.join("\n"));
    Ok(())
}

#[test]
fn the_reader_of_sources_finds_calls_and_no_comments() {
    let lines = |source: &str| {
        faulty_calls(source).into_iter().map(|(line, what, _)| (line, what)).collect::<Vec<_>>()
    };
    assert_eq!(lines("// candle_nn::LayerNorm\nlet y = x.scatter(&i, &s, 1)?;"), [(2, ".scatter(")]);
    assert_eq!(lines("use candle_nn::{\n    Init,\n    LayerNorm,\n};"), [(1, "LayerNorm")]);
    assert_eq!(lines("let y = candle_nn::ops::rms_norm(&x, &a, 1e-5)?;"), [(1, "rms_norm")]);
    assert_eq!(lines("use crate::norm::layer_norm;\nlet y = layer_norm(&x)?;"), []);
    assert_eq!(lines("use candle_nn::VarBuilder;\nfn rms_norm() {}"), []);
}
