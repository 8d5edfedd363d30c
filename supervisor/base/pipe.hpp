// A pipe whose ends close themselves.
#pragma once

#include "supervisor/base/result.hpp"
#include "supervisor/base/unique_fd.hpp"

namespace noxsup {

struct Pipe {
    UniqueFd read_end;
    UniqueFd write_end;
};

/// pipe2(2); programs that are started inherit neither end. Errors: io_error, or as errno has it.
Result<Pipe> make_pipe();

}  // namespace noxsup
