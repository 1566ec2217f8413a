"""The command line: one file or package for each command of `asr33`. Nothing else in the repository imports it."""
