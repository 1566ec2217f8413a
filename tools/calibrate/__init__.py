"""`asr33 calibrate`: finds the properties of a machine with the help of its operator. It does not know the model."""
