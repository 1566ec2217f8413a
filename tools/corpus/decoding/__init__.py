"""Bytes of any encoding to text: which encoding a file has, by the letters it gives. It knows no kind of file."""
