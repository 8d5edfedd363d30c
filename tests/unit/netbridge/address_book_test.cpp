#include "netbridge/address_book.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace noxsup::netbridge {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

Ipv4Address v4(const char* text) {
    return boost::asio::ip::make_address_v4(text);
}

DhcpReply ack(const char* address) {
    DhcpReply reply;
    reply.address = v4(address);
    reply.prefix_length = 24;
    reply.lease = 60s;
    return reply;
}

std::vector<std::string> shown(const AddressBook& book) {
    std::vector<std::string> result;
    for (const auto& entry : book.addresses()) {
        result.push_back(entry.address.to_string() + " " + std::string(to_string(entry.source)));
    }
    return result;
}

TEST(AddressBook, ALeaseReplacesTheFormerOne) {
    AddressBook book;
    EXPECT_TRUE(book.on_dhcp(ack("10.0.0.5")));
    EXPECT_FALSE(book.on_dhcp(ack("10.0.0.5"))) << "a renewal is no change";
    EXPECT_TRUE(book.on_dhcp(ack("10.0.0.6")));
    EXPECT_THAT(shown(book), ElementsAre("10.0.0.6 dhcp"));
    EXPECT_EQ(book.addresses()[0].prefix_length, 24U);
    DhcpReply nak;
    nak.kind = DhcpReply::Kind::nak;
    EXPECT_TRUE(book.on_dhcp(nak));
    EXPECT_THAT(shown(book), IsEmpty());
    EXPECT_FALSE(book.on_dhcp(nak));
}

TEST(AddressBook, TheLeaseComesFirstThenIpv4ThenIpv6) {
    AddressBook book;
    EXPECT_TRUE(book.on_neighbour(boost::asio::ip::make_address("fd00::5")));
    EXPECT_TRUE(book.on_ndp_claim(boost::asio::ip::make_address_v6("fd00::6")));
    EXPECT_TRUE(book.on_arp_claim(v4("10.0.0.9")));
    EXPECT_TRUE(book.on_arp_claim(v4("10.0.0.8")));
    EXPECT_TRUE(book.on_dhcp(ack("10.0.0.5")));
    EXPECT_THAT(shown(book), ElementsAre("10.0.0.5 dhcp", "10.0.0.9 arp", "10.0.0.8 arp",
                                         "fd00::5 neighbour", "fd00::6 ndp"));
}

TEST(AddressBook, WhatAGuestOnlyClaimsIsNotCredible) {
    const auto credible = [](const AddressBook& book) {
        std::vector<std::string> result;
        for (const auto& address : credible_addresses(book.addresses()))
            result.push_back(address.to_string());
        return result;
    };
    AddressBook book;
    book.on_agent(v4("10.0.0.1"));
    EXPECT_THAT(credible(book), IsEmpty());
    book.on_arp_claim(v4("10.0.0.2"));
    EXPECT_THAT(credible(book), ElementsAre("10.0.0.2")) << "there is nothing better";
    book.on_neighbour(v4("10.0.0.3"));
    EXPECT_THAT(credible(book), ElementsAre("10.0.0.3"));
    book.on_dhcp(ack("10.0.0.5"));
    EXPECT_THAT(credible(book), ElementsAre("10.0.0.5", "10.0.0.3"));
}

TEST(AddressBook, TheSameAddressIsListedOnce) {
    AddressBook book;
    EXPECT_TRUE(book.on_arp_claim(v4("10.0.0.5")));
    EXPECT_FALSE(book.on_arp_claim(v4("10.0.0.5")));
    EXPECT_FALSE(book.on_neighbour(v4("10.0.0.5")));
    EXPECT_TRUE(book.on_dhcp(ack("10.0.0.5"))) << "its source and lease are news";
    EXPECT_FALSE(book.on_arp_claim(v4("10.0.0.5")));
    EXPECT_THAT(shown(book), ElementsAre("10.0.0.5 dhcp"));
}

TEST(AddressBook, AnAddressSeenElsewhereGoesUnlessLeased) {
    AddressBook book;
    book.on_neighbour(v4("10.0.0.7"));
    book.on_dhcp(ack("10.0.0.5"));
    EXPECT_TRUE(book.on_taken_over(v4("10.0.0.7")));
    EXPECT_FALSE(book.on_taken_over(v4("10.0.0.7")));
    EXPECT_FALSE(book.on_taken_over(v4("10.0.0.5")));
    EXPECT_THAT(shown(book), ElementsAre("10.0.0.5 dhcp"));
}

TEST(AddressBook, AddressesOfNoUseAreNotListed) {
    AddressBook book;
    for (const auto* text :
         {"fe80::1", "::1", "::", "ff02::1", "::ffff:10.0.0.1", "0.0.0.0", "127.0.0.1"}) {
        EXPECT_FALSE(book.on_neighbour(boost::asio::ip::make_address(text))) << text;
    }
    EXPECT_THAT(shown(book), IsEmpty());
}

TEST(AddressBook, AGuestThatClaimsThousandsFillsNoMemoryAndKeepsItsLease) {
    AddressBook book;
    book.on_dhcp(ack("10.0.0.5"));
    for (std::uint32_t i = 0; i < 5000; ++i) {
        EXPECT_TRUE(book.on_arp_claim(Ipv4Address(0x0a010000U + i)));
    }
    EXPECT_EQ(book.addresses().size(), AddressBook::limit);
    EXPECT_EQ(book.addresses().front().address, v4("10.0.0.5"));
    EXPECT_EQ(book.addresses().back().address, Ipv4Address(0x0a010000U + 4999));
    for (std::uint32_t i = 0; i < 20; ++i) {
        boost::asio::ip::address_v6::bytes_type bytes{0xfd};
        bytes[15] = static_cast<unsigned char>(i);
        book.on_neighbour(boost::asio::ip::address_v6(bytes));
    }
    EXPECT_EQ(book.addresses().size(), AddressBook::limit);
    EXPECT_TRUE(book.on_dhcp(ack("10.0.0.6")));
    EXPECT_EQ(book.addresses().front().address, v4("10.0.0.6"));
}

}  // namespace
}  // namespace noxsup::netbridge
