// The precompiled header of the tests: that of all, and GoogleTest.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "supervisor/base/precompiled.hpp"
