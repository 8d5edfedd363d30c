// Whom a download trusts: an unknown certificate, one that was named, one of another host, and
// dates that a wrong clock would make wrong.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <thread>

#include "supervisor/base/file.hpp"
#include "tests/support/image_test.hpp"
#include "tests/support/source_file.hpp"

namespace noxsup::imaging {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;

/// tls_server.py while the test needs it: it ends when its standard input does.
class TlsServer {
  public:
    TlsServer(const std::filesystem::path& certificate, const std::filesystem::path& key,
              const std::filesystem::path& file, const std::filesystem::path& port_file) {
        const auto server = test::source_file("tests/component/imaging/tls_server.py");
        const auto command = "exec python3 " + server.string() + " " + certificate.string() + " " +
                             key.string() + " " + file.string() + " " + port_file.string();
        process_.reset(::popen(command.c_str(), "we"));
        const auto limit = std::chrono::steady_clock::now() + 30s;
        while (!std::filesystem::exists(port_file)) {
            if (std::chrono::steady_clock::now() > limit)
                throw std::runtime_error("the TLS server did not start");
            std::this_thread::sleep_for(10ms);
        }
        port_ = test::slurp(port_file);
    }
    [[nodiscard]] std::string url(const std::string& host = "127.0.0.1") const {
        return "https://" + host + ":" + port_ + "/image";
    }

  private:
    struct Close {
        void operator()(FILE* process) const { ::pclose(process); }
    };
    std::unique_ptr<FILE, Close> process_;
    std::string port_;
};

class TlsTest : public test::ImageTest {
  protected:
    TlsTest() { dir_.write("file", content_); }

    [[nodiscard]] std::string at(const char* name) const { return (dir_ / name).string(); }

    /// A certificate that vouches for itself, for 127.0.0.1, valid between the two (YYYYMMDD).
    void make_certificate(const std::string& from, const std::string& until) {
        dir_.write("ca.conf", "[ca]\ndefault_ca = own\n[own]\ndatabase = " + at("index") +
                                  "\nrand_serial = yes\ndefault_md = sha256\npolicy = any\n"
                                  "x509_extensions = server\nnew_certs_dir = " +
                                  dir_.path().string() +
                                  "\n[any]\ncommonName = supplied\n"
                                  "[server]\nsubjectAltName = IP:127.0.0.1\n");
        dir_.write("index", "");
        tool({"openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
              "-nodes", "-subj", "/CN=noxsup test", "-keyout", at("key.pem"), "-out",
              at("request.pem")});
        tool({"openssl", "ca", "-config", at("ca.conf"), "-batch", "-notext", "-selfsign",
              "-keyfile", at("key.pem"), "-in", at("request.pem"), "-startdate", from + "000000Z",
              "-enddate", until + "000000Z", "-out", at("cert.pem")});
        server_ = std::make_unique<TlsServer>(dir_ / "cert.pem", dir_ / "key.pem", dir_ / "file",
                                              dir_ / "port");
    }
    Result<FetchResult> fetch(const std::string& url, const std::string& ca_file) {
        part_ = *open_file(dir_ / "part", O_RDWR | O_CREAT | O_TRUNC);
        FetchRequest request;
        request.url = url;
        request.output_fd = part_.get();
        request.max_bytes = 1'000'000;
        request.ca_file = ca_file;
        request.attempts = 2;
        request.retry_delay = 10ms;
        return run(worker_.fetch(request, ProgressCallback()));
    }
    void expect_refused(const Result<FetchResult>& result, const char* message, const char* hint) {
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().code, ErrorCode::download_failed) << result.error().message;
        EXPECT_THAT(result.error().message, AllOf(HasSubstr("certificate"), HasSubstr(message)));
        EXPECT_THAT(result.error().hint, HasSubstr(hint));
        EXPECT_EQ(test::slurp(dir_ / "part"), "");
    }

    std::string content_ = std::string(100'000, 'x');
    std::unique_ptr<TlsServer> server_;
    UniqueFd part_;
};

TEST_F(TlsTest, AnUnknownCertificateIsRefusedAndANamedOneTaken) {
    make_certificate("20200101", "20491231");
    expect_refused(fetch(server_->url(), ""), "self-signed", "NOXSUP_IMAGE_CA_FILE");
    const auto fetched = fetch(server_->url(), at("cert.pem"));
    ASSERT_TRUE(fetched) << fetched.error().message;
    EXPECT_EQ(test::slurp(dir_ / "part"), content_);
}

TEST_F(TlsTest, ACertificateForAnotherNameIsRefused) {
    make_certificate("20200101", "20491231");
    expect_refused(fetch(server_->url("localhost"), at("cert.pem")), "localhost", "");
}

TEST_F(TlsTest, AnExpiredCertificatePointsAtTheClock) {
    make_certificate("20200101", "20200201");
    expect_refused(fetch(server_->url(), at("cert.pem")), "expired", "clock");
}

TEST_F(TlsTest, ACertificateOfTheFuturePointsAtTheClock) {
    make_certificate("20480101", "20491231");
    expect_refused(fetch(server_->url(), at("cert.pem")), "not yet valid", "clock");
}

TEST_F(TlsTest, AMissingFileOfCertificatesIsNamed) {
    const auto result = fetch("https://127.0.0.1:1/image", at("absent.pem"));
    ASSERT_FALSE(result);
    EXPECT_THAT(result.error().message, HasSubstr(at("absent.pem")));
}

}  // namespace
}  // namespace noxsup::imaging
