// noxsup: the command line and, as `noxsup daemon`, the supervisor.
#include "supervisor/cli/app.hpp"

int main(int argc, char** argv) {
    return noxsup::cli::run(argc, argv);
}
