//! Summary statistics of maps, cubes and clouds, and the comparison of two ensembles
