"""The control socket: commands such as `asr33 print` use a running daemon's machine. It does not know the model."""
