"""Adds to a TFLite model the metadata without which MediaPipe's tasks refuse it: how to normalise the input image."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np

METADATA_NAME = "TFLITE_METADATA"
METADATA_IDENTIFIER = b"M001"
MODEL_IDENTIFIER = b"TFL3"
ALIGNMENT = 16  # [bytes] TFLite maps its weights in place


def with_normalization(model: bytes, mean: float, std: float) -> bytes:
    """The model with metadata that says input = (pixel - mean) / std, for RGB images; weights are unchanged."""
    import flatbuffers
    from mediapipe.tasks.metadata import schema_py_generated as schema

    tree = schema.ModelT.InitFromPackedBuf(model, 0)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(_metadata(tree, mean, std), np.uint8)
    tree.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = METADATA_NAME, len(tree.buffers) - 1
    tree.metadata = [*(tree.metadata or []), entry]
    builder = flatbuffers.Builder(len(model) + 4096)
    builder.Finish(tree.Pack(builder), MODEL_IDENTIFIER)
    return bytes(builder.Output())


def _metadata(model: Any, mean: float, std: float) -> bytes:
    import flatbuffers
    from mediapipe.tasks.metadata import metadata_schema_py_generated as schema

    options = schema.NormalizationOptionsT()
    options.mean, options.std = [mean], [std]
    unit = schema.ProcessUnitT()
    unit.optionsType, unit.options = schema.ProcessUnitOptions.NormalizationOptions, options
    graph = schema.SubGraphMetadataT()
    graph.inputTensorMetadata = [_image_tensor(schema, unit)]
    graph.outputTensorMetadata = [schema.TensorMetadataT() for _ in model.subgraphs[0].outputs]
    root = schema.ModelMetadataT()
    root.subgraphMetadata = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(root.Pack(builder), METADATA_IDENTIFIER)
    return bytes(builder.Output())


def _image_tensor(schema: Any, unit: Any) -> Any:
    image = schema.ImagePropertiesT()
    image.colorSpace = schema.ColorSpaceType.RGB
    content = schema.ContentT()
    content.contentPropertiesType, content.contentProperties = schema.ContentProperties.ImageProperties, image
    tensor = schema.TensorMetadataT()
    tensor.content, tensor.processUnits = content, [unit]
    return tensor


def bundle(members: dict[str, bytes]) -> bytes:
    """One uncompressed zip of ``members`` with each member's data at an aligned offset, as MediaPipe maps it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)  # fixed date: the same bytes each time
            header = out.tell() + 30 + len(name.encode())
            padding = -(header + 4) % ALIGNMENT
            # an extra field of its own (id 0xD935, as Android's zipalign writes) moves the data to the offset wanted
            info.extra = b"\x35\xd9" + padding.to_bytes(2, "little") + bytes(padding)
            archive.writestr(info, data)
    return out.getvalue()
