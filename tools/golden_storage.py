"""How do float32 matrices become a checkpoint folder? Rounding, FP8 blocks, shards, config."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file

from golden_models import GoldenModel

TORCH_DTYPE = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
BLOCK = 128


def quantise_blocks(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """e4m3 bytes and the multiplier of each block of 128 x 128; edge blocks are cut, not padded."""
    rows, columns = w.shape
    scales = torch.empty((rows + BLOCK - 1) // BLOCK, (columns + BLOCK - 1) // BLOCK)
    quantised = torch.empty(rows, columns, dtype=torch.float8_e4m3fn)
    for r in range(scales.shape[0]):
        for c in range(scales.shape[1]):
            part = (slice(r * BLOCK, (r + 1) * BLOCK), slice(c * BLOCK, (c + 1) * BLOCK))
            scales[r, c] = w[part].abs().max() / 448.0
            quantised[part] = (w[part] / scales[r, c]).to(torch.float8_e4m3fn)
    return quantised, scales


def dequantise_blocks(quantised: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    rows, columns = quantised.shape
    spread = scales.repeat_interleave(BLOCK, 0)[:rows].repeat_interleave(BLOCK, 1)[:, :columns]
    return quantised.to(torch.float32) * spread


def is_fp8(model: GoldenModel, name: str) -> bool:
    kept = ("embed_tokens", "lm_head", "norm", "mlp.gate.")
    return model.dtype == "F8_E4M3" and not any(part in name for part in kept)


def stored(model: GoldenModel, arrays: dict[str, numpy.ndarray]) -> tuple[dict, dict]:
    """-> (tensors as the files hold them, the float32 values those stand for)."""
    files: dict[str, torch.Tensor] = {}
    values: dict[str, torch.Tensor] = {}
    plain = "BF16" if model.dtype == "F8_E4M3" else model.dtype
    for name, array in arrays.items():
        w = torch.from_numpy(array)
        if is_fp8(model, name):
            files[name], files[name + "_scale_inv"] = quantise_blocks(w)
            values[name] = dequantise_blocks(files[name], files[name + "_scale_inv"])
            continue
        dtype = TORCH_DTYPE[plain]
        if name.endswith("e_score_correction_bias"):
            dtype = torch.float32
        elif "norm" in name and model.norm_dtype:
            dtype = TORCH_DTYPE[model.norm_dtype]
        files[name] = w.to(dtype)
        values[name] = files[name].to(torch.float32)
    if model.extra_inv_freq:
        for layer in range(model.config["num_hidden_layers"]):
            name = f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"
            files[name] = torch.full((56,), 0.5, dtype=torch.bfloat16)
    return files, values


def split(model: GoldenModel, files: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """Fills the shards by bytes; every third scale goes to the shard after its weight's."""
    total = sum(t.numel() * t.element_size() for t in files.values())
    shards: list[dict[str, torch.Tensor]] = [{} for _ in range(model.shards)]
    done = 0
    scales = 0
    for name, tensor in files.items():
        at = min(done * model.shards // total, model.shards - 1)
        if name.endswith("_scale_inv"):
            scales += 1
            at = (at + 1) % model.shards if scales % 3 == 0 else at
        shards[at][name] = tensor.contiguous()
        done += tensor.numel() * tensor.element_size()
    return shards


def official_config(model: GoldenModel) -> dict:
    config = dict(model.config)
    config["torch_dtype"] = {"F32": "float32", "F16": "float16"}.get(model.dtype, "bfloat16")
    if model.rope_spelling == "rope_parameters":
        block = dict(config.pop("rope_scaling"))
        block["rope_type"] = block.pop("type")
        block["rope_theta"] = config.pop("rope_theta")
        config["rope_parameters"] = block
    return config


def write_checkpoint(model: GoldenModel, folder: Path, files: dict[str, torch.Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("*.safetensors"), *folder.glob("*.json")]:
        old.unlink()
    (folder / "config.json").write_text(json.dumps(official_config(model), indent=2) + "\n")
    if model.shards == 1:
        save_file(files, folder / "model.safetensors", metadata={"format": "pt"})
        return
    weight_map = {}
    for index, shard in enumerate(split(model, files)):
        file = model.shard_name.format(index + 1, model.shards)
        save_file(shard, folder / file, metadata={"format": "pt"})
        weight_map |= {name: file for name in shard}
    total = sum(t.numel() * t.element_size() for t in files.values())
    index_json = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    text = json.dumps(index_json, indent=2) + "\n"
    (folder / "model.safetensors.index.json").write_text(text)
