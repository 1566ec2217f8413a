"""Makes model files: imports weights from the Hugging Face hub, quantises, exports and measures.

Only the commands use this folder. It does not know how a model is run or served.
"""
