// Under which name an import enters the store, and what is known of it beforehand.
#pragma once

#include <string>

#include "imaging/catalog.hpp"
#include "imaging/image_store.hpp"

namespace noxsup::imaging {

/// What the caller of an import says.
struct ImportWish {
    std::string source;  ///< URL or name of the file, for the record
    std::string name;    ///< of the image, or empty: made from `source`
    std::string os;      ///< "debian:12": it becomes the image of that catalog entry; or empty
    std::string arch;    ///< or empty
    /// It is the content that counts: any name will do, and a free one is found.
    bool any_name = false;
};

/// What an import becomes.
struct ImportPlan {
    std::string name;
    Image metadata;
    bool any_name = false;  ///< as wished: an image of that content serves under the name it has
};

/// Looks at the store as it is now; whoever waits in between asks again.
/// Errors: invalid_name; already_exists when the name is another image's and wrong_state when it is
/// a foreign file's, both never with any_name; image_not_found for an unknown `os`.
Result<ImportPlan> plan_import(const Catalog& catalog, const ImageStore& store,
                               const ImportWish& wish);

/// Metadata of an image that stands for a catalog entry, made now.
Image catalog_metadata(const CatalogImage& entry, ImageOrigin origin);

}  // namespace noxsup::imaging
