"""VAEEDOF, a distilled variational auto-encoder that fuses up to seven frames, and what judges fused images.

The modules, in the order in which data flows through them:

    metrics      fused image (+ truth)  -> figures; numpy only, as is `baselines`
    baselines    frames                 -> fused images by classical methods, and the selection oracle
"""
