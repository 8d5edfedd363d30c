#include "supervisor/vm/publish_spec.hpp"

#include <string>

namespace noxsup::vm {

Result<netbridge::PublishSpec> publish_spec(const spec::Publish& publish) {
    return netbridge::parse_publish(publish.host_address + ":" + std::to_string(publish.host_port) +
                                    ":" + std::to_string(publish.guest_port) + "/" +
                                    std::string(to_string(publish.protocol)));
}

}  // namespace noxsup::vm
