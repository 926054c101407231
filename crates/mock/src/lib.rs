//! A small synthetic universe, a stand-in for development and not a simulation to publish with
