"""How does a trained model go to other runtimes: safetensors, ONNX in fp32 and int8, torch.export, and a model card?

For users of `python -m lightning_app export`. Imports the classifier, and the sources that packing reads with.
"""

from serve.export.command import export

__all__ = ["export"]
