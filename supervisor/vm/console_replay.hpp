// Old console output made fit to be shown once more.
#pragma once

#include <string>
#include <string_view>

namespace noxsup::vm {

/// The text of a guest's old output with its line ends and its colours (SGR), and no other control.
/// A query for the cursor's place or the terminal's kind (ECMA-48 8.3.35 DSR, 8.3.24 DA) was meant
/// for the terminal of that time: repeated, the terminal of today would type the answer into the
/// guest. What moves the cursor or sets modes makes no sense later either. A sequence that is cut
/// off at the end is left out.
std::string replayable(std::string_view output);

}  // namespace noxsup::vm
