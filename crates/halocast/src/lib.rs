//! Generative models for hydrodynamical simulations: load, project, train, sample, judge
