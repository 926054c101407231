//! Elucidated diffusion (Karras et al. 2022): its networks, preconditioning and losses, and the model made of them. Its
//! sampler is [`crate::diffusion::Heun`].

mod block;
mod dhariwal;
mod layers;
mod model;
mod precondition;
mod song;

pub use dhariwal::{DhariwalConfig, DhariwalUNet};
pub use model::{Edm, EdmConfig, NoiseLoss};
pub use precondition::{Coefficients, Precondition};
pub(crate) use precondition::{iddpm_levels, vp_sigma, vp_sigma_inverse};
pub use song::{Decoder, Encoder, NoiseEmbedding, SongConfig, SongUNet};

use candle_core::Tensor;

use crate::network::{Context, NetworkShape};
use crate::{Error, Result};

/// Checks that a network of EDM can have this shape.
fn check_shape(model: &'static str, shape: &NetworkShape, multiple: usize) -> Result<()> {
    if shape.axes != 2 {
        return Err(Error::Config {
            model,
            field: "axes of the event".into(),
            expected: "2 (lines and cubes have the network \"lucidrains\")".into(),
            got: shape.axes.to_string(),
        });
    }
    if shape.side == 0 || !shape.side.is_multiple_of(multiple) {
        let expected = format!("a multiple of {multiple}");
        return Err(Error::Config { model, field: "side".into(), expected, got: shape.side.to_string() });
    }
    Ok(())
}

/// Checks what a network of EDM is given.
fn check_input(
    model: &'static str,
    shape: &NetworkShape,
    multiple: usize,
    x: &Tensor,
    t: &[f64],
    context: &Context<'_>,
) -> Result<()> {
    let (dims, inputs) = (x.dims(), shape.channels + shape.field);
    let fits = dims.len() == 4
        && dims[..2] == [t.len(), inputs]
        && dims[2..].iter().all(|side| *side > 0 && side.is_multiple_of(multiple));
    if !fits {
        let expected = format!("[{}, {inputs}, multiple of {multiple}, multiple of {multiple}]", t.len());
        return Err(Error::Shape { operation: model, what: "x".into(), expected, got: dims.to_vec() });
    }
    let given = context.vector.map_or(0, |vector| vector.dims().last().copied().unwrap_or(0));
    if given != shape.vector {
        let (expected, got) = (format!("{} parameters", shape.vector), format!("{given}"));
        return Err(Error::Condition { model, expected, got });
    }
    Ok(())
}
