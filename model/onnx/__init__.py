"""Runs GPT-2 graphs with onnxruntime: ids in, logits out. Knows neither the store nor how text is generated."""
