#!/usr/bin/env python3
"""How does a BF16 checkpoint become one in FP8 blocks of 128 x 128, as the official ones are? numpy alone.

quantise_fp8.py FROM TO: reads a folder of safetensors, writes the same folder with every matrix of attention and feed-
forward in e4m3 and a multiplier per block beside it (X.weight_scale_inv, F32). Embedding, head, router and vectors stay."""

from __future__ import annotations

import argparse
import json
import shutil
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy

BLOCK = 128
E4M3_MAX = numpy.float32(448.0)
KEPT = ("embed_tokens", "lm_head", "norm", "mlp.gate.", "eh_proj", "shared_head")
CONFIG = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [BLOCK, BLOCK]}


def is_quantised(name: str, dtype: str, shape: list[int]) -> bool:
    return dtype == "BF16" and len(shape) == 2 and name.endswith(".weight") and not any(part in name for part in KEPT)


def encode_e4m3(values: numpy.ndarray) -> numpy.ndarray:
    """The nearest codes of float32 values, ties to even, saturating; input is finite."""
    bits = numpy.ascontiguousarray(values, dtype=numpy.float32).view(numpy.uint32)
    sign = (bits >> 24).astype(numpy.uint8) & numpy.uint8(0x80)
    bits = bits & numpy.uint32(0x7FFFFFFF)
    # Above 2^-6: 20 bits of mantissa are rounded away and the exponent is counted from 7 instead of 127.
    rounded = (bits + numpy.uint32(0x7FFFF) + ((bits >> 20) & numpy.uint32(1))) >> 20
    normal = rounded.astype(numpy.int32) - (120 << 3)
    # Below: multiples of 2^-9, which is the last place of floats at 2^14.
    small = (bits.view(numpy.float32) + numpy.float32(16384.0)).view(numpy.uint32) & numpy.uint32(0xFF)
    codes = numpy.where(bits < numpy.uint32(121 << 23), small.astype(numpy.int32), numpy.minimum(normal, 0x7E))
    return codes.astype(numpy.uint8) | sign


def quantise(bf16: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """[rows, columns] of uint16 -> e4m3 codes and the multiplier of each block; blocks at the edge are cut."""
    rows, columns = bf16.shape
    codes = numpy.empty((rows, columns), dtype=numpy.uint8)
    scales = numpy.empty(((rows + BLOCK - 1) // BLOCK, (columns + BLOCK - 1) // BLOCK), dtype="<f4")
    starts = numpy.arange(0, columns, BLOCK)
    widths = numpy.diff(numpy.append(starts, columns))
    for r in range(scales.shape[0]):
        part = slice(r * BLOCK, (r + 1) * BLOCK)
        band = (bf16[part].astype(numpy.uint32) << 16).view(numpy.float32)
        scale = numpy.maximum.reduceat(numpy.abs(band).max(axis=0), starts) / E4M3_MAX
        scale[scale == 0] = 1.0
        scales[r] = scale
        codes[part] = encode_e4m3(band / numpy.repeat(scale, widths))
    return codes, scales


def read_header(path: Path) -> tuple[dict, int]:
    with path.open("rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        return json.loads(file.read(size)), 8 + size


def planned(header: dict) -> tuple[dict, dict[str, list[str]]]:
    """-> (header of the new file, its tensor names by the name of the tensor they come from), in file order."""
    made: dict[str, list[str]] = {}
    new: dict = {"__metadata__": header.get("__metadata__", {"format": "pt"})}
    at = 0

    def add(source: str, name: str, dtype: str, shape: list[int], size: int) -> None:
        nonlocal at
        new[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        made.setdefault(source, []).append(name)
        at += size

    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    for name, entry in sorted(tensors.items(), key=lambda item: item[1]["data_offsets"][0]):
        shape = entry["shape"]
        begin, end = entry["data_offsets"]
        if not is_quantised(name, entry["dtype"], shape):
            add(name, name, entry["dtype"], shape, end - begin)
            continue
        blocks = [(n + BLOCK - 1) // BLOCK for n in shape]
        # Scales first: they stay aligned to four bytes whatever the matrix's size.
        add(name, name + "_scale_inv", "F32", blocks, 4 * blocks[0] * blocks[1])
        add(name, name, "F8_E4M3", shape, shape[0] * shape[1])
    return new, made


def convert(source: Path, target: Path) -> dict[str, str]:
    """Writes one file; -> {tensor: file}."""
    header, base = read_header(source)
    new, made = planned(header)
    data = numpy.memmap(source, dtype=numpy.uint8, mode="r")

    def pieces(name: str) -> list[bytes | memoryview]:
        entry = header[name]
        begin, end = (base + offset for offset in entry["data_offsets"])
        raw = data[begin:end]
        if len(made[name]) == 1:
            return [memoryview(raw)]
        codes, scales = quantise(raw.view("<u2").reshape(entry["shape"]))
        return [scales.tobytes(), memoryview(codes).cast("B")]

    text = json.dumps(new, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with target.open("wb") as file, ThreadPoolExecutor(2) as pool:
        file.write(struct.pack("<Q", len(text)) + text)
        names = list(made)
        for at in range(0, len(names), 8):  # a few at a time: results are held until written
            for parts in pool.map(pieces, names[at : at + 8]):
                for part in parts:
                    file.write(part)
            print(f"\r{target.name}: {min(at + 8, len(names))} of {len(names)} tensors", end="", file=sys.stderr)
    print(file=sys.stderr)
    return {name: target.name for name in new if name != "__metadata__"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    source, target = arguments.source, arguments.target
    target.mkdir(parents=True, exist_ok=True)
    files = sorted(source.glob("*.safetensors"))
    if not files or source.resolve() == target.resolve():
        parser.error(f"no safetensors in {source}, or both folders are the same")
    weight_map: dict[str, str] = {}
    for file in files:
        weight_map |= convert(file, target / file.name)
    for file in source.iterdir():
        if file.is_file() and file.name not in weight_map.values() and not file.name.endswith(".index.json"):
            shutil.copy(file, target / file.name)
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"] = CONFIG
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    if len(files) > 1:
        total = sum((target / file.name).stat().st_size - read_header(target / file.name)[1] for file in files)
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (target / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    main()
