// What is it doing now? One line on standard error, written over where that is a terminal.
#pragma once

#include <string>

namespace dsv3::bench {

// Shows `text` while work goes on; an empty one wipes the line.
void show_progress(const std::string& text);

}  // namespace dsv3::bench
