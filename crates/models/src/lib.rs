//! Generative models for fields: networks, objectives and samplers that compose
