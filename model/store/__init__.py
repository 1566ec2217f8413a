"""Models on disk: their manifests, the default model, and documents to train on. Knows no tokens and no network."""
