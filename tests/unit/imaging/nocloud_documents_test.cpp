#include "imaging/nocloud_documents.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "imaging/base64.hpp"
#include "imaging/gunzip.hpp"
#include "imaging/nocloud_mime.hpp"

namespace noxsup::imaging {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string gzip(const std::string& text) {
    z_stream stream{};
    if (deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        throw std::runtime_error("deflateInit2");
    }
    std::string input = text;
    std::string output(text.size() + 1000, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(input.data());
    stream.avail_in = static_cast<uInt>(input.size());
    stream.next_out = reinterpret_cast<Bytef*>(output.data());
    stream.avail_out = static_cast<uInt>(output.size());
    deflate(&stream, Z_FINISH);
    output.resize(stream.total_out);
    deflateEnd(&stream);
    return output;
}

std::vector<std::string> types_of(const std::string& document) {
    const auto read = read_documents({{"doc", document}});
    if (!read) throw std::runtime_error(read.error().message);
    std::vector<std::string> types;
    for (const auto& part : read->parts) types.push_back(part.content_type);
    return types;
}

/// What is wrong with the document; "" when nothing is.
std::string complaint(const std::string& document) {
    const auto read = read_documents({{"my doc", document}});
    if (read) return {};
    EXPECT_EQ(read.error().code, ErrorCode::invalid_cloud_init);
    EXPECT_THAT(read.error().message, HasSubstr("my doc"));
    return read.error().message;
}

std::string mime(const std::string& part) {
    return "Content-Type: multipart/mixed; boundary=\"xx\"\nMIME-Version: 1.0\n\n--xx\n" + part +
           "\n--xx--\n";
}

TEST(Base64, RoundTripsEveryLength) {
    std::string data;
    for (int i = 0; i < 300; ++i) {
        EXPECT_EQ(base64_decode(base64_lines(data)), data);
        data += static_cast<char>(i * 37);
    }
    EXPECT_EQ(base64_lines("noxsup"), "bm94c3Vw\n");
    for (const auto* bad : {"a", "ab", "abc", "ab=", "ab=c", "a===", "ab==c", "a*cd", "abcd="}) {
        EXPECT_FALSE(base64_decode(bad)) << bad;
    }
}

TEST(Gunzip, ReadsMembersAndKeepsItsLimit) {
    EXPECT_EQ(*gunzip(gzip("one") + gzip("two"), 100), "onetwo");
    EXPECT_FALSE(gunzip(gzip(std::string(101, 'x')), 100));
    EXPECT_TRUE(gunzip(gzip(std::string(100, 'x')), 100));
    const auto whole = gzip("some text that is long enough to be cut");
    for (std::size_t cut = 0; cut < whole.size(); ++cut) {
        EXPECT_FALSE(gunzip(whole.substr(0, cut), 100)) << cut;
    }
    EXPECT_FALSE(gunzip("\x1f\x8bjunk", 100));
    EXPECT_FALSE(gunzip(whole + "trailing", 100));
}

TEST(ReadDocuments, KnowsEveryTypeByItsBeginning) {
    EXPECT_THAT(types_of("#cloud-config\na: 1\n"), ElementsAre("text/cloud-config"));
    EXPECT_THAT(types_of("\n  #Cloud-Config\na: 1\n"), ElementsAre("text/cloud-config"));
    EXPECT_THAT(types_of("\xef\xbb\xbf#cloud-config\na: 1\n"), ElementsAre("text/cloud-config"));
    EXPECT_THAT(types_of("#!/bin/sh\n"), ElementsAre("text/x-shellscript"));
    EXPECT_THAT(types_of("#include\nhttp://a/\n"), ElementsAre("text/x-include-url"));
    EXPECT_THAT(types_of("#include-once\nhttp://a/\n"), ElementsAre("text/x-include-once-url"));
    EXPECT_THAT(types_of("#cloud-boothook\n"), ElementsAre("text/cloud-boothook"));
    EXPECT_THAT(types_of("#part-handler\n"), ElementsAre("text/part-handler"));
    EXPECT_THAT(types_of("## template: jinja\n#cloud-config\na: {{b}}\n"),
                ElementsAre("text/jinja2"));
    EXPECT_THAT(types_of("#cloud-config-jsonp\n[]"), ElementsAre("text/cloud-config-jsonp"));
    EXPECT_THAT(types_of("#cloud-config-archive\n- type: text/cloud-config\n  content: 'a: 1'\n"
                         "- |\n  #!/bin/sh\n- 'b: 2'\n- content: !!binary IyEvYmluL3NoCg==\n"),
                ElementsAre("text/cloud-config", "text/x-shellscript", "text/cloud-config",
                            "text/x-shellscript"));
    EXPECT_THAT(types_of(gzip("#cloud-config\na: 1\n")), ElementsAre("text/cloud-config"));
    EXPECT_THAT(types_of(mime("Content-Type: text/x-shellscript-per-boot\n\necho")),
                ElementsAre("text/x-shellscript-per-boot"));
}

TEST(ReadDocuments, TakesMultipartsApart) {
    const std::string inner =
        "Content-Type: multipart/mixed; boundary=in\n\n--in\nContent-Type: "
        "text/plain\n\n#!/bin/sh\n"
        "--in\nContent-Type: text/cloud-config; charset=utf-8\nContent-Transfer-Encoding: base64\n"
        "Content-Disposition: attachment; filename=\"a;b.cfg\"\nLaunch-Index: 3\n\n" +
        base64_lines("a: 1\n") + "--in--";
    const auto read = read_documents({{"doc", mime(inner)}});
    ASSERT_TRUE(read) << read.error().message;
    ASSERT_EQ(read->parts.size(), 2U);
    EXPECT_EQ(read->parts[0].content, "#!/bin/sh");
    EXPECT_EQ(read->parts[1].content, "a: 1\n");
    EXPECT_EQ(read->parts[1].filename, "a;b.cfg");
    EXPECT_EQ(read->parts[1].launch_index, "3");
    EXPECT_THAT(
        types_of(mime("Content-Type: application/x-gzip\nContent-Transfer-Encoding: base64\n\n" +
                      base64_lines(gzip("#cloud-config\na: 1")))),
        ElementsAre("text/cloud-config"));
    EXPECT_THAT(types_of(mime("Content-Type: text/cloud-config\n"
                              "Content-Transfer-Encoding: quoted-printable\n\na=3A =\n1")),
                ElementsAre("text/cloud-config"));
}

TEST(ReadDocuments, RefusesKeysThatAreOursInEveryWrapping) {
    for (const std::string key : {"ssh_keys", "ssh_deletekeys", "merge_how", "merge_type"}) {
        const auto plain = "#cloud-config\n" + key + ": x\n";
        EXPECT_THAT(complaint(plain), HasSubstr(key));
        EXPECT_THAT(complaint(gzip(plain)), HasSubstr(key));
        EXPECT_THAT(complaint("#cloud-config\n{\"" + key + "\": 1}"), HasSubstr(key));
        EXPECT_THAT(complaint("#cloud-config\n!!str " + key + ": 1"), HasSubstr(key));
        EXPECT_THAT(complaint("#cloud-config\n\"\\x" + std::string(key[0] == 's' ? "73" : "6d") +
                              key.substr(1) + "\": 1"),
                    HasSubstr(key));
        EXPECT_THAT(complaint("#cloud-config\na: &x {" + key + ": 1}\n<<: *x\n"), HasSubstr(key));
        EXPECT_THAT(complaint("#cloud-config\n<<: [{a: 1}, {<<: {" + key + ": 1}}]\n"),
                    HasSubstr(key));
        EXPECT_THAT(
            complaint("#cloud-config-archive\n- " + key + ": 1\n  content: '" + key + ": 1'\n"),
            HasSubstr(key));
        EXPECT_THAT(complaint("#cloud-config-archive\n- |\n  #cloud-config-archive\n  - |\n    " +
                              key + ": 1\n"),
                    HasSubstr(key));
        EXPECT_THAT(complaint("#cloud-config-jsonp\n[{\"op\": \"add\", \"path\": \"/" + key +
                              "\", \"value\": 1}]"),
                    HasSubstr(key));
        EXPECT_THAT(complaint("#cloud-config-jsonp\n[{\"op\": \"add\", \"path\": \"/" + key +
                              "/x\", \"value\": 1}]"),
                    HasSubstr(key));
        EXPECT_THAT(complaint("## template: jinja\n#cloud-config\n'" + key + "' : x\n"),
                    HasSubstr(key));
        EXPECT_THAT(complaint(mime("Content-Type: text/cloud-config\n\n" + key + ": 1")),
                    HasSubstr(key));
        EXPECT_THAT(complaint(mime("Content-Type: text/plain\n\n#cloud-config\n" + key + ": 1")),
                    HasSubstr(key));
        EXPECT_THAT(
            complaint(mime("Content-Type: text/x-shellscript\n\n#cloud-config\n" + key + ": 1")),
            HasSubstr(key));
    }
}

TEST(ReadDocuments, LeavesTheSameWordsAloneElsewhere) {
    EXPECT_EQ(complaint("#cloud-config\nwrite_files: [{content: 'ssh_keys: x'}]\n"), "");
    EXPECT_EQ(complaint("#cloud-config\na: {ssh_keys: 1}\nruncmd: [merge_how]\n"), "");
    EXPECT_EQ(complaint("#!/bin/sh\necho 'ssh_keys: x'\n"), "");
    EXPECT_EQ(
        complaint("## template: jinja\n#cloud-config\nx: {{ ds.meta_data.public_ssh_keys }}\n"),
        "");
}

TEST(ReadDocuments, RefusesMergeTypeHeaders) {
    const std::string rest = "\nContent-Type: text/cloud-config\n\na: 1";
    EXPECT_THAT(complaint(mime("Merge-Type: list(replace)" + rest)), HasSubstr("Merge-Type"));
    EXPECT_THAT(complaint(mime("x-merge-TYPE: list(replace)" + rest)), HasSubstr("Merge-Type"));
    EXPECT_THAT(complaint("#cloud-config-archive\n- content: 'a: 1'\n  Merge-Type: dict()\n"),
                HasSubstr("Merge-Type"));
}

TEST(ReadDocuments, RefusesWhatIsNoMappingWhereOneIsNeeded) {
    for (const auto* text :
         {"#cloud-config\n", "#cloud-config\n- a\n", "#cloud-config\njust text\n",
          "#cloud-config\n5\n", "#cloud-config\na: 1\n---\nb: 2\n", "#cloud-config\na: [\n",
          "#cloud-config\na: 1\n b: 2\n", "#cloud-config-archive\na: 1\n",
          "#cloud-config-archive\n- [a]\n", "#cloud-config-archive\n- content: {a: 1}\n",
          "#cloud-config-archive\n- <<: {content: a}\n", "#cloud-config-jsonp\n{}",
          "#cloud-config-jsonp\n[{\"op\": \"add\"}]",
          "#cloud-config-jsonp\n[{\"op\": \"add\", \"path\": \"\", \"value\": {}}]",
          "#cloud-config-jsonp\n[{\"op\": \"add\", \"path\": \"x\", \"value\": {}}]",
          "#cloud-config-jsonp\n[{\"op\": \"add\", \"path\": \"/users\", \"value\": {}}]",
          "#cloud-config\nusers: bob\n", "#cloud-config\nusers: {bob: {}}\n",
          "#cloud-config\nusers:\n"}) {
        EXPECT_NE(complaint(text), "") << text;
    }
    EXPECT_EQ(complaint("#cloud-config-jsonp\n[{\"op\": \"remove\", \"path\": \"/users\"}]"), "");
}

TEST(ReadDocuments, RefusesUnknownTypesAndDamage) {
    for (const std::string& text :
         {std::string(), std::string(" \n"), std::string("users: []\n"), std::string("hello"),
          std::string("\x1f\x8bjunk"), mime("Content-Type: text/html\n\n<p>"),
          mime("Content-Type: text/plain\n\nplain"), mime("Content-Type: te xt/html\n\n#!x"),
          mime("Content-Type: message/rfc822\n\nx: y\n\n"),
          mime("Content-Type: text/x-shellscript\nContent-Transfer-Encoding: base64\n\n*"),
          mime("Content-Type: text/x-shellscript\nContent-Transfer-Encoding: uuencode\n\n*"),
          mime("Content-Type: text/x-shellscript\nLaunch-Index: 1; x\n\n#!x"),
          mime("Content-Type: text/plain\nContent-Type: text/plain\n\n#!x"),
          std::string("MIME-Version: 1.0\nContent-Type: multipart/mixed\n\n--x\n"),
          std::string("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=a\n\nnone\n"),
          std::string("no header\nMIME-Version: 1.0\n\n")}) {
        EXPECT_NE(complaint(text), "") << text;
    }
    EXPECT_EQ(complaint(mime("Content-Type: text/part-handler\n\n#part-handler\n--xx\n"
                             "Content-Type: text/x-mine\n\nx")),
              "")
        << "a part handler may bring types of its own";
}

TEST(ReadDocuments, KeepsItsLimits) {
    const std::string head = "#!/bin/sh\n";
    EXPECT_EQ(complaint(head + std::string(max_document_bytes - head.size(), 'x')), "");
    EXPECT_THAT(complaint(head + std::string(max_document_bytes, 'x')), HasSubstr("larger"));
    EXPECT_THAT(complaint(gzip(head + std::string(max_documents_bytes, 'x'))),
                HasSubstr("more than"));
    const UserDocument large{"large", head + std::string(max_document_bytes - 100, 'x')};
    EXPECT_TRUE(read_documents({large, large, large, large}));
    EXPECT_FALSE(read_documents({large, large, large, large, large}));
    std::string deep = "#cloud-config\na: ";
    for (int i = 0; i < 5000; ++i) deep += '[';
    EXPECT_NE(complaint(deep), "");
    std::string nested = "#!/bin/sh\n";
    for (int i = 0; i < 12; ++i) {
        nested = "Content-Type: multipart/mixed; boundary=b" + std::to_string(i) +
                 "\nMIME-Version: 1.0\n\n--b" + std::to_string(i) + "\n" + nested + "\n";
    }
    EXPECT_THAT(complaint(nested), HasSubstr("deeper"));
}

TEST(ReadDocuments, EndsOnWhatYamlCppWouldReadForEver) {
    // Something behind the document that begins no other: an empty one, again and again.
    for (const auto* rest : {", b\n", "]\n", "}\n", ", content: \"a: 1\"\n- \"\n"}) {
        EXPECT_THAT(complaint(std::string("#cloud-config\na: 1\n") + rest), HasSubstr("YAML"));
        EXPECT_THAT(complaint(std::string("#cloud-config-archive\n- a\n") + rest),
                    HasSubstr("YAML"));
    }
}

TEST(ReadDocuments, EndsOnMergeKeysThatMultiply) {
    std::string bomb = "#cloud-config\na0: &a0 {x: 1}\n";
    for (int i = 1; i < 15; ++i) {
        const auto below = "*a" + std::to_string(i - 1);
        bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " {<<: [" + below;
        for (int j = 0; j < 20; ++j) bomb += ", " + below;
        bomb += "]}\n";
    }
    EXPECT_THAT(complaint(bomb + "<<: *a14\n"), HasSubstr("nest too deeply"));
}

TEST(MakeMultipart, IsReadBackPartByPart) {
    const std::vector<MimePart> parts{
        {"text/x-shellscript", "a b.sh", "2", "", "#!/bin/sh\n\0\xff"},
        {"text/cloud-config", "q\"uote", "", "list()", "a: 1\n--x\n"},
        {"text/cloud-config", "", "", "", ""}};
    const auto text = make_multipart(parts);
    EXPECT_TRUE(looks_like_mime(text));
    const auto read = parse_mime(text);
    ASSERT_TRUE(read) << read.error().message;
    ASSERT_EQ(read->size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ((*read)[i].content, parts[i].content);
        EXPECT_EQ((*read)[i].content_type, parts[i].content_type);
        EXPECT_EQ((*read)[i].merge_type, parts[i].merge_type);
        EXPECT_EQ((*read)[i].launch_index, parts[i].launch_index);
    }
    EXPECT_EQ((*read)[0].filename, "a b.sh");
    EXPECT_EQ((*read)[1].filename, "") << "a name that needs quoting is left to cloud-init";
}

}  // namespace
}  // namespace noxsup::imaging
