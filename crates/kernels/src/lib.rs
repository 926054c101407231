//! Candle custom operations with gradients, and the network layers made of them
