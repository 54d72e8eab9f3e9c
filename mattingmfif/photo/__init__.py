"""A file becomes a photograph: found, decoded, colour-managed, hashed, licensed and judged; or refused with a reason.

sources    folder -> paths, licences
icc        colour profiles that are a matrix and curves, in float
heif       HEIC pictures and the depth in them
images     file   -> Photo (linear light, sRGB primaries), and back
gates      is it large enough, and sharp all over?
duplicates perceptual hashes and groups of near-duplicates
depth      depth files -> metres (depth_files: the numbers in them)
samples    the photographs that scikit-image carries
"""
