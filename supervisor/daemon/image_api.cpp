// The image.* methods: the store and the image service by name.

#include "supervisor/base/file.hpp"
#include "supervisor/daemon/params.hpp"
#include "supervisor/daemon/services.hpp"

namespace noxsup::daemon {
namespace {

using control::CallContext;
using control::Reply;
using ReplyAwaitable = boost::asio::awaitable<Result<Reply>>;

Json null_if_empty(const std::string& text) {
    return text.empty() ? Json() : Json(text);
}

Json image_json(const OverlayBases& bases, const imaging::Image& image) {
    auto users = Json::array();
    for (const auto& [digest, vm] : bases.users) {
        if (digest == image.digest) users.push_back(vm);
    }
    return {{"name", image.display_name()},
            {"names", image.names},
            {"digest", image.digest.empty() ? Json() : Json("sha256:" + image.digest)},
            {"origin", imaging::origin_name(image.origin)},
            {"os", null_if_empty(image.os)},
            {"release", null_if_empty(image.release)},
            {"arch", null_if_empty(image.arch)},
            {"virtual_bytes", image.virtual_bytes},
            {"file_bytes", image.file_bytes},
            {"source", null_if_empty(image.source)},
            {"signed_by", null_if_empty(image.signed_by)},
            {"created_at", null_if_empty(image.created_at)},
            {"used_by", users}};
}

imaging::ProgressCallback progress_of(CallContext& call) {
    return [&call](const imaging::Progress& report) {
        if (!report.note.empty()) call.note(report.note);
        call.progress(report.stage, report.done, report.total.value_or(0), report.unit);
    };
}

ReplyAwaitable list(Services& services, CallContext& /*call*/, Json /*params*/) {
    NOXSUP_CO_TRY_VALUE(const auto images, services.image_store.list());
    const auto bases = services.registry.overlay_bases();
    auto json = Json::array();
    for (const auto& image : images) json.push_back(image_json(bases, image));
    co_return Reply(Json{{"images", std::move(json)}});
}

/// What the store has under an entry's name; of damaged metadata nothing is said here.
Json here_json(const Services& services, const imaging::CatalogImage& entry) {
    const auto image =
        services.image_store.current(entry.name, entry.os, entry.release, entry.arch);
    if (!image || !*image) return {};
    return {{"name", (*image)->display_name()},
            {"digest", "sha256:" + (*image)->digest},
            {"origin", imaging::origin_name((*image)->origin)},
            {"created_at", null_if_empty((*image)->created_at)}};
}

ReplyAwaitable available(Services& services, CallContext& /*call*/, Json /*params*/) {
    NOXSUP_CO_TRY(services.catalog.reload());
    auto json = Json::array();
    for (const auto& entry : services.catalog.available()) {
        json.push_back({{"os", entry.names.front()},
                        {"names", entry.names},
                        {"arch", entry.arch},
                        {"name", entry.name},
                        {"title", entry.title()},
                        {"url", entry.url()},
                        {"catalog", entry.own ? "own" : "built-in"},
                        {"here", here_json(services, entry)}});
    }
    co_return Reply(Json{{"images", std::move(json)}});
}

/// The OS and architecture of a pull or a build.
struct Wanted {
    std::string os;
    std::string arch;
};

Result<Wanted> wanted_of(Services& services, const Json& params) {
    NOXSUP_TRY(services.catalog.reload());
    Wanted wanted;
    NOXSUP_TRY_VALUE(wanted.os, parameter<std::string>(params, "os", services.config.os));
    NOXSUP_TRY_VALUE(wanted.arch,
                     parameter<std::string>(params, "arch", std::string(imaging::host_arch())));
    return wanted;
}

ReplyAwaitable pull(Services& services, CallContext& call, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto wanted, wanted_of(services, params));
    const auto progress = progress_of(call);
    NOXSUP_CO_TRY_VALUE(const auto pulled,
                        co_await services.images.pull(wanted.os, wanted.arch, progress));
    if (!pulled.downloaded) call.note("the vendor's newest image is here already");
    co_return Reply(Json{{"image", image_json(services.registry.overlay_bases(), pulled.image)}});
}

ReplyAwaitable build(Services& services, CallContext& call, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto wanted, wanted_of(services, params));
    NOXSUP_CO_TRY_VALUE(const auto mirror, parameter<std::string>(params, "mirror", ""));
    const auto progress = progress_of(call);
    NOXSUP_CO_TRY_VALUE(const auto image,
                        co_await services.images.build(wanted.os, wanted.arch, mirror, progress));
    co_return Reply(Json{{"image", image_json(services.registry.overlay_bases(), image)}});
}

ReplyAwaitable import(Services& services, CallContext& call, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto index, parameter<std::uint32_t>(params, "fd"));
    NOXSUP_CO_TRY_VALUE(const auto file, call.take_fd(index));
    NOXSUP_CO_TRY(services.catalog.reload());
    imaging::ImportRequest request;
    request.fd = file.get();
    NOXSUP_CO_TRY_VALUE(request.name, parameter<std::string>(params, "name", ""));
    NOXSUP_CO_TRY_VALUE(request.source, parameter<std::string>(params, "source", request.name));
    NOXSUP_CO_TRY_VALUE(request.os, parameter<std::string>(params, "os", ""));
    NOXSUP_CO_TRY_VALUE(request.arch, parameter<std::string>(params, "arch", ""));
    const auto raw = json_member_or<bool>(params, "raw", false);
    request.accept_raw = raw && *raw;
    const auto progress = progress_of(call);
    NOXSUP_CO_TRY_VALUE(const auto image, co_await services.images.import(request, progress));
    co_return Reply(Json{{"image", image_json(services.registry.overlay_bases(), image)}});
}

ReplyAwaitable remove(Services& services, CallContext& /*call*/, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto name, parameter<std::string>(params, "name", ""));
    NOXSUP_CO_TRY_VALUE(const auto used, services.registry.used_digests());
    NOXSUP_CO_TRY(services.image_store.remove(name, used));
    co_return Reply();
}

ReplyAwaitable verify(Services& services, CallContext& call, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto name, parameter<std::string>(params, "name"));
    NOXSUP_CO_TRY_VALUE(const auto image, services.image_store.find(name));
    auto verifying = services.images.verify(image, progress_of(call));
    auto verified = co_await std::move(verifying);
    const auto bases = services.registry.overlay_bases();
    if (verified) co_return Reply(Json{{"image", image_json(bases, image)}});
    auto error = std::move(verified).error();
    for (const auto& [digest, vm] : bases.users) {
        if (digest == image.digest) error.evidence.push_back("the disk of " + vm + " stands on it");
    }
    co_return error;
}

ReplyAwaitable prune(Services& services, CallContext& /*call*/, Json params) {
    NOXSUP_CO_TRY_VALUE(const auto dry_run, parameter(params, "dry_run", false));
    NOXSUP_CO_TRY_VALUE(const auto used, services.registry.used_digests());
    NOXSUP_CO_TRY_VALUE(const auto pruned, services.image_store.prune(used, dry_run));
    auto removed = Json::array();
    std::uint64_t freed = 0;
    for (const auto& file : pruned) {
        removed.push_back({{"file", file.file}, {"bytes", file.bytes}});
        freed += file.bytes;
    }
    co_return Reply(Json{{"removed", std::move(removed)}, {"freed_bytes", freed}});
}

}  // namespace

void register_image_api(control::Server& server, Services& services) {
    register_methods(server, services,
                     {{control::method::image_list, list},
                      {control::method::image_available, available},
                      {control::method::image_pull, pull},
                      {control::method::image_build, build},
                      {control::method::image_import, import},
                      {control::method::image_remove, remove},
                      {control::method::image_verify, verify},
                      {control::method::image_prune, prune}});
}

}  // namespace noxsup::daemon
