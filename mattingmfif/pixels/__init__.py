"""Arrays in, arrays out: the sRGB curve, resampling, push-pull filling, the guided filter. Serves every other room."""
