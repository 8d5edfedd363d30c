// Asks a vendor's server which file is the newest image, and which digest it must have.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <string>

#include "imaging/catalog.hpp"
#include "imaging/checksums.hpp"
#include "imaging/worker.hpp"
#include "supervisor/base/result.hpp"

namespace noxsup::imaging {

/// How patient downloads are.
struct FetchPatience {
    std::chrono::seconds connect_timeout{15};
    std::chrono::seconds stall_timeout{30};
    std::chrono::milliseconds retry_delay{1000};
};

/// The vendor's newest image as its index has it.
struct VendorFile {
    std::string url;
    ExpectedDigest digest;
    std::string signed_by;  ///< fingerprint of the key whose signature was checked; empty: none was
};

/// Reads indexes. Nothing of them is taken but names and digests, and no name but a plain one that
/// the catalog's pattern allows.
class VendorSource {
  public:
    /// Both outlive this object.
    VendorSource(const Catalog& catalog, ImageWorker& worker, FetchPatience patience);

    /// Reads the listing of the directory where a name is not fixed, the list of digests, and its
    /// signature where a keyring of the vendor is installed; where none is, a note says so.
    /// Errors: vendor_unreachable and download_failed as fetch; download_failed when the index does
    /// not name the image; digest_mismatch when the signature is not good; host_lacks_tool without
    /// gpgv.
    boost::asio::awaitable<Result<VendorFile>> newest(CatalogImage image,
                                                      ProgressCallback progress);

  private:
    boost::asio::awaitable<Result<std::string>> text(std::string url, bool page);
    boost::asio::awaitable<Result<std::string>> newest_in_listing(std::string directory,
                                                                  std::string pattern);
    struct SignedList {
        std::string text;
        std::string signed_by;
    };
    boost::asio::awaitable<Result<SignedList>> list_of(CatalogImage image, std::string name,
                                                       ProgressCallback progress);
    boost::asio::awaitable<Result<SignedList>> check_signature(CatalogImage image, std::string name,
                                                               std::string list,
                                                               std::string keyring);

    const Catalog& catalog_;
    ImageWorker& worker_;
    FetchPatience patience_;
};

}  // namespace noxsup::imaging
