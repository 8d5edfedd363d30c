# noxsup_test(NAME LABEL unit|component|e2e TIMEOUT seconds SOURCES ... LIBRARIES ...)
# One GoogleTest program; every case is a ctest test of its own, with the label and the timeout. TIMEOUT
# defaults to 60. ctest's own discovery runs at test time, so a build needs no program to be run.
include(GoogleTest)

function(noxsup_test name)
    cmake_parse_arguments(ARG "SERIAL" "LABEL;TIMEOUT" "SOURCES;LIBRARIES" ${ARGN})
    if(NOT ARG_TIMEOUT)
        set(ARG_TIMEOUT 60)
    endif()
    # ThreadSanitizer makes what computes ten times slower.
    if(NOXSUP_SANITIZE MATCHES "thread")
        math(EXPR ARG_TIMEOUT "${ARG_TIMEOUT} * 5")
    endif()
    add_executable(${name} ${ARG_SOURCES})
    noxsup_use_pch(${name})
    target_link_libraries(${name} PRIVATE noxsup_options ${ARG_LIBRARIES} noxsup_test_support
                                          GTest::gmock GTest::gtest_main)
    # GoogleTest's macros are not written for these two.
    target_compile_options(${name} PRIVATE -Wno-sign-conversion -Wno-conversion)
    target_compile_definitions(${name} PRIVATE NOXSUP_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                                               NOXSUP_BINARY_DIR="${CMAKE_BINARY_DIR}")
    if(ARG_LABEL STREQUAL "unit")
        add_dependencies(noxsup_unit_tests ${name})
    endif()
    set(properties LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT})
    if(ARG_SERIAL)
        list(APPEND properties RUN_SERIAL ON)
    endif()
    gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 TEST_PREFIX "${name}."
                         PROPERTIES ${properties})
endfunction()
