"""Physics on paper: arrays in, arrays out."""
