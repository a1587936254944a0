"""The augmentations beside crop and flip: colour jitter, TrivialAugment, random erasing, mixup and CutMix.

Each is a function of the pixels and of draws that come in from outside, so that ranks and resumes cannot matter. May
import geometry and constants.
"""
