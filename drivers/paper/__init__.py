"""The paper: a sheet of cells, the glyphs of the type wheel, pictures of a sheet. Knows no line and no time."""
