"""How does a trained model get to other runtimes? As safetensors, ONNX in fp32 and int8, and torch.export.

For users of `python -m lightning_app export`. Imports the classifier, and the sources that packing uses.
"""

from serve.export.command import export

__all__ = ["export"]
