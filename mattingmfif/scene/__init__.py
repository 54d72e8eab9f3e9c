"""Cut-outs and a recipe become layers at distances, a lens and a focus plan: all that the optics needs for a stack."""
