"""How does the network become files and back? The official folder layout with FP8 block weights.

A quantised `X.weight` is float8 e4m3 and comes with `X.weight_scale_inv` (float32), one multiplier
for each block of 128 x 128: weight = e4m3 value * multiplier. Edge blocks are simply smaller.
"""
import json
import os
import re

import torch
from safetensors.torch import load_file, save_file

import bpe
import network as net

BLOCK = 128
E4M3_MAX = 448.0
# The official checkpoints quantise the projections of attention and of every MLP, nothing else.
QUANTISED = re.compile(r"(q_a_proj|q_b_proj|kv_a_proj_with_mqa|kv_b_proj|o_proj"
                       r"|mlp\..*(gate_proj|up_proj|down_proj))\.weight$")
STACKED = re.compile(r"(.*\.mlp\.experts)\.(gate_proj|up_proj|down_proj)$")


def expand_blocks(scale, shape):
    """scale [row blocks, column blocks] -> [rows, columns] of `shape`."""
    full = scale.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)
    return full[:shape[0], :shape[1]]


def quantise(weight):
    """weight [rows, columns] -> (e4m3 values, multiplier of every block)."""
    rows, columns = weight.shape
    padded = torch.zeros(-(-rows // BLOCK) * BLOCK, -(-columns // BLOCK) * BLOCK)
    padded[:rows, :columns] = weight
    largest = padded.unflatten(0, (-1, BLOCK)).unflatten(2, (-1, BLOCK)).abs().amax((1, 3))
    scale = torch.where(largest > 0, largest / E4M3_MAX, 1.0)
    values = (weight / expand_blocks(scale, weight.shape)).clamp(-E4M3_MAX, E4M3_MAX)
    return values.to(torch.float8_e4m3fn), scale


def dequantise(values, scale):
    return values.float() * expand_blocks(scale, values.shape)


def official_tensors(state):
    """Network state -> tensors under official names and dtypes."""
    single = {}
    for name, tensor in state.items():
        if stacked := STACKED.match(name):
            prefix, projection = stacked.groups()
            for expert, weight in enumerate(tensor):
                single[f"{prefix}.{expert}.{projection}.weight"] = weight
        else:
            single[name] = tensor
    tensors = {}
    for name, tensor in single.items():
        if QUANTISED.search(name):
            values, scale = quantise(tensor.float())
            tensors[name], tensors[name + "_scale_inv"] = values, scale
        elif name.endswith("e_score_correction_bias"):
            tensors[name] = tensor.float()
        else:
            tensors[name] = tensor.bfloat16()
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def dequantised_tensors(folder):
    """Official names -> float32 tensors, the scales applied and gone."""
    stored = load_file(os.path.join(folder, "model.safetensors"))
    return {name: dequantise(tensor, stored[name + "_scale_inv"])
            if name + "_scale_inv" in stored else tensor.float()
            for name, tensor in stored.items() if not name.endswith("_scale_inv")}


def write_json(folder, name, value, **options):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as out:
        json.dump(value, out, ensure_ascii=False, **options)
        out.write("\n")


def write(folder, state, config, tokenizer_json):
    os.makedirs(folder, exist_ok=True)
    write_json(folder, "config.json", config, indent=2)
    write_json(folder, "generation_config.json", {
        "bos_token_id": bpe.BOS_ID, "eos_token_id": bpe.EOS_ID,
        "do_sample": True, "temperature": 0.7, "top_p": 0.95}, indent=2)
    write_json(folder, "tokenizer.json", tokenizer_json, indent=1)
    write_json(folder, "tokenizer_config.json",
               bpe.tokenizer_config_json(config["max_position_embeddings"]), indent=2)
    weights = os.path.join(folder, "model.safetensors")
    save_file(official_tensors(state), weights, metadata={"format": "pt"})
    os.chmod(weights, 0o644)  # the library writes it for the owner alone


def read_config(folder):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        return json.load(file)


def read(folder):
    """The network with the dequantised weights of a written folder, ready to judge."""
    config, tensors = read_config(folder), dequantised_tensors(folder)
    network = net.Network(config)
    state = {}
    for name in network.state_dict():
        if stacked := STACKED.match(name):
            prefix, projection = stacked.groups()
            state[name] = torch.stack([tensors.pop(f"{prefix}.{e}.{projection}.weight")
                                       for e in range(config["n_routed_experts"])])
        else:
            state[name] = tensors.pop(name)
    if tensors:
        raise SystemExit(f"{folder}: tensors the network does not have: {sorted(tensors)[:4]}")
    network.load_state_dict(state)
    return network.eval()
