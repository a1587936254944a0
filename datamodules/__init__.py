"""Where images come from, and how a batch is made.

The way of an image: a *source* (CIFAR-10, an image folder or archive, digits) is packed once into a
cache (`packed`), opened memory-mapped, and walked through in *shards* of a global batch (`shards`).
A batch of pixels is made on the training device (`batches`): gather, augment, resample.
"""
