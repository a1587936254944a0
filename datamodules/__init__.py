"""Where do images come from, and how is a batch made?

For whoever follows an image: `sources` list and decode it, `packing` writes it once into a `packed_cache`, `sampling`
says which images a rank sees in a step, and `batches` makes their pixels on the training device. `datamodule` puts the
parts together. Imports torch, Lightning and the leaves of lightning_app, and nothing else of ours.
"""
