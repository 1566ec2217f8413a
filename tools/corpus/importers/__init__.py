"""One importer for each kind of export, and their registry. Importers know formats, and no cleaning or training."""
