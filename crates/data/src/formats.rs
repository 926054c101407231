//! The formats themselves: what each field is, its unit, and where it is documented.
//!
//! Units are those of the files: comoving lengths `ckpc/h`, masses `1e10 Msun/h`, with scale factor $a$ and
//! $h = H_0 / (100\ \mathrm{km/s/Mpc})$. A value $v$ is $v \times \mathtt{to\_cgs} \times a^{n} \times h^{m}$ in cgs, with the
//! exponents $(n, m)$ of the attributes `a_scaling` and `h_scaling`; `to_cgs = 0` says that it has no dimension. Where a file has no
//! such attributes (catalogues, trees, cutouts, CAMELS), the unit is the one below. [`ToUnit`](crate::ToUnit) converts.
//!
//! # Snapshots of IllustrisTNG, CAMELS and GADGET-4 (HDF5)
//!
//! Documented: TNG data release, "Snapshots" (Nelson et al. 2019, arXiv:1812.05609); CAMELS (Villaescusa-Navarro et al. 2021,
//! 2022); GADGET-4 (Springel et al. 2021). A snapshot is one file or `NumFilesPerSnapshot` chunks; a type without particles in
//! a chunk has no group there. Groups `PartType0` gas, `1` dark matter, `2` dark matter of low resolution (zooms), `3` tracers,
//! `4` stars and wind, `5` black holes.
//!
//! | attribute of `/Header` | what it is |
//! |---|---|
//! | `NumPart_ThisFile`, `NumPart_Total`, `NumPart_Total_HighWord` | counts by type: here; in all, lower and upper 32 bits |
//! | `MassTable` | mass of a particle of each type, 1e10 Msun/h; 0 where each has its own in `Masses` |
//! | `BoxSize` | side of the periodic box, ckpc/h |
//! | `Time`, `Redshift` | scale factor $a$; $z = 1/a - 1$ |
//! | `Omega0`, `OmegaLambda`, `OmegaBaryon`, `HubbleParam` | cosmology at $z = 0$; $h$ |
//! | `UnitLength_in_cm`, `UnitMass_in_g`, `UnitVelocity_in_cm_per_s` | the system of units, without $a$ and $h$ |
//! | `NumFilesPerSnapshot` | chunks |
//!
//! | field | types | unit | what it is |
//! |---|---|---|---|
//! | `Coordinates` | all but 3 | ckpc/h | position in the box; `[row, 3]` |
//! | `CenterOfMass` | 0 | ckpc/h | centre of mass of the Voronoi cell, which `Coordinates` is not |
//! | `Velocities` | all but 3 | km sqrt(a)/s | times $\sqrt{a}$: the peculiar velocity |
//! | `Masses` | 0, 4, 5 | 1e10 Msun/h | mass; of dark matter in `MassTable` |
//! | `ParticleIDs` | all but 3 | | identifier, 64 bits, of the particle through all snapshots |
//! | `Potential` | all but 3 | (km/s)^2/a | gravitational potential |
//! | `Density` | 0 | (1e10 Msun/h)/(ckpc/h)^3 | comoving mass density of the cell |
//! | `InternalEnergy` | 0 | (km/s)^2 | thermal energy per mass; of star-forming cells that of the two-phase model |
//! | `ElectronAbundance` | 0 | | electrons per hydrogen nucleus; of star-forming cells to be used with care |
//! | `NeutralHydrogenAbundance` | 0 | | neutral hydrogen per hydrogen nucleus, molecules included |
//! | `StarFormationRate` | 0 | Msun/yr | instantaneous rate |
//! | `MagneticField` | 0 | (h/a^2) sqrt(unit pressure) | field of the cell; times 2.60e-6 for Gauss in the convention of the release |
//! | `EnergyDissipation`, `Machnumber` | 0 | (1/a) 1e10 Msun (km/s)^3/ckpc; none | shocks: dissipated energy per time; Mach number |
//! | `GFM_Metallicity`, `GFM_Metals`, `GFM_MetalsTagged` | 0, 4 | | mass in metals per mass; in H, He, C, N, O, Ne, Mg, Si, Fe, others; by origin |
//! | `GFM_CoolingRate` | 0 | erg cm^3/s | net cooling rate over $n_H^2$ |
//! | `GFM_AGNRadiation` | 0 | erg/(s cm^2) | bolometric intensity of active nuclei, times $4 \pi$ |
//! | `GFM_WindDMVelDisp`, `GFM_WindHostHaloMass` | 0 | km/s; 1e10 Msun/h | velocity dispersion of dark matter and mass of the halo, as the wind model takes them |
//! | `GFM_StellarFormationTime` | 4 | | scale factor of birth; **not positive for wind**, which is no star |
//! | `GFM_InitialMass` | 4 | 1e10 Msun/h | mass at birth |
//! | `GFM_StellarPhotometrics` | 4 | | magnitudes in U, B, V, K, g, r, i, z |
//! | `BirthPos`, `BirthVel` | 4 | ckpc/h; km sqrt(a)/s | position and velocity at birth |
//! | `StellarHsml`, `SubfindHsml`, `SmoothingLength` | 4; 0, 1, 4; 0 | ckpc/h | radius of the sphere of 32 (64) neighbours; of Gadget's kernel |
//! | `SubfindDensity`, `SubfindDMDensity`, `SubfindVelDisp` | 0, 1, 4 | as `Density`; km/s | local density of all matter, of dark matter; velocity dispersion |
//! | `BH_Mass`, `BH_HostHaloMass` | 5 | 1e10 Msun/h | mass of the hole without its reservoir; of its halo |
//! | `BH_CumMassGrowth_QM`, `BH_CumMassGrowth_RM` | 5 | 1e10 Msun/h | mass accreted in quasar and radio mode |
//! | `BH_CumEgyInjection_QM`, `BH_CumEgyInjection_RM` | 5 | (1e10 Msun/h) (ckpc/h)^2/(0.978 Gyr/h)^2 | energy given to the gas in either mode |
//! | `BH_Mdot`, `BH_MdotBondi`, `BH_MdotEddington` | 5 | (1e10 Msun/h)/(0.978 Gyr/h) | accretion: actual, Bondi's, Eddington's |
//! | `BH_Density`, `BH_U`, `BH_Hsml` | 5 | as `Density`; (km/s)^2; ckpc/h | of the gas around it: density, thermal energy; its radius |
//! | `BH_Progs` | 5 | | holes that have merged into it |
//! | `TracerID`, `ParentID` | 3 | | identifier of the tracer; of the particle that carries it |
//!
//! # Group catalogues
//!
//! Documented: TNG data release, "Group Catalogs"; SUBFIND (Springel et al. 2001). Counts in `/Header`: `Ngroups_ThisFile`,
//! `Ngroups_Total`, `Nsubgroups_*` (CAMELS and GADGET-4: `Nsubhalos_*`), `NumFiles`. Particles lie in a snapshot in the order of the
//! catalogue, so that places are sums of lengths: [`Offsets`](crate::Offsets).
//!
//! | field of `Group` | unit | what it is |
//! |---|---|---|
//! | `GroupPos`, `GroupCM` | ckpc/h | most bound particle; centre of mass |
//! | `GroupVel` | km/s/a | over $a$: the peculiar velocity |
//! | `GroupMass`, `GroupMassType`, `GroupWindMass`, `GroupBHMass` | 1e10 Msun/h | sums over members: all; by type; wind; holes |
//! | `GroupLen`, `GroupLenType`, `GroupOffsetType` | | members; by type; first row of each type |
//! | `GroupNsubs`, `GroupFirstSub` | | subhalos; the first of them, -1 for none (as 2^32 - 1 in Illustris-1) |
//! | `Group_M_Crit200`, `Group_M_Crit500`, `Group_M_Mean200`, `Group_M_TopHat200` | 1e10 Msun/h | mass inside the radius below |
//! | `Group_R_Crit200`, `Group_R_Crit500`, `Group_R_Mean200`, `Group_R_TopHat200` | ckpc/h | where the mean density is 200 (500) times the critical, the mean, or that of a top-hat collapse |
//! | `GroupSFR`, `GroupBHMdot` | Msun/yr; as `BH_Mdot` | sums over members |
//! | `GroupGasMetallicity`, `GroupStarMetallicity`, `GroupGasMetalFractions`, `GroupStarMetalFractions` | | metals of gas and of stars, by mass; by element |
//! | `GroupAscale` | | scale factor of the group (GADGET-4's light cones) |
//!
//! | field of `Subhalo` | unit | what it is |
//! |---|---|---|
//! | `SubhaloPos`, `SubhaloCM` | ckpc/h | most bound particle; centre of mass |
//! | `SubhaloVel`, `SubhaloVelDisp` | km/s | peculiar velocity; dispersion in one dimension |
//! | `SubhaloVmax` (`SubhaloVMax`), `SubhaloVmaxRad` | km/s; ckpc/h | largest circular velocity and where |
//! | `SubhaloSpin` | (kpc/h) (km/s) | angular momentum per mass |
//! | `SubhaloMass`, `SubhaloMassType`, `Mass`, `MassHistory` | 1e10 Msun/h | bound mass; by type; in SubLink its mass, and the sum along its main branch |
//! | `SubhaloMassInHalfRad`, `SubhaloMassInMaxRad`, `SubhaloMassInRad` and these with `Type` | 1e10 Msun/h | within the half-mass radius of stars, the radius of `SubhaloVmax`, twice the first |
//! | `SubhaloHalfmassRad`, `SubhaloHalfmassRadType` | ckpc/h | radius of half the mass; by type |
//! | `SubhaloLen`, `SubhaloLenType`, `SubhaloOffsetType` | | members; by type; first row of each type |
//! | `SubhaloGrNr` (`SubhaloGroupNr`), `SubhaloParent`, `SubhaloRankInGr`, `SubhaloParentRank` | | its group; the subhalo it lies in; ranks |
//! | `SubhaloIDMostbound` (`SubhaloIDMostBound`) | | identifier of its most bound particle |
//! | `SubhaloFlag` | | 0 for a clump that is no galaxy of cosmological origin; an enumeration |
//! | `SubhaloSFR`, `SubhaloSFRinHalfRad`, `SubhaloSFRinMaxRad`, `SubhaloSFRinRad` | Msun/yr | of all its gas; within the radii above |
//! | `SubhaloBHMass`, `SubhaloBHMdot`, `SubhaloWindMass` | 1e10 Msun/h; as `BH_Mdot`; 1e10 Msun/h | sums over members |
//! | `SubhaloBfldDisk`, `SubhaloBfldHalo` | as `MagneticField` | root of the mean square field, within twice the half-mass radius; of all its gas |
//! | `SubhaloStellarPhotometrics` | mag | U, B, V, K, g, r, i, z; 1e37 for no stars |
//! | `SubhaloStellarPhotometricsRad`, `SubhaloStellarPhotometricsMassInRad` | ckpc/h; 1e10 Msun/h | where the surface brightness falls to 20.7 mag/arcsec^2 in K; stars within |
//! | `SubhaloGasMetallicity`, with `HalfRad`, `MaxRad`, `Sfr`, `SfrWeighted`; `SubhaloStarMetallicity`, with `HalfRad`, `MaxRad` | | metals by mass, within the radii above, of star-forming gas, weighted by it |
//! | `SubhaloGasMetalFractions`, `SubhaloStarMetalFractions`, with the same endings | | by element |
//!
//! # Merger trees
//!
//! Documented: SubLink (Rodriguez-Gomez et al. 2015), LHaloTree (Springel et al. 2005); TNG data release, "Merger Trees". A row
//! is a subhalo at a snapshot `SnapNum`, number `SubfindID` (SubLink) or `SubhaloNumber` (LHaloTree) in its catalogue, with that
//! catalogue's fields. Links: `FirstProgenitorID` to the progenitor of the most massive history, `NextProgenitorID` to the next
//! of the same descendant, `DescendantID`; of LHaloTree row numbers without `ID`. [`MergerTree`](crate::MergerTree).
//!
//! # CAMELS
//!
//! Documented: camels.readthedocs.io; Multifield Dataset: Villaescusa-Navarro et al. 2022 (arXiv:2109.10915). Parameters, in this
//! order and no other: `Omega_m`, `sigma_8`, `A_SN1`, `A_AGN1`, `A_SN2`, `A_AGN2`. Map $i$ is of simulation $\lfloor i/15 \rfloor$:
//! five slabs of 5 Mpc/h along each of three axes. [`CmdMaps`](crate::CmdMaps), [`CmdGrids`](crate::CmdGrids),
//! [`CamelsRun`](crate::CamelsRun).
//!
//! | prefix | what it is | unit of maps | of grids |
//! |---|---|---|---|
//! | `Mgas`, `HI`, `Mcdm`, `Mstar`, `Mtot` | density of gas, neutral hydrogen, dark matter, stars, all | (Msun/h)/(Mpc/h)^2 | (Msun/h)/(Mpc/h)^3 |
//! | `Vgas`, `Vcdm` | speed of gas, of dark matter | km/s | km/s |
//! | `T`, `P` | temperature, pressure of gas | K; h^2 Msun (km/s)^2/kpc^3 | the same |
//! | `Z`, `MgFe` | metallicity; magnesium over iron | | |
//! | `ne` | electron density | h^2 cm^-3 Mpc/h | h^2/cm^3 |
//! | `B` | magnetic field; of IllustrisTNG alone | Gauss | Gauss |
//!
//! | suite | what it lacks |
//! |---|---|
//! | `IllustrisTNG` (AREPO) | |
//! | `SIMBA` (GIZMO), `Astrid` (MP-Gadget) | magnetic fields, `GFM_*` (metals are in `Metallicity`, births in `StellarFormationTime`), tracers, particles sorted by group |
//! | `*_DM`, `Nbody_*` | all but dark matter; maps are of `Mtot` |
//!
//! # Gadget-1 and Gadget-2 (binary)
//!
//! Documented: user's guide of GADGET-2 (Springel 2005), section 6. Blocks between two counts of their bytes; form 2 has a block
//! of eight bytes with the name before each. Header of 256 bytes: 6 counts here, 6 masses, time, redshift, two flags, 6 counts in all (at
//! byte 96), a flag, number of files (124), box, `Omega0`, `OmegaLambda`, `HubbleParam`, two flags, 6 upper words (168). Then `POS`,
//! `VEL`, `ID`, `MASS` of the types without a mass in the header, and of gas `U`, `RHO`, `HSML`. [`read_gadget`](crate::read_gadget).
//!
//! # Friends-of-friends groups of P-Gadget (binary), as in Quijote
//!
//! Documented: Pylians' `readfof`; Quijote (Villaescusa-Navarro et al. 2020). `group_tab_NNN.C`: groups here and in all, identifiers
//! here (i32), in all (u64), files (u32); then by field: `GroupLen`, `GroupOffset`, `GroupMass`, `GroupPos`, `GroupVel`,
//! `GroupLenType`, `GroupMassType`, perhaps `GroupSFR`. `group_ids_NNN.C`: the same header, an offset (u32), identifiers.
//! [`read_fof`](crate::read_fof), [`read_fof_ids`](crate::read_fof_ids).
//!
//! # skais-mapper's maps (HDF5)
//!
//! Documented: Denzel et al. 2025 (arXiv:2510.23768). `/{group}/images`, `[image, y, x]`, shuffled and deflated, one image a chunk;
//! `/{group}/metadata/{0000}` with `class`, `gid`, `snapshot`, `units`, `extent` (left, right, bottom, top), `units_extent`, `name`,
//! `num_particles`, `rotxy`, `rng_seed`. Groups: `gas`, `star`, `dm` (Msun/kpc^2), `hi` (Msun/kpc^2), `hi/21cm` (mK), `temp` (K),
//! `bfield` (Gauss). [`SkaisFile`](crate::SkaisFile), [`write_skais`](crate::write_skais).
//!
//! # SDSS spectra
//!
//! Documented: SDSS-III data model, `spec-PLATE-MJD-FIBER.fits`. Table `COADD`: `flux`, `sky`, `model` (1e-17 erg/s/cm^2/Angstrom),
//! `loglam` (log10 of the vacuum wavelength in Angstrom), `ivar` (inverse variance), `and_mask`, `or_mask`; table `SPECOBJ` or `SPALL`:
//! `PLATE`, `MJD`, `FIBERID`, `Z`, `Z_ERR`, `CLASS`. Set `sdss_galaxy_spec.hdf5`: `/raw/wavelength`, `spec`, `specerr`, and one
//! number a galaxy in `z`, `zerr`, `ra`, `dec`, `plateid`, `fiberid`, `mjd`, `age`, `metallicity`, `smass`.
//! [`read_sdss_spectrum`](crate::read_sdss_spectrum), [`read_sdss_set`](crate::read_sdss_set).
//!
//! # FITS, npy, npz
//!
//! Documented: FITS standard 4.0 (IAU 2018): value = `BZERO` + `BSCALE` x stored, big-endian, `BLANK` for no value, axes from the fastest;
//! NumPy's format, versions 1 to 3; ZIP (APPNOTE 6.3). [`read_fits`](crate::read_fits), [`NpyFile`](crate::NpyFile),
//! [`NpzFile`](crate::NpzFile).
