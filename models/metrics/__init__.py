"""How good are the answers? Counts over all ranks, and the confidence above which answers can be relied on.

For the LightningModule and the model card. May import torch and torchmetrics, and nothing of ours.
"""
