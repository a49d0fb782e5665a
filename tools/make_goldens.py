#!/usr/bin/env python3
"""What does the published implementation say? Writes tests/golden: tiny random checkpoints and the
logits that transformers' DeepseekV3ForCausalLM gives for them.

    pip install torch transformers safetensors numpy
    python tools/make_goldens.py [name ...]

The float32 run, with eager attention and eager experts, is the truth. Where the port departs from
the published model it is corrected here, and only here:
  - it ignores moe_layer_freq: replace_layers_off_the_beat() puts a dense MLP into those layers;
  - it cannot have zero shared experts: the shared MLP is replaced by one that returns 0;
  - it has no model_type kimi_k2: the same numbers run as deepseek_v3.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as published

from golden_models import MODELS, GoldenModel, Weights, is_moe
from golden_storage import stored, write_checkpoint

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"
CANDIDATES = 8
INFINITY = float("inf")


class NoSharedExperts(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


def replace_layers_off_the_beat(network, config: dict) -> None:
    for index, layer in enumerate(network.model.layers):
        if not is_moe(config, index):
            layer.mlp = published.DeepseekV3MLP(network.config)
        elif not config["n_shared_experts"]:
            layer.mlp.shared_experts = NoSharedExperts()


def published_config(config: dict) -> DeepseekV3Config:
    skip = ("architectures", "model_type", "quantization_config", "rope_scaling", "rope_theta",
            "moe_layer_freq", "scoring_func", "topk_method")
    kept = {key: value for key, value in config.items() if key not in skip}
    kept["n_shared_experts"] = config["n_shared_experts"] or 1
    rope = dict(config["rope_scaling"] or {"type": "default"})
    rope["rope_type"] = rope.pop("type")
    rope["rope_theta"] = float(config["rope_theta"])
    return DeepseekV3Config(**kept, rope_parameters=rope, attn_implementation="eager",
                            experts_implementation="eager")


def fused(config: dict, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Official names to the port's: the experts of a layer lie in two stacked tensors."""
    out = {name: w for name, w in values.items() if ".mlp.experts." not in name}
    for layer in range(config["num_hidden_layers"]):
        if not is_moe(config, layer):
            continue
        prefix = f"model.layers.{layer}.mlp.experts."
        gate_up, down = [], []
        for expert in range(config["n_routed_experts"]):
            part = {p: values[f"{prefix}{expert}.{p}_proj.weight"] for p in ("gate", "up", "down")}
            gate_up.append(torch.cat([part["gate"], part["up"]]))
            down.append(part["down"])
        out[prefix + "gate_up_proj"] = torch.stack(gate_up)
        out[prefix + "down_proj"] = torch.stack(down)
    return out


def build(model: GoldenModel, values: dict[str, torch.Tensor], dtype: torch.dtype):
    network = DeepseekV3ForCausalLM(published_config(model.config))
    assert network.config._attn_implementation == "eager"
    assert network.config._experts_implementation == "eager"
    replace_layers_off_the_beat(network, model.config)
    network.load_state_dict(fused(model.config, values), strict=True)
    for parameter in network.parameters():  # buffers (frequencies, router bias) stay float32
        parameter.data = parameter.data.to(dtype)
    return network.eval()


def margins(gate, x: torch.Tensor) -> torch.Tensor:
    """Per token, what the last kept group or expert leads the first dropped by. x [tokens, H]"""
    biased = (x.float() @ gate.weight.float().T).sigmoid() + gate.e_score_correction_bias
    result = torch.full((x.shape[0],), INFINITY)
    groups, kept = gate.num_group, gate.topk_group
    if kept < groups:
        grouped = biased.view(x.shape[0], groups, -1)
        sums = grouped.topk(2, dim=-1).values.sum(-1)
        ranked = sums.sort(dim=-1, descending=True)
        result = ranked.values[:, kept - 1] - ranked.values[:, kept]
        dropped = ranked.indices[:, kept:, None].expand(-1, -1, grouped.shape[2])
        grouped = grouped.scatter(1, dropped, -INFINITY)
        biased = grouped.view(x.shape[0], -1)
    ranked = biased.sort(dim=-1, descending=True).values
    if gate.top_k < ranked.shape[1]:
        result = torch.minimum(result, ranked[:, gate.top_k - 1] - ranked[:, gate.top_k])
    return result


@torch.no_grad()
def run(network, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """tokens [batch, T] -> logits [batch, T, V], router margins [batch, T] (least over layers)."""
    found: list[torch.Tensor] = []

    def hook(gate, arguments, _output):
        found.append(margins(gate, arguments[0].reshape(-1, arguments[0].shape[-1])))

    handles = [m.register_forward_hook(hook) for m in network.modules()
               if isinstance(m, published.DeepseekV3TopkRouter)]
    logits = network(tokens, use_cache=False).logits.float()
    for handle in handles:
        handle.remove()
    return logits, torch.stack(found).min(0).values.view(tokens.shape)


def choose_tokens(model: GoldenModel, network) -> torch.Tensor:
    """Random tokens, each redrawn until its router margin and its logit gap are wide enough."""
    random = torch.Generator().manual_seed(model.seed)
    vocab = model.config["vocab_size"]
    if model.router_margin == 0.0:
        return torch.randint(vocab, (1, model.tokens), generator=random)
    tokens = torch.empty((1, 0), dtype=torch.int64)
    while tokens.shape[1] < model.tokens:
        candidates = torch.randint(vocab, (CANDIDATES, 1), generator=random)
        batch = torch.cat([tokens.expand(CANDIDATES, -1), candidates], dim=1)
        logits, margin = run(network, batch)
        best = logits[:, -1].topk(2).values
        good = margin[:, -1] > 2 * model.router_margin
        good &= best[:, 0] - best[:, 1] > model.logit_gap
        if good.any():
            tokens = batch[int(good.nonzero()[0])][None]
    return tokens


def relative_l2(actual: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return (actual - truth).norm(dim=-1) / truth.norm(dim=-1)


def make(model: GoldenModel) -> None:
    files, values = stored(model, Weights(model).build())
    write_checkpoint(model, GOLDEN / model.name, files)
    truth_network = build(model, values, torch.float32)
    tokens = choose_tokens(model, truth_network)
    logits, margin = run(truth_network, tokens)
    golden = {
        "tokens": tokens[0].to(torch.int32),
        "logits_f32": logits[0].contiguous(),
        "router_margin": margin[0].contiguous(),
    }
    line = f"{model.name}: least router margin {margin.min():.2e}"
    line += f", {logits[0].argmax(-1).unique().numel()} different argmax"
    line += f", logit rms {logits.pow(2).mean().sqrt():.2f}"
    if model.dtype != "F32":
        rounded, _ = run(build(model, values, torch.bfloat16), tokens)
        error = golden["bf16_rel_l2"] = relative_l2(rounded[0], logits[0])
        line += f", bfloat16 error mean {error.mean():.2e} max {error.max():.2e}"
    save_file(golden, GOLDEN / model.name / "golden.safetensors")
    size = sum(f.stat().st_size for f in (GOLDEN / model.name).iterdir())
    print(f"{line}, {size / 1e6:.2f} MB", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    wanted = sys.argv[1:]
    for model in MODELS:
        if not wanted or model.name in wanted:
            make(model)


if __name__ == "__main__":
    main()
