"""The augmentations besides crop and flip: colour jitter, TrivialAugment, random erasing, mixup and CutMix.

Each is a function of the pixels and of given draws, so that ranks and resumes cannot matter. May import geometry and
constants.
"""
