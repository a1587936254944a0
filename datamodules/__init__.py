"""Where do images come from, and how is a batch made?

For anyone who follows an image: `sources` list and decode it, `cache_building` writes it once into a `packed_cache`,
`sampling` decides which images a rank sees in a step, and `batches` makes their pixels on the training device.
`datamodule` combines the parts. Imports torch, Lightning and the leaves of lightning_app, and none of our other
modules.
"""
