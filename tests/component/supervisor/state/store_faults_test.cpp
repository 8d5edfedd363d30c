// Promise P8a: each file call of each state operation fails in turn, in each way; what is read
// afterwards is the old state or the new one, and nothing is left lying about.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "imaging/image_store.hpp"
#include "supervisor/state/config.hpp"
#include "supervisor/state/vm_store.hpp"
#include "tests/support/file_calls.hpp"
#include "tests/support/sample_spec.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::state {
namespace {

namespace fs = std::filesystem;
using test::FailNthCall;
using testing::AnyOf;
using testing::UnorderedElementsAre;

std::size_t open_descriptors() {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator("/proc/self/fd"), {}));
}

std::vector<std::string> names_in(const fs::path& directory) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory))
        names.push_back(entry.path().filename());
    return names;
}

VmRecord record_of(const std::string& name, const std::string& started_at = "") {
    VmRecord record;
    record.spec = test::sample_spec();
    record.spec.name = name;
    record.started_at = started_at;
    return record;
}

/// A home with the VMs "vm" and "other"; "vm" was saved twice.
struct FaultyHome {
    FaultyHome() {
        EXPECT_TRUE(home.prepare());
        EXPECT_TRUE(create(other));
        EXPECT_TRUE(create(record_of("vm")));
        EXPECT_TRUE(store.save(old));
    }
    /// As the daemon does it: what was begun is removed again when it fails.
    [[nodiscard]] Result<> create(const VmRecord& record) const {
        NOXSUP_TRY_VALUE(const auto begun, store.begin_create("0000" + record.spec.name));
        auto finished = store.finish_create(begun, record);
        if (!finished) static_cast<void>(remove_tree(begun));
        return finished;
    }
    /// What nobody touched is as it was, and nothing temporary outlives a sweep.
    void expect_others_whole() const {
        EXPECT_EQ(store.load("other")->record, other);
        ASSERT_TRUE(store.sweep());
        for (const auto& name : names_in(home.vms())) {
            EXPECT_THAT(name, AnyOf("vm", "other", "fresh"));
            for (const auto& file : names_in(home.vm(name)))
                EXPECT_THAT(file, AnyOf("meta.json", "meta.json.prev")) << name;
        }
    }

    test::TempDir dir;
    Home home{dir / "home", Scope::user};
    VmStore store{home};
    const VmRecord other = record_of("other");
    const VmRecord old = record_of("vm", "2026-01-01T00:00:00Z");
    const VmRecord newer = record_of("vm", "2026-02-02T00:00:00Z");
};

/// What is done once for each call and each way to fail: the fixture is made afresh, the operation
/// runs with the fault, then `check` looks without it. Returns how many points there were.
template <class Fixture, class Operation, class Check>
int fail_each_call(Operation operation, Check check) {
    int points = 0;
    for (const int verdict : {EIO, ENOSPC, EINTR, test::half_write}) {
        for (int nth = 1;; ++nth) {
            const Fixture fixture;
            const auto before = open_descriptors();
            std::string failed;
            auto kind = test::FileCall::Kind::open;
            bool succeeded = false;
            {
                const FailNthCall fault(fixture.dir.path(), nth, verdict);
                succeeded = operation(fixture);
                failed = fault.failed();
                kind = fault.kind();
            }
            if (failed.empty()) break;
            SCOPED_TRACE(failed + " failed with " + std::to_string(verdict));
            EXPECT_EQ(open_descriptors(), before);
            check(fixture, succeeded, kind);
            ++points;
            if (testing::Test::HasFailure()) return points;
        }
    }
    EXPECT_GT(points, 0);
    testing::Test::RecordProperty("points", points);
    return points;
}

TEST(StoreFaults, ASaveIsTheOldStateOrTheNewOne) {
    fail_each_call<FaultyHome>(
        [](const FaultyHome& it) { return it.store.save(it.newer).has_value(); },
        [](const FaultyHome& it, bool succeeded, test::FileCall::Kind kind) {
            const auto loaded = it.store.load("vm");
            ASSERT_TRUE(loaded);
            ASSERT_EQ(loaded->kind, RecordKind::ours) << loaded->problem;
            EXPECT_EQ(loaded->problem, "");
            if (succeeded) {
                EXPECT_EQ(loaded->record, it.newer);
            } else {
                EXPECT_THAT(*loaded->record, AnyOf(it.old, it.newer));
            }
            // Only what could not be removed is left, and the sweep takes it.
            if (kind != test::FileCall::Kind::unlink) {
                EXPECT_THAT(names_in(it.home.vm("vm")),
                            UnorderedElementsAre("meta.json", "meta.json.prev"));
            }
            it.expect_others_whole();
            ASSERT_TRUE(it.store.save(it.newer));
            EXPECT_EQ(it.store.load("vm")->record, it.newer);
        });
}

TEST(StoreFaults, AVmIsMadeWholeOrNotAtAll) {
    const auto fresh = record_of("fresh");
    fail_each_call<FaultyHome>([&](const FaultyHome& it) { return it.create(fresh).has_value(); },
                               [&](const FaultyHome& it, bool succeeded, test::FileCall::Kind) {
                                   const auto loaded = it.store.load("fresh");
                                   EXPECT_EQ(loaded.has_value(), succeeded);
                                   if (loaded) {
                                       EXPECT_EQ(loaded->record, fresh) << loaded->problem;
                                   }
                                   EXPECT_EQ(it.store.load("vm")->record, it.old);
                                   it.expect_others_whole();
                                   if (!succeeded) {
                                       EXPECT_TRUE(it.create(fresh));
                                   }
                                   EXPECT_EQ(it.store.load("fresh")->record, fresh);
                               });
}

TEST(StoreFaults, AVmIsRemovedOrThereWithAllItsFiles) {
    struct WithDisk : FaultyHome {
        WithDisk() {
            EXPECT_TRUE(create(record_of("fresh")));
            dir.write("home/vms/fresh/notes/a", "a");
            dir.write("home/vms/fresh/disk.qcow2", "disk");
        }
    };
    fail_each_call<WithDisk>(
        [](const WithDisk& it) { return it.store.remove("fresh").has_value(); },
        [](const WithDisk& it, bool succeeded, test::FileCall::Kind) {
            EXPECT_EQ(it.store.load("fresh").has_value(), !succeeded);
            if (!succeeded) {
                EXPECT_EQ(test::slurp(it.home.vm("fresh") / "notes/a"), "a");
                EXPECT_EQ(test::slurp(it.home.vm("fresh") / "disk.qcow2"), "disk");
                EXPECT_EQ(it.store.load("fresh")->kind, RecordKind::ours);
                ASSERT_TRUE(it.store.remove("fresh"));
            }
            it.expect_others_whole();
            EXPECT_EQ(it.store.load("vm")->record, it.old);
        });
}

TEST(StoreFaults, AVmHasItsOldNameOrTheNewOne) {
    auto renamed = record_of("fresh", "2026-01-01T00:00:00Z");
    fail_each_call<FaultyHome>(
        [&](const FaultyHome& it) { return it.store.rename("vm", renamed).has_value(); },
        [&](const FaultyHome& it, bool succeeded, test::FileCall::Kind) {
            const auto name = succeeded ? "fresh" : "vm";
            EXPECT_FALSE(it.store.load(succeeded ? "vm" : "fresh"));
            const auto loaded = it.store.load(name);
            ASSERT_TRUE(loaded);
            ASSERT_EQ(loaded->kind, RecordKind::ours) << loaded->problem;
            EXPECT_EQ(loaded->problem, "");
            EXPECT_EQ(loaded->record, succeeded ? renamed : it.old);
            it.expect_others_whole();
            if (!succeeded) {
                ASSERT_TRUE(it.store.save(it.newer));
                EXPECT_EQ(it.store.load("vm")->record, it.newer);
            }
        });
}

TEST(StoreFaults, ASweepThatFailsHarmsNothingAndTheNextOneEndsIt) {
    struct Littered : FaultyHome {
        Littered() {
            EXPECT_TRUE(store.begin_create("0000beef"));
            dir.write("home/vms/.trash-1/notes/a", "a");
            dir.write("home/vms/.trash-1/disk.qcow2", "disk");
            dir.write("home/vms/vm/meta.json.0123456789ab.tmp", "{");
            dir.write("home/vms/vm/meta.json.prev.0123456789ab.tmp", "{");
        }
    };
    fail_each_call<Littered>([](const Littered& it) { return it.store.sweep().has_value(); },
                             [](const Littered& it, bool /*succeeded*/, test::FileCall::Kind) {
                                 EXPECT_EQ(it.store.load("vm")->record, it.old);
                                 it.expect_others_whole();
                             });
}

TEST(StoreFaults, AReadThatFailsLosesNoVm) {
    fail_each_call<FaultyHome>(
        [](const FaultyHome& it) {
            const auto all = it.store.load_all();
            // A VM that cannot be read now is told as damaged, not left out.
            if (all) {
                EXPECT_EQ(all->size(), 2U);
            }
            return all.has_value();
        },
        [](const FaultyHome& it, bool /*succeeded*/, test::FileCall::Kind) {
            EXPECT_EQ(it.store.load("vm")->record, it.old);
            it.expect_others_whole();
        });
}

TEST(StoreFaults, AConfigurationIsReadWholeOrRefused) {
    struct Configured {
        Configured() { dir.write("config.json", R"({"accel": "kvm", "defaults": {"cpus": 2}})"); }
        test::TempDir dir;
    };
    fail_each_call<Configured>(
        [](const Configured& it) {
            const auto config = load_config(it.dir / "config.json");
            if (config) {
                EXPECT_EQ(config->accel, "kvm");
                EXPECT_EQ(config->cpus, "2");
            }
            return config.has_value();
        },
        [](const Configured& it, bool /*succeeded*/, test::FileCall::Kind) {
            EXPECT_EQ(load_config(it.dir / "config.json")->accel, "kvm");
        });
}

/// An image store with the image a under a name, and the file of another one.
struct FaultyImages {
    FaultyImages() {
        EXPECT_TRUE(store.prepare());
        EXPECT_TRUE(adopt('a'));
        dir.write("images/new.new.part", "content of b");
    }
    [[nodiscard]] Result<imaging::Image> adopt(char digit) const {
        fs::remove(dir / "images/new.new.part");
        const auto file = dir.write("images/new.new.part", std::string("content of ") + digit);
        return adopt_file(digit, file);
    }
    [[nodiscard]] Result<imaging::Image> adopt_file(char digit, const fs::path& file) const {
        imaging::Image image;
        image.digest = std::string(64, digit);
        image.origin = imaging::ImageOrigin::vendor;
        return store.adopt(file, image, "debian");
    }
    [[nodiscard]] std::string named() const {
        const auto found = store.find("debian");
        return found ? test::slurp(found->path) : found.error().message;
    }
    test::TempDir dir;
    imaging::ImageStore store{dir / "images"};
};

TEST(StoreFaults, AnImageNameLeadsToTheOldImageOrTheNewOne) {
    fail_each_call<FaultyImages>(
        [](const FaultyImages& it) {
            return it.adopt_file('b', it.dir / "images/new.new.part").has_value();
        },
        [](const FaultyImages& it, bool succeeded, test::FileCall::Kind kind) {
            if (succeeded) {
                EXPECT_EQ(it.named(), "content of b");
            } else {
                EXPECT_THAT(it.named(), AnyOf("content of a", "content of b"));
            }
            for (const auto& name : names_in(it.dir / "images")) {
                if (kind == test::FileCall::Kind::unlink) break;
                EXPECT_FALSE(name.ends_with(".tmp")) << name;
            }
            EXPECT_TRUE(it.adopt('b'));
            EXPECT_EQ(it.named(), "content of b");
        });
}

TEST(StoreFaults, AnImageThatIsNotRemovedHasItsContent) {
    fail_each_call<FaultyImages>(
        [](const FaultyImages& it) { return it.store.remove("debian", {}).has_value(); },
        [](const FaultyImages& it, bool succeeded, test::FileCall::Kind) {
            const auto digest = std::string(64, 'a');
            const auto left = it.store.by_digest(digest);
            EXPECT_FALSE(left && succeeded);
            if (left) {
                EXPECT_EQ(test::slurp(left->path), "content of a");
            }
            ASSERT_TRUE(it.store.prune({}));
            EXPECT_THAT(*it.store.list(), testing::SizeIs(testing::Le(1U)));
            EXPECT_TRUE(it.adopt('a'));
            EXPECT_EQ(it.named(), "content of a");
        });
}

}  // namespace
}  // namespace noxsup::state
