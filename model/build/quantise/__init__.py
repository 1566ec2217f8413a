"""Quantises GPT-2's matrices to 8 or 4 bits (GPTQ, SmoothQuant). It knows no files and no ONNX."""
