#include "supervisor/state/template_store.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/sample_spec.hpp"
#include "tests/support/temp_dir.hpp"

namespace noxsup::state {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Template sample_template(const std::string& id = "3f2a9c41") {
    Template made;
    made.id = id;
    made.spec = test::sample_kernel_spec(spec::Arch::arm64);
    made.spec.id = made.spec.warm_template = id;
    made.key = {"image debian-13", "cpus 2"};
    made.disk_digest = std::string(64, 'b');
    made.created_at = "2026-11-27T06:00:00Z";
    return made;
}

class TemplateStoreTest : public testing::Test {
  protected:
    TemplateStoreTest() { EXPECT_TRUE(home_.prepare()); }
    void make(const Template& made) {
        const auto begun = store_.begin(made.id);
        ASSERT_TRUE(begun) << begun.error().message;
        std::ofstream(*begun / template_ram_file) << "ram";
        std::ofstream(*begun / template_devices_file) << "devices";
        const auto finished = store_.finish(*begun, made);
        ASSERT_TRUE(finished) << finished.error().message;
    }

    test::TempDir dir_;
    Home home_{dir_ / "home", Scope::user};
    TemplateStore store_{home_};
};

TEST(TemplateText, SurvivesItsText) {
    const auto made = sample_template();
    const auto back = parse_template(to_text(made));
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(*back, made);
}

TEST(TemplateText, AChangedOrCutTextIsNone) {
    const auto text = to_text(sample_template());
    for (std::size_t length = 0; length + 1 < text.size(); length += 7)
        EXPECT_FALSE(parse_template(text.substr(0, length))) << length;
    auto changed = text;
    changed.replace(changed.find("cpus 2"), 6, "cpus 3");
    EXPECT_THAT(parse_template(changed).error().message, HasSubstr("checksum"));
}

TEST_F(TemplateStoreTest, WithoutTheDirectoryThereIsNone) {
    const auto list = store_.list();
    ASSERT_TRUE(list);
    EXPECT_THAT(list->templates, IsEmpty());
    EXPECT_TRUE(store_.sweep());
}

TEST_F(TemplateStoreTest, OneThatWasFinishedIsListedOldestFirst) {
    auto later = sample_template("00000001");
    later.created_at = "2026-11-27T07:00:00Z";
    make(later);
    make(sample_template());
    const auto list = store_.list();
    ASSERT_TRUE(list);
    EXPECT_THAT(list->templates, ElementsAre(sample_template(), later));
    EXPECT_THAT(list->problems, IsEmpty());
}

TEST_F(TemplateStoreTest, OneThatIsBeingMadeIsNoneAndASweepTakesIt) {
    const auto begun = store_.begin("3f2a9c41");
    ASSERT_TRUE(begun);
    std::ofstream(*begun / template_ram_file) << "ram";
    EXPECT_THAT(store_.list()->templates, IsEmpty());
    ASSERT_TRUE(store_.sweep());
    EXPECT_FALSE(fs::exists(*begun));
}

TEST_F(TemplateStoreTest, ADamagedOneIsToldAndTheOthersServe) {
    make(sample_template());
    make(sample_template("00000001"));
    std::ofstream(store_.directory("00000001") / "template.json") << "{}";
    fs::create_directory(store_.directory("00000002"));
    // A copy under another name would share what is one's own.
    fs::copy(store_.directory("3f2a9c41"), store_.directory("00000003"));
    const auto list = store_.list();
    ASSERT_TRUE(list);
    EXPECT_THAT(list->templates, ElementsAre(sample_template()));
    EXPECT_THAT(list->problems, ElementsAre(HasSubstr("00000001"), HasSubstr("00000002"),
                                            HasSubstr("it says that it is another one")));
}

TEST_F(TemplateStoreTest, OneThatWasRemovedIsGone) {
    make(sample_template());
    ASSERT_TRUE(store_.remove("3f2a9c41"));
    EXPECT_TRUE(fs::is_empty(home_.templates()));
    EXPECT_FALSE(store_.remove("3f2a9c41"));
}

}  // namespace
}  // namespace noxsup::state
