//! Simulation and survey files (IllustrisTNG, CAMELS, npy, FITS) as halocast core types
