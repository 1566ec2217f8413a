"""`asr33 train`: trains GPT-2 models on text files and corpora, and exports them to the model store.

It uses torch; no other folder does. It does not know how a model is served.
"""
