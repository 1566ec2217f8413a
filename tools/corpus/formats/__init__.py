"""What a file is, by its name and its first bytes: prose, markup, or messages of a program that is not read."""
