"""A model card in Hugging Face's format: YAML for machines, then Markdown, all from the artifact."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from serve.card_text import LIMITS, METRICS, data_name, loading_code, preparation, uncertain

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
LOAD_ONNX = """\
    import numpy, onnxruntime, PIL.Image, PIL.ImageOps
    picture = PIL.ImageOps.exif_transpose(PIL.Image.open("picture.jpg")).convert("RGBA")   # 8 bits per channel
    picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    stored = PIL.ImageOps.fit(picture, ({stored}, {stored}), PIL.Image.Resampling.BILINEAR)
    images = numpy.asarray(stored).transpose(2, 0, 1)[None]   # uint8 [n, 3, {stored}, {stored}], any n
    [probabilities] = onnxruntime.InferenceSession("{file}").run(None, {{"images": images}})
"""


def model_card(card: dict[str, Any], runtimes: Sequence[str] = ()) -> str:
    """The README.md of an exported model.

    Args:
        card: the artifact's model.json.
        runtimes: names of the exported files for other runtimes, such as model.onnx.
    """
    onnx = next((name for name in ("model.onnx", "model.int8.onnx") if name in runtimes), None)
    parts = [
        f"# {heading(card)}",
        f"{card['backbone']}, {origin(card)}, for {len(card['classes'])} classes: {', '.join(card['classes'])}.",
        "## Results\n\n" + metrics_table(card),
        uncertain(card),
        "## Use\n\n" + indented(loading_code(card)),
        f"Resizing and normalisation are inside `{onnx}`:\n\n" + LOAD_ONNX.format(stored=card["stored_size"], file=onnx)
        if onnx
        else "",
        "## How a picture is prepared\n\n" + preparation(card),
        "## Origin\n\n" + facts(card.get("provenance", {})),
        "## Limits\n\n" + LIMITS,
    ]
    return f"---\n{front_matter(card, runtimes)}---\n\n" + "\n\n".join(part.rstrip() for part in parts if part) + "\n"


def heading(card: dict[str, Any]) -> str:
    data = data_name(card)
    return f"{card['backbone']} on {data}" if data else card["backbone"]


def origin(card: dict[str, Any]) -> str:
    """How the weights were initialised, as far as that is recorded."""
    weights = card.get("provenance", {}).get("initial_weights")
    if weights is None:
        return "trained"
    if weights == "none":
        return "trained from random weights"
    return "fine-tuned from torchvision's ImageNet weights" if weights == "imagenet" else f"fine-tuned from {weights}"


def indented(code: str) -> str:
    """Code as a Markdown block."""
    return "\n".join(f"    {line}" for line in code.splitlines())


def front_matter(card: dict[str, Any], runtimes: Sequence[str]) -> str:
    """The YAML that the Hub reads (https://huggingface.co/docs/hub/model-cards)."""
    data, provenance = data_name(card) or "unknown", card.get("provenance", {})
    metrics = card.get("metrics", {})
    measured = [
        {"type": "accuracy" if name == "acc" else name, "name": f"{split} {words}", "value": round(value, 6)}
        for split in ("test", "val")
        for name, words in METRICS.items()
        if (value := metrics.get(f"{split}/{name}")) is not None
    ]
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": data, "type": str(provenance.get("data") or data)},
        "metrics": measured,
    }
    formats = [*(["onnx"] if any(name.endswith(".onnx") for name in runtimes) else [])]
    base = provenance.get("initial_weights")
    content = {
        "license": card.get("license") or "unknown",
        "library_name": "pytorch",
        "pipeline_tag": "image-classification",
        # Only a name on the Hub; torchvision's weights have none.
        **({"base_model": base} if base and "/" in str(base) and HUB_NAME.fullmatch(str(base)) else {}),
        "datasets": [data],
        "tags": ["image-classification", card["backbone"], "safetensors", *formats],
        "metrics": ["accuracy"],
        "hyperparameters": hyperparameters(provenance),
        "model-index": [{"name": heading(card), "results": [result]}],
    }
    return yaml.safe_dump({name: value for name, value in content.items() if value}, sort_keys=False)


def hyperparameters(provenance: dict[str, Any]) -> dict[str, Any]:
    """The recorded hyperparameters of the training."""
    names = ("epochs", "steps", "batch_size", "lr", "optimizer", "precision", "world_size", "initial_weights")
    return {name: provenance[name] for name in names if provenance.get(name) is not None}


def metrics_table(card: dict[str, Any]) -> str:
    """Metrics as rows, splits as columns."""
    counts = card.get("confusion", {})
    splits = [split for split in ("test", "val") if f"{split}/acc" in card.get("metrics", {}) and split in counts]
    head = f"| | {' | '.join(splits)} |\n| --- |{' --- |' * len(splits)}\n"
    rows = ["| images | " + " | ".join(f"{sum(map(sum, counts[split])):,}" for split in splits) + " |"]
    rows += [
        f"| {words} | " + " | ".join(f"{card.get('metrics', {})[f'{split}/{name}']:.4f}" for split in splits) + " |"
        for name, words in METRICS.items()
        if all(f"{split}/{name}" in card.get("metrics", {}) for split in splits)
    ]
    return head + "\n".join(rows)


def facts(provenance: dict[str, Any]) -> str:
    """A Markdown table of names and values."""
    rows = [f"| {name.replace('_', ' ')} | {value} |" for name, value in provenance.items() if value is not None]
    return "| | |\n| --- | --- |\n" + "\n".join(rows)
