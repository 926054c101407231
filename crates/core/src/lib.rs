//! Units, cosmology, periodic box, particles, maps, cubes, clouds and seeded randomness of halocast
