"""What a modern recipe adds to crop, flip and colour: TrivialAugment, random erasing, mixup and CutMix.

Each is a function of the pixels and of draws that come in from outside, so that ranks and resumes cannot matter. May
import geometry and color.
"""
