// A byte-level tokenizer with one token per byte, a few words and the special tokens of
// fake_model.h.
#pragma once

#include <memory>

#include "text/tokenizer.h"

namespace dsv3::test {

std::unique_ptr<Tokenizer> tiny_tokenizer(bool adds_bos = false);

}  // namespace dsv3::test
