//! The sequence operations of Mamba on tokens, `[batch, token, channel]`, which are read in any order.
//!
//! The channels of a token lie side by side, as linear maps of tokens take and give them, and an order says which
//! token follows which: nothing is transposed or permuted in memory.

mod conv;
mod gated;
mod order;
mod scan;

pub use conv::causal_conv_tokens;
pub use gated::gated_add;
pub use order::ScanOrder;
pub use scan::{TokenScan, selective_scan_tokens};
