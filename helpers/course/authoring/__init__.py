"""Tools for authors: make labs from solutions, run notebooks and keep their outputs."""
