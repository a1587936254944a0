"""How good are the predictions? Counts over all ranks, and the confidence above which predictions are reliable.

For the LightningModule and the model card. May import torch and torchmetrics, and none of our modules.
"""
