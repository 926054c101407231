//! Particles to maps, cubes and clouds, and their augmentation
