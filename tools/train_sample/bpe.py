"""Which tokenizer does the sample use? A byte-level BPE in the DeepSeek-V3 form of tokenizer.json.

Ids: 0, 1, 2 the begin, end and pad texts; 3..258 the byte symbols; then one id per merge in merge
order; last the User and Assistant markers. The merges are learnt from the training text only.
"""
import argparse
import json

from tokenizers import Tokenizer
from tokenizers.trainers import BpeTrainer

import corpus

BAR, LOW = "\uff5c", "\u2581"
BOS = f"<{BAR}begin{LOW}of{LOW}sentence{BAR}>"
EOS = f"<{BAR}end{LOW}of{LOW}sentence{BAR}>"
PAD = f"<{BAR}{LOW}pad{LOW}{BAR}>"
USER = f"<{BAR}User{BAR}>"
ASSISTANT = f"<{BAR}Assistant{BAR}>"
BOS_ID, EOS_ID, PAD_ID = 0, 1, 2

# The three splitting rules of the DeepSeek-V3 tokenizer: digits by threes, CJK runs, all the rest.
SPLITS = [
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
    "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*"
    r"|\s*[" "\r\n" r"]+|\s+(?!\S)|\s+",
]

# The plain turns of DeepSeek-V3, in the same words so that engines recognise the format.
CHAT_TEMPLATE = (
    "{%- set ns = namespace(system_prompt='') %}"
    "{%- for m in messages if m['role'] == 'system' %}"
    "{%- set ns.system_prompt = ns.system_prompt + ('\\n\\n' if ns.system_prompt else '')"
    " + m['content'] %}{%- endfor %}"
    "{{ bos_token }}{{ ns.system_prompt }}"
    "{%- for m in messages %}"
    "{%- if m['role'] == 'user' %}{{ '" + USER + "' + m['content'] }}"
    "{%- elif m['role'] == 'assistant' %}"
    "{{ '" + ASSISTANT + "' + m['content'] + '" + EOS + "' }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '" + ASSISTANT + "' }}{%- endif %}"
)


def byte_symbols():
    """The 256 printable characters that stand for bytes, in code point order."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(c) for c in kept] + [chr(256 + i) for i in range(256 - len(kept))]


def added_token(index, text, special):
    return {"id": index, "content": text, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": not special, "special": special}


def tokenizer_json(merges):
    """The whole tokenizer.json for a list of (left, right) merges."""
    texts = [BOS, EOS, PAD] + byte_symbols() + [left + right for left, right in merges]
    count = len(texts)
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                  "use_regex": True}
    splits = [{"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated",
               "invert": False} for regex in SPLITS]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [added_token(BOS_ID, BOS, True), added_token(EOS_ID, EOS, True),
                         added_token(PAD_ID, PAD, True), added_token(count, USER, False),
                         added_token(count + 1, ASSISTANT, False)],
        "normalizer": {"type": "Sequence", "normalizers": []},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": splits + [
            {**byte_level, "add_prefix_space": False, "use_regex": False}]},
        "post_processor": {**byte_level, "trim_offsets": False},
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False,
                  "vocab": {text: index for index, text in enumerate(texts)},
                  "merges": [f"{left} {right}" for left, right in merges]},
    }


def tokenizer_config_json(max_positions):
    return {"add_bos_token": True, "add_eos_token": False, "bos_token": BOS, "eos_token": EOS,
            "pad_token": EOS, "unk_token": None, "clean_up_tokenization_spaces": False,
            "model_max_length": max_positions, "tokenizer_class": "LlamaTokenizerFast",
            "chat_template": CHAT_TEMPLATE}


def learn_merges(text, vocab_size):
    """Learns vocab_size - 261 merges: 3 texts, 256 bytes and the 2 markers take the other ids."""
    empty = Tokenizer.from_str(json.dumps(tokenizer_json([])))
    trainer = BpeTrainer(vocab_size=vocab_size - 2, special_tokens=[BOS, EOS, PAD],
                         initial_alphabet=byte_symbols(), show_progress=False)
    # Whole speeches, so that the line ends after a name or a full stop stay inside the pieces.
    empty.train_from_iterator(corpus.speeches(text), trainer)
    learnt = json.loads(empty.to_str())["model"]
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in learnt["merges"]]
    if len(set(left + right for left, right in merges)) != vocab_size - 261:
        raise SystemExit(f"learnt {len(merges)} merges, wanted {vocab_size - 261} distinct ones")
    return merges


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus")
    parser.add_argument("--vocab-size", type=int, default=2048)
    parser.add_argument("--out", required=True, help="tokenizer.json to write")
    args = parser.parse_args()
    train_text, heldout_text = corpus.split(corpus.read(args.corpus))
    with open(args.out, "w", encoding="utf-8") as out:
        json.dump(tokenizer_json(learn_merges(train_text, args.vocab_size)), out,
                  ensure_ascii=False, indent=1)
    tokenizer = Tokenizer.from_file(args.out)
    for text in (train_text, heldout_text):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text
        print(f"{len(text.encode())} bytes, {len(ids)} tokens")


if __name__ == "__main__":
    main()
