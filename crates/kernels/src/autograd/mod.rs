//! Gradients: what an operation is, and the two ways its gradient is found.
//!
//! An operation of this crate is one [`Op`]: a forward pass and an explicit gradient, on plain numbers. [`apply`]
//! carries it into whichever graph is being built:
//!
//! * **Candle's own**, the default: `loss.backward()` works as on any tensor.
//! * **A [`Tape`]** of this crate, inside [`record`]: the same gradients with less work. Candle adds every contribution
//!   to a tensor of zeros and keeps every activation to the end; the tape moves the first contribution in place,
//!   frees an activation as soon as its last gradient is known, and keeps none that no gradient reads. Candle's own
//!   operations may stand between ours: they form small graphs of their own, which the tape runs when it reaches them.
//! * **None**, inside [`no_grad`]: for sampling.

mod bridge;
mod op;
mod tape;

pub(crate) use op::{Gradient, Op, Pull, apply, enter};
pub use tape::{Tape, checkpoint, no_grad, record};
