"""Cut-outs and a recipe become layers at distances, a lens and a focus plan: everything the optics needs for a stack."""
