"""Rows and columns: how a table is divided, and which column has the texts. It opens no file and knows no program."""
