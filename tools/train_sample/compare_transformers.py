"""Is the folder really in the official layout? Compares with transformers' DeepseekV3ForCausalLM.

Writes the dequantised weights as a float32 folder, lets transformers load it by the official
names, and compares the logits of both on random tokens and on the tokens of a sentence.
"""
import argparse
import os
import shutil
import tempfile

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import DeepseekV3ForCausalLM

import bpe
import checkpoint

BOUND = 1e-3


def published(folder):
    """The published implementation with the folder's weights in float32."""
    with tempfile.TemporaryDirectory() as plain:
        config = checkpoint.read_config(folder)
        del config["quantization_config"]
        checkpoint.write_json(plain, "config.json", config)
        mtp = f"model.layers.{config['num_hidden_layers']}."  # transformers does not know it
        tensors = {name: tensor for name, tensor in checkpoint.dequantised_tensors(folder).items()
                   if not name.startswith(mtp)}
        save_file(tensors, os.path.join(plain, "model.safetensors"), metadata={"format": "pt"})
        shutil.copy(os.path.join(folder, "tokenizer.json"), plain)
        return DeepseekV3ForCausalLM.from_pretrained(plain, dtype=torch.float32,
                                                     attn_implementation="eager").eval()


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--length", type=int, default=1024, help="random tokens to compare")
    args = parser.parse_args()
    ours, theirs = checkpoint.read(args.folder), published(args.folder)
    tokenizer = Tokenizer.from_file(os.path.join(args.folder, "tokenizer.json"))
    sentence = tokenizer.encode("KING HENRY:\nNow is the winter of our discontent,\nmy lords.")
    torch.manual_seed(0)
    cases = {"sentence": torch.tensor([[bpe.BOS_ID] + sentence.ids]),
             "random": torch.randint(3, theirs.config.vocab_size, (1, args.length))}
    worst = 0.0
    for name, tokens in cases.items():
        a, b = ours(tokens)[0], theirs(tokens).logits
        error = ((a - b).norm() / b.norm()).item()
        same = (a.argmax(-1) == b.argmax(-1)).float().mean().item()
        print(f"{name}: {tokens.shape[1]} tokens, relative error {error:.2e}, "
              f"same first choice {same:.4f}")
        worst = max(worst, error)
    if not worst < BOUND:
        raise SystemExit(f"relative error {worst:.2e}, wanted less than {BOUND:.0e}")


if __name__ == "__main__":
    main()
