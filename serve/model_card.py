"""A model card in the manner of Hugging Face: YAML for machines, then Markdown, all from the artifact."""

from __future__ import annotations

from typing import Any

import yaml

from serve.card_text import METRICS, preparation, uncertain

LOAD = """\
    from models.artifact import load_artifact   # of laptop-to-cluster
    network, card = load_artifact("this/folder")   # float [n, 3, {size}, {size}] in [0, 1] to logits
"""
LOAD_ONNX = """\
    import numpy, onnxruntime, PIL.Image, PIL.ImageOps
    picture = PIL.ImageOps.exif_transpose(PIL.Image.open("picture.jpg")).convert("RGBA")   # of 8 bits a channel
    picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    stored = PIL.ImageOps.fit(picture, ({stored}, {stored}), PIL.Image.Resampling.BILINEAR)
    images = numpy.asarray(stored).transpose(2, 0, 1)[None]   # uint8 [n, 3, {stored}, {stored}], any n
    [probabilities] = onnxruntime.InferenceSession("model.onnx").run(None, {{"images": images}})
"""


def model_card(card: dict[str, Any], with_onnx: bool) -> str:
    """The README.md of an exported model.

    Args:
        card: the artifact's model.json.
        with_onnx: there is a model.onnx beside it.
    """
    parts = [
        f"# {title(card)}",
        f"{card['backbone']}, fine-tuned to tell {len(card['classes'])} classes apart: {', '.join(card['classes'])}.",
        "## Measured\n\n" + metrics_table(card),
        uncertain(card),
        "## Use\n\n" + LOAD.format(size=card["input_size"]),
        "Resizing and normalisation are inside `model.onnx`:\n\n" + LOAD_ONNX.format(stored=card["stored_size"])
        if with_onnx
        else "",
        "## How a picture is prepared\n\n" + preparation(card),
        "## Where it comes from\n\n" + facts(card.get("provenance", {})),
        "## Limits\n\nIt knows these classes only: a picture of anything else still gets one of them. It was measured "
        "on images of its own data set; expect less on pictures that were taken differently.",
    ]
    return f"---\n{front_matter(card, with_onnx)}---\n\n" + "\n\n".join(part.rstrip() for part in parts if part) + "\n"


def title(card: dict[str, Any]) -> str:
    """Backbone and data."""
    data = card.get("provenance", {}).get("data", "")
    return f"{card['backbone']} on {data.rpartition('-')[0] or data}" if data else card["backbone"]


def front_matter(card: dict[str, Any], with_onnx: bool) -> str:
    """What the Hub reads (https://huggingface.co/docs/hub/model-cards)."""
    data = card.get("provenance", {}).get("data", "unknown")
    measured = [
        {"type": "accuracy" if name == "acc" else name, "name": f"{split} {words}", "value": round(value, 6)}
        for split in ("test", "val")
        for name, words in METRICS.items()
        if (value := card["metrics"].get(f"{split}/{name}")) is not None
    ]
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": data.rpartition("-")[0] or data, "type": data},
        "metrics": measured,
    }
    content = {
        "library_name": "pytorch",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", card["backbone"], "safetensors", *(["onnx"] if with_onnx else [])],
        "metrics": ["accuracy"],
        "model-index": [{"name": title(card), "results": [result]}],
    }
    return yaml.safe_dump(content, sort_keys=False)


def metrics_table(card: dict[str, Any]) -> str:
    """Splits as columns."""
    counts = card.get("confusion", {})
    splits = [split for split in ("test", "val") if f"{split}/acc" in card["metrics"] and split in counts]
    head = f"| | {' | '.join(splits)} |\n| --- |{' --- |' * len(splits)}\n"
    rows = ["| images | " + " | ".join(f"{sum(map(sum, counts[split])):,}" for split in splits) + " |"]
    rows += [
        f"| {words} | " + " | ".join(f"{card['metrics'][f'{split}/{name}']:.4f}" for split in splits) + " |"
        for name, words in METRICS.items()
        if all(f"{split}/{name}" in card["metrics"] for split in splits)
    ]
    return head + "\n".join(rows)


def facts(provenance: dict[str, Any]) -> str:
    """Names and values."""
    rows = [f"| {name.replace('_', ' ')} | {value} |" for name, value in provenance.items() if value is not None]
    return "| | |\n| --- | --- |\n" + "\n".join(rows)
