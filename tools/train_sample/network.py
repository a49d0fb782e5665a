"""What does a DeepSeek-V3 model compute? The network of the sample, for training and judging.

Written for clarity and for training on a CPU: attention is unabsorbed and there is no cache.
Parameters carry the names of the official checkpoints; only the experts of a layer are stacked
(`mlp.experts.gate_proj` is [experts, width, hidden]), the export splits them. Activations have
the dtype given to `Network.forward`; norms, rope and the router are computed in float32.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn


def sample_config(vocab_size):
    """config.json of the sample."""
    return {
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3",
        "vocab_size": vocab_size, "hidden_size": 256, "num_hidden_layers": 4,
        "num_nextn_predict_layers": 1, "first_k_dense_replace": 1, "moe_layer_freq": 1,
        "intermediate_size": 768, "moe_intermediate_size": 128, "n_routed_experts": 16,
        "num_experts_per_tok": 4, "n_shared_experts": 1, "n_group": 4, "topk_group": 2,
        "scoring_func": "sigmoid", "topk_method": "noaux_tc", "norm_topk_prob": True,
        "routed_scaling_factor": 2.5, "num_attention_heads": 4, "num_key_value_heads": 4,
        "q_lora_rank": 256, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64, "v_head_dim": 128, "attention_bias": False,
        "attention_dropout": 0.0, "hidden_act": "silu", "rms_norm_eps": 1e-6,
        "rope_theta": 10000, "max_position_embeddings": 2048,
        "rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 512,
                         "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0},
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True,
        "initializer_range": 0.02, "bos_token_id": 0, "eos_token_id": 1,
        "quantization_config": {"quant_method": "fp8", "fmt": "e4m3",
                                "activation_scheme": "dynamic", "weight_block_size": [128, 128]},
    }


class Linear(nn.Module):
    def __init__(self, outputs, inputs, std=None):
        super().__init__()
        std = 0.5 / math.sqrt(inputs) if std is None else std
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * std)

    def forward(self, x):
        return F.linear(x, self.weight.to(x.dtype))


class Norm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x.float(), self.weight.shape, self.weight, self.eps).to(x.dtype)


class Rope:
    """YaRN frequencies, the cosine and sine tables, and the softmax scale that goes with them."""

    def __init__(self, config):
        width, base = config["qk_rope_head_dim"], config["rope_theta"]
        yarn = config["rope_scaling"]
        factor, original = yarn["factor"], yarn["original_max_position_embeddings"]

        def pair_turning(times):
            return width * math.log(original / (2 * math.pi * times)) / (2 * math.log(base))

        low = max(math.floor(pair_turning(yarn["beta_fast"])), 0)
        high = min(math.ceil(pair_turning(yarn["beta_slow"])), width - 1)
        pair = torch.arange(width // 2, dtype=torch.float32)
        usual = base ** (-2 * pair / width)
        ramp = ((pair - low) / max(high - low, 0.001)).clamp(0, 1)
        self.frequency = usual / factor * ramp + usual * (1 - ramp)
        magnitude = 0.1 * yarn["mscale_all_dim"] * math.log(factor) + 1
        head_width = config["qk_nope_head_dim"] + width
        self.softmax_scale = head_width ** -0.5 * magnitude ** 2
        angle = torch.outer(torch.arange(config["max_position_embeddings"]).float(),
                            self.frequency)
        self.cos, self.sin = angle.cos(), angle.sin()  # [positions, width / 2]

    def rotate(self, x):
        """x [..., positions, width]; elements 2i and 2i+1 are the i-th pair."""
        cos, sin = self.cos[:x.shape[-2]], self.sin[:x.shape[-2]]
        even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
        turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
        return turned.flatten(-2).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, config, rope):
        super().__init__()
        hidden, eps = config["hidden_size"], config["rms_norm_eps"]
        self.heads, self.rank = config["num_attention_heads"], config["kv_lora_rank"]
        self.nope, self.rope_width = config["qk_nope_head_dim"], config["qk_rope_head_dim"]
        self.value, self.rope = config["v_head_dim"], rope
        query = self.nope + self.rope_width
        self.q_a_proj = Linear(config["q_lora_rank"], hidden)
        self.q_a_layernorm = Norm(config["q_lora_rank"], eps)
        self.q_b_proj = Linear(self.heads * query, config["q_lora_rank"])
        self.kv_a_proj_with_mqa = Linear(self.rank + self.rope_width, hidden)
        self.kv_a_layernorm = Norm(self.rank, eps)
        self.kv_b_proj = Linear(self.heads * (self.nope + self.value), self.rank)
        self.o_proj = Linear(hidden, self.heads * self.value, std=0)

    def forward(self, x):
        q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        q = q.unflatten(-1, (self.heads, -1)).transpose(1, 2)          # [rows, heads, T, 192]
        q = torch.cat([q[..., :self.nope], self.rope.rotate(q[..., self.nope:])], dim=-1)
        latent, key_rope = self.kv_a_proj_with_mqa(x).split([self.rank, self.rope_width], dim=-1)
        kv = self.kv_b_proj(self.kv_a_layernorm(latent))
        kv = kv.unflatten(-1, (self.heads, -1)).transpose(1, 2)        # [rows, heads, T, 256]
        key_rope = self.rope.rotate(key_rope).unsqueeze(1).expand(-1, self.heads, -1, -1)
        k = torch.cat([kv[..., :self.nope], key_rope], dim=-1)
        # The CPU's fused attention wants values as wide as keys.
        v = F.pad(kv[..., self.nope:], (0, q.shape[-1] - self.value))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True,
                                             scale=self.rope.softmax_scale)
        return self.o_proj(out[..., :self.value].transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, hidden, width):
        super().__init__()
        self.gate_proj = Linear(width, hidden)
        self.up_proj = Linear(width, hidden)
        self.down_proj = Linear(hidden, width, std=0)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Router(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.experts, self.chosen = config["n_routed_experts"], config["num_experts_per_tok"]
        self.groups, self.kept_groups = config["n_group"], config["topk_group"]
        self.factor = config["routed_scaling_factor"]
        self.weight = nn.Parameter(torch.randn(self.experts, config["hidden_size"]) * 0.03)
        self.register_buffer("e_score_correction_bias", torch.zeros(self.experts))
        self.load = None  # tokens per expert in the last forward pass

    def forward(self, x):
        """x [tokens, hidden] -> chosen experts [tokens, K] and their weights [tokens, K]."""
        score = F.linear(x.float(), self.weight).sigmoid()
        biased = (score.detach() + self.e_score_correction_bias).unflatten(-1, (self.groups, -1))
        group_score = biased.topk(2, dim=-1).values.sum(-1)
        kept = group_score.topk(self.kept_groups, dim=-1).indices
        dropped = torch.ones_like(group_score, dtype=torch.bool).scatter(1, kept, False)
        biased = biased.masked_fill(dropped.unsqueeze(-1), -math.inf).flatten(1)
        index = biased.topk(self.chosen, dim=-1).indices
        weight = score.gather(1, index)
        weight = weight / (weight.sum(-1, keepdim=True) + 1e-20) * self.factor
        self.load = torch.bincount(index.flatten(), minlength=self.experts)
        return index, weight

    @torch.no_grad()
    def balance(self, step):
        """Moves the selection bias towards equal loads (no auxiliary loss)."""
        load = self.load.float()
        self.e_score_correction_bias += step * (load.mean() - load).sign()


class GatherRows(torch.autograd.Function):
    """Rows of x by index, where an index one past the end gives a row of zeros.

    `back` lists for every row of x the output rows that came from it ([n] or [n, K]), so that
    the gradient is a gather too, which a CPU does much faster than a scatter.
    """

    @staticmethod
    def forward(ctx, x, index, back):
        ctx.save_for_backward(back)
        return F.pad(x, (0, 0, 0, 1))[index]

    @staticmethod
    def backward(ctx, grad):
        back, = ctx.saved_tensors
        grad = F.pad(grad.flatten(0, -2), (0, 0, 0, 1))[back]
        return grad.sum(1) if back.ndim == 2 else grad, None, None


class Experts(nn.Module):
    # Slots per expert are rounded up, so that matrix shapes repeat from step to step: the CPU
    # library compiles a routine for each new shape, which costs more than running it.
    SLOTS = 256

    def __init__(self, config):
        super().__init__()
        count, hidden = config["n_routed_experts"], config["hidden_size"]
        width, std = config["moe_intermediate_size"], 0.5 / math.sqrt(hidden)
        self.gate_proj = nn.Parameter(torch.randn(count, width, hidden) * std)
        self.up_proj = nn.Parameter(torch.randn(count, width, hidden) * std)
        self.down_proj = nn.Parameter(torch.zeros(count, hidden, width))

    def forward(self, x, index, weight, load):
        """Gives every expert as many slots as the busiest needs; no token is ever dropped."""
        (tokens, chosen), count = index.shape, load.numel()
        slots = -(-int(load.max()) // self.SLOTS) * self.SLOTS
        expert = index.flatten()
        order = expert.argsort(stable=True)                       # pairs, expert by expert
        rank = torch.arange(order.numel()) - (load.cumsum(0) - load)[expert[order]]
        place = torch.empty_like(order)
        place[order] = expert[order] * slots + rank               # pair -> slot
        pair = torch.full((count * slots,), order.numel())
        pair[place] = torch.arange(order.numel())                 # slot -> pair, or none
        token = torch.div(pair, chosen, rounding_mode="floor")    # slot -> token, or none
        place = place.view(tokens, chosen)

        gates, ups, downs = (p.to(x.dtype).transpose(1, 2)
                             for p in (self.gate_proj, self.up_proj, self.down_proj))
        y = GatherRows.apply(x, token, place).unflatten(0, (count, slots))
        y = (F.silu(y @ gates) * (y @ ups)) @ downs               # [experts, slots, hidden]
        out = GatherRows.apply(y.flatten(0, 1), place, pair)      # [tokens, chosen, hidden]
        return (out.float() * weight.unsqueeze(-1)).sum(1)


class Moe(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate, self.experts = Router(config), Experts(config)
        self.shared_experts = Mlp(config["hidden_size"], config["moe_intermediate_size"]
                                  * config["n_shared_experts"])

    def forward(self, x):
        flat = x.flatten(0, 1)
        index, weight = self.gate(flat)
        routed = self.experts(flat, index, weight, self.gate.load)
        return (routed + self.shared_experts(flat)).to(x.dtype).view_as(x)


class Block(nn.Module):
    def __init__(self, config, rope, dense):
        super().__init__()
        hidden, eps = config["hidden_size"], config["rms_norm_eps"]
        self.input_layernorm = Norm(hidden, eps)
        self.self_attn = Attention(config, rope)
        self.post_attention_layernorm = Norm(hidden, eps)
        self.mlp = Mlp(hidden, config["intermediate_size"]) if dense else Moe(config)
        self.dropout = 0.0  # on both branches, while training

    def forward(self, x):
        x = x + F.dropout(self.self_attn(self.input_layernorm(x)), self.dropout, self.training)
        return x + F.dropout(self.mlp(self.post_attention_layernorm(x)), self.dropout,
                             self.training)


class Mtp(Block):
    """The block that predicts one token further; it shares the embedding and the head."""

    def __init__(self, config, rope):
        super().__init__(config, rope, dense=False)
        hidden, eps = config["hidden_size"], config["rms_norm_eps"]
        self.enorm, self.hnorm = Norm(hidden, eps), Norm(hidden, eps)
        self.eh_proj = Linear(hidden, 2 * hidden)
        self.shared_head = nn.Module()
        self.shared_head.norm = Norm(hidden, eps)

    def forward(self, next_embedding, h):
        both = torch.cat([self.enorm(next_embedding), self.hnorm(h)], dim=-1)
        return self.shared_head.norm(super().forward(self.eh_proj(both)))


class Network(nn.Module):
    def __init__(self, config):
        super().__init__()
        layers, dense = config["num_hidden_layers"], config["first_k_dense_replace"]
        rope = Rope(config)
        self.model = nn.Module()
        self.model.embed_tokens = Linear(config["vocab_size"], config["hidden_size"], std=0.3)
        self.model.layers = nn.ModuleList([Block(config, rope, i < dense) for i in range(layers)])
        self.model.layers.append(Mtp(config, rope))
        self.model.norm = Norm(config["hidden_size"], config["rms_norm_eps"])
        self.lm_head = Linear(config["vocab_size"], config["hidden_size"], std=0)
        self.dropout = 0.0

    def set_dropout(self, share):
        for module in [self, *self.model.layers]:
            module.dropout = share

    def routers(self):
        return [layer.mlp.gate for layer in self.model.layers if isinstance(layer.mlp, Moe)]

    def embed(self, tokens, dtype):
        x = F.embedding(tokens, self.model.embed_tokens.weight).to(dtype)
        return F.dropout(x, self.dropout, self.training)

    def forward(self, tokens, dtype=torch.float32):
        """tokens [rows, T] -> logits [rows, T, vocab] and the hidden states after the norm."""
        h = self.embed(tokens, dtype)
        for layer in self.model.layers[:-1]:
            h = layer(h)
        h = self.model.norm(h)
        return self.lm_head(h).float(), h

    def draft(self, next_tokens, h):
        """MTP: h [rows, T, hidden] of tokens t_i and the tokens t_{i+1} -> logits of t_{i+2}."""
        u = self.model.layers[-1](self.embed(next_tokens, h.dtype), h)
        return self.lm_head(u).float()
