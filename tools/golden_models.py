"""Which tiny models are the golden files made of? Config, storage and random weights of each."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy

YARN = {
    "type": "yarn",
    "factor": 40,
    "original_max_position_embeddings": 4096,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
}


@dataclass
class GoldenModel:
    name: str
    purpose: str
    seed: int
    dtype: str  # of the matrices: F32, BF16, F16 or F8_E4M3
    norm_dtype: str = ""  # of the norms; empty: as the matrices (BF16 beside F8_E4M3)
    tokens: int = 48
    shards: int = 1
    shard_name: str = "model-{:05d}-of-{:05d}.safetensors"
    # Tokens whose router or argmax would be decided by less than this are not used. 0: any token.
    router_margin: float = 1e-4
    logit_gap: float = 0.02
    latent_gain: float = 1.0  # of kv_a's latent rows and of q_a: small values make the eps visible
    bias: str = "normal"  # of the router: normal or extreme
    extra_inv_freq: bool = False  # write the meaningless rotary_emb.inv_freq tensors of Kimi-K2
    rope_spelling: str = "rope_scaling"  # or rope_parameters
    config: dict = field(default_factory=dict)


def base_config(**changes) -> dict:
    """The keys every official config.json has, at tiny sizes."""
    config = {
        "architectures": ["DeepseekV3ForCausalLM"],
        "model_type": "deepseek_v3",
        "vocab_size": 256,
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_nextn_predict_layers": 0,
        "intermediate_size": 72,
        "moe_intermediate_size": 16,
        "n_routed_experts": 16,
        "num_experts_per_tok": 4,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "moe_layer_freq": 1,
        "n_group": 4,
        "topk_group": 2,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
        "norm_topk_prob": True,
        "routed_scaling_factor": 2.5,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "q_lora_rank": 32,
        "kv_lora_rank": 48,
        "qk_nope_head_dim": 32,
        "qk_rope_head_dim": 16,
        "v_head_dim": 24,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000,
        "rope_scaling": None,
        "max_position_embeddings": 4096,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "initializer_range": 0.02,
        "use_cache": True,
    }
    unknown = set(changes) - set(config) - {"quantization_config"}
    assert not unknown, unknown
    config.update(changes)
    config["num_key_value_heads"] = config["num_attention_heads"]
    return config


MODELS = [
    GoldenModel(
        name="groups_yarn",
        purpose="2 of 4 groups kept, low-rank query, YaRN; 150 tokens cross two pages of 64",
        seed=101,
        dtype="F32",
        tokens=150,
        config=base_config(
            vocab_size=128, moe_intermediate_size=12, rope_scaling=YARN,
            max_position_embeddings=163840),
    ),
    GoldenModel(
        name="moonlight_style",
        purpose="one group, plain query and RoPE, two fused shared experts, eps 1e-5 beside 1e-6",
        seed=102,
        dtype="F32",
        latent_gain=0.012,
        config=base_config(
            q_lora_rank=None, n_group=1, topk_group=1, n_shared_experts=2, rope_theta=50000,
            rms_norm_eps=1e-5, vocab_size=160, n_routed_experts=8, num_experts_per_tok=3,
            moe_intermediate_size=24, routed_scaling_factor=2.446, num_hidden_layers=2,
            max_position_embeddings=8192),
    ),
    GoldenModel(
        name="odd_widths",
        purpose="sizes that leave tails in vectors and blocks; mscale differs from mscale_all_dim",
        seed=103,
        dtype="BF16",
        router_margin=1e-2,
        rope_spelling="rope_parameters",
        config=base_config(
            hidden_size=200, moe_intermediate_size=72, intermediate_size=136, vocab_size=301,
            num_attention_heads=3, kv_lora_rank=80, q_lora_rank=56, qk_nope_head_dim=20,
            qk_rope_head_dim=12, v_head_dim=28, n_routed_experts=5, num_experts_per_tok=2,
            n_group=1, topk_group=1, num_hidden_layers=2, max_position_embeddings=16384,
            rope_scaling=YARN | {"factor": 4, "mscale": 1.0, "mscale_all_dim": 0.6}),
    ),
    GoldenModel(
        name="fp8_cut_blocks",
        purpose="FP8 blocks cut by both edges, true head sizes, scales in another shard, F32 norms",
        seed=104,
        dtype="F8_E4M3",
        norm_dtype="F32",
        router_margin=1e-2,
        shards=2,
        config=base_config(
            hidden_size=192, intermediate_size=160, moe_intermediate_size=144, vocab_size=144,
            num_attention_heads=2, kv_lora_rank=512, q_lora_rank=96, qk_nope_head_dim=128,
            qk_rope_head_dim=64, v_head_dim=128, n_routed_experts=5, num_experts_per_tok=2,
            n_group=1, topk_group=1, num_hidden_layers=2, rope_scaling=YARN,
            max_position_embeddings=163840,
            quantization_config={
                "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                "weight_block_size": [128, 128]}),
    ),
    GoldenModel(
        name="negative_bias",
        purpose="router biases about -5 in one layer, about +12 over scores near 1e-8 in the next",
        seed=105,
        dtype="F32",
        bias="extreme",
        config=base_config(vocab_size=128, n_routed_experts=12, moe_intermediate_size=12),
    ),
    GoldenModel(
        name="kimi_style",
        purpose="model_type kimi_k2, YaRN as a step (beta 1 and 1), stray inv_freq tensors",
        seed=106,
        dtype="F32",
        shards=2,
        shard_name="model-{:d}-of-{:d}.safetensors",
        extra_inv_freq=True,
        config=base_config(
            model_type="kimi_k2", hidden_size=72, vocab_size=130, n_group=1, topk_group=1,
            n_routed_experts=12, num_experts_per_tok=5, moe_intermediate_size=20,
            routed_scaling_factor=2.827, num_hidden_layers=2, rope_theta=50000,
            max_position_embeddings=131072,
            rope_scaling=YARN | {"factor": 32, "beta_fast": 1, "beta_slow": 1}),
    ),
    GoldenModel(
        name="bf16_shards",
        purpose="BF16, two dense layers first, three shards; router margins as they fall",
        seed=107,
        dtype="BF16",
        router_margin=0.0,
        logit_gap=0.0,
        shards=3,
        config=base_config(
            hidden_size=80, first_k_dense_replace=2, num_hidden_layers=4, intermediate_size=112,
            moe_intermediate_size=32, n_routed_experts=8, num_experts_per_tok=3, n_group=2,
            topk_group=1, kv_lora_rank=128, q_lora_rank=64, qk_nope_head_dim=64,
            qk_rope_head_dim=32, v_head_dim=64, rope_scaling=YARN, max_position_embeddings=163840),
    ),
    GoldenModel(
        name="f16_layer_freq",
        purpose="F16, every second layer is MoE, no shared expert, routed weights not normalised",
        seed=108,
        dtype="F16",
        router_margin=1e-2,
        config=base_config(
            num_hidden_layers=4, moe_layer_freq=2, n_shared_experts=None, norm_topk_prob=False,
            n_group=2, topk_group=1, n_routed_experts=8, num_experts_per_tok=3,
            moe_intermediate_size=40, routed_scaling_factor=1.5, vocab_size=200),
    ),
]


def is_moe(config: dict, layer: int) -> bool:
    return layer >= config["first_k_dense_replace"] and layer % config["moe_layer_freq"] == 0


class Weights:
    """Random matrices under the official names, in float32."""

    def __init__(self, model: GoldenModel):
        self.model = model
        self.config = model.config
        self.random = numpy.random.default_rng(model.seed)
        self.tensors: dict[str, numpy.ndarray] = {}

    def matrix(self, name: str, rows: int, columns: int, gain: float = 1.0) -> None:
        w = self.random.standard_normal((rows, columns)) * gain / numpy.sqrt(columns)
        if self.model.dtype == "F8_E4M3":  # blocks of different size tell scales apart
            for r in range(0, rows, 128):
                for c in range(0, columns, 128):
                    w[r : r + 128, c : c + 128] *= numpy.exp(0.5 * self.random.standard_normal())
        self.tensors[name + ".weight"] = w.astype(numpy.float32)

    def norm(self, name: str, width: int) -> None:
        w = 1.0 + 0.25 * self.random.standard_normal(width)
        self.tensors[name + ".weight"] = w.astype(numpy.float32)

    def mlp(self, prefix: str, width: int) -> None:
        hidden = self.config["hidden_size"]
        self.matrix(prefix + "gate_proj", width, hidden, 1.5)
        self.matrix(prefix + "up_proj", width, hidden, 1.2)
        self.matrix(prefix + "down_proj", hidden, width, 1.2)

    def attention(self, prefix: str) -> None:
        c = self.config
        hidden, heads = c["hidden_size"], c["num_attention_heads"]
        query = heads * (c["qk_nope_head_dim"] + c["qk_rope_head_dim"])
        if c["q_lora_rank"]:
            self.matrix(prefix + "q_a_proj", c["q_lora_rank"], hidden, self.model.latent_gain)
            self.norm(prefix + "q_a_layernorm", c["q_lora_rank"])
            self.matrix(prefix + "q_b_proj", query, c["q_lora_rank"], 1.5)
        else:
            self.matrix(prefix + "q_proj", query, hidden, 1.5)
        latent = c["kv_lora_rank"]
        self.matrix(prefix + "kv_a_proj_with_mqa", latent + c["qk_rope_head_dim"], hidden, 1.5)
        self.tensors[prefix + "kv_a_proj_with_mqa.weight"][:latent] *= self.model.latent_gain
        self.norm(prefix + "kv_a_layernorm", latent)
        expanded = heads * (c["qk_nope_head_dim"] + c["v_head_dim"])
        self.matrix(prefix + "kv_b_proj", expanded, latent, 1.2)
        self.matrix(prefix + "o_proj", hidden, heads * c["v_head_dim"], 1.2)

    def router(self, prefix: str, layer: int) -> None:
        experts, hidden = self.config["n_routed_experts"], self.config["hidden_size"]
        self.matrix(prefix + "gate", experts, hidden, 1.5)
        bias = 0.1 * self.random.standard_normal(experts)
        if self.model.bias == "extreme" and layer % 2 == 1:
            w = self.tensors[prefix + "gate.weight"]
            w -= w.mean(1, keepdims=True)  # the embedding's common direction must not choose
            bias = bias - 5.0
        if self.model.bias == "extreme" and layer % 2 == 0:
            # Along the embedding's common direction every logit becomes about -18.
            self.tensors[prefix + "gate.weight"] -= numpy.float32(60.0 / hidden)
            bias = bias + 12.0
            bias[0] = -8.0
        self.tensors[prefix + "gate.e_score_correction_bias"] = bias.astype(numpy.float32)

    def build(self) -> dict[str, numpy.ndarray]:
        c = self.config
        hidden, vocab = c["hidden_size"], c["vocab_size"]
        self.matrix("model.embed_tokens", vocab, hidden, numpy.sqrt(hidden))
        if self.model.bias == "extreme":
            self.tensors["model.embed_tokens.weight"] += numpy.float32(0.8)
        for layer in range(c["num_hidden_layers"]):
            prefix = f"model.layers.{layer}."
            self.norm(prefix + "input_layernorm", hidden)
            self.attention(prefix + "self_attn.")
            self.norm(prefix + "post_attention_layernorm", hidden)
            if not is_moe(c, layer):
                self.mlp(prefix + "mlp.", c["intermediate_size"])
                continue
            self.router(prefix + "mlp.", layer)
            width = c["moe_intermediate_size"]
            for expert in range(c["n_routed_experts"]):
                self.mlp(f"{prefix}mlp.experts.{expert}.", width)
            if c["n_shared_experts"]:
                self.mlp(prefix + "mlp.shared_experts.", width * c["n_shared_experts"])
        self.norm("model.norm", hidden)
        self.matrix("lm_head", vocab, hidden, 2.0)
        if self.model.bias == "extreme":  # the common direction must not decide every argmax
            head = self.tensors["lm_head.weight"]
            common = self.tensors["model.norm.weight"]
            head -= numpy.outer(head @ common, common) / (common @ common)
        return self.tensors
