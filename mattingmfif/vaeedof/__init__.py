"""VAEEDOF, a distilled variational auto-encoder that fuses up to seven frames, and what judges fused images.

The modules, in the order in which data flows through them (those marked * need torch, the extra `train`):

    settings     a TOML recipe            -> what the network is and how it is trained
    stacks       shards                   -> windows of stacks, training examples drawn by rule
    model        * the picture of the network; `cost` counts it
    teacher      * a diffusers folder, or a larger auto-encoder, to distil from
    distil       * the three lessons: teacher, distil, fusion; `losses` says what errors cost
    train        * recipe + dataset       -> weights; `progress` and `checkpoint` keep them, `validate` watches
    tiles        * pictures               -> a fused picture, tile by tile, equal to the whole
    frames       files                    -> frames of one size and exposure; `align` registers them
    fuse         * files                  -> one file
    baselines    frames                   -> fused images by classical methods, and the selection oracle
    metrics      fused image (+ truth)    -> figures (with `metrics_*`; `metrics_learned` * is LPIPS)
    evaluate     * dataset or `folders`   -> tables and pictures
    ablation     * recipe + dataset       -> a table of what each part is worth

Plain functions for the command line: `fuse.fuse_files`, `train.train_from_recipe`, `evaluate.evaluate_folder`.
"""
