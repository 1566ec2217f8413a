"""Language models: store, onnxruntime sessions, text generation, server and client. Knows no machine and no command."""
