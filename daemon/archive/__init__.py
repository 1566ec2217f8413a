"""The archive: reads, indexes and forgets the logs of past sessions. It does not know the machine or the model."""
