"""Arrays in, arrays out: the sRGB curve, resampling, push-pull filling, grain. Serves every other room."""
