"""`asr33 model`: list, show, pull, make, verify, score and remove the models on this disk. Knows no machine."""
