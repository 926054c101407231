//! Optimisers, moving averages, checkpoints and resumable training
