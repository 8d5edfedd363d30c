// events.subscribe: the event hub's readers on the control socket.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <functional>
#include <string>

#include "supervisor/control/server.hpp"
#include "supervisor/vm/event_hub.hpp"

namespace noxsup::daemon {

/// Registers the method, and publishes that the supervisor begins to serve. Takes the hub's
/// listener. @param exists whether there is a VM of this name
/// @pre `hub` outlives the server, and goes before the executor's context
void register_events_api(control::Server& server, const boost::asio::any_io_executor& executor,
                         vm::EventHub& hub, std::function<bool(const std::string& name)> exists);

}  // namespace noxsup::daemon
