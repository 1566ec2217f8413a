"""The commands for the logs of past sessions. They know the archive and no file format of their own."""
