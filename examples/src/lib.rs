//! The programs of halocast share the code of this small library.
