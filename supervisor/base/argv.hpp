// Lists of words as execve(2) takes them.
#pragma once

#include <string>
#include <vector>

namespace noxsup {

/// Pointers to the words and a null pointer behind them. They are the words' own: valid while
/// `words` is there and unchanged. execve(2) writes to none, though its parameters are not const.
inline std::vector<char*> null_terminated(const std::vector<std::string>& words) {
    std::vector<char*> pointers;
    pointers.reserve(words.size() + 1);
    for (const auto& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
    pointers.push_back(nullptr);
    return pointers;
}

}  // namespace noxsup
