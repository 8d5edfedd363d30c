# noxsup_test(NAME LABEL unit|component|e2e TIMEOUT seconds SOURCES ... LIBRARIES ...)
# One GoogleTest program. Unit tests touch nothing outside their process, so that a program of them is one ctest
# test: starting it for each of a thousand cases costs more than they do. Of the others every case is a test of its
# own. TIMEOUT defaults to 60, for a program of unit tests to 300. ctest's own discovery runs at test time, so a
# build needs no program to be run.
include(GoogleTest)

function(noxsup_test name)
    cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "SOURCES;LIBRARIES" ${ARGN})
    if(NOT ARG_TIMEOUT AND ARG_LABEL STREQUAL "unit")
        set(ARG_TIMEOUT 300)
    elseif(NOT ARG_TIMEOUT)
        set(ARG_TIMEOUT 60)
    endif()
    # ThreadSanitizer makes what computes ten times slower.
    if(NOXSUP_SANITIZE MATCHES "thread")
        math(EXPR ARG_TIMEOUT "${ARG_TIMEOUT} * 5")
    endif()
    add_executable(${name} ${ARG_SOURCES})
    noxsup_use_pch(${name} noxsup_test_pch)
    target_link_libraries(${name} PRIVATE noxsup_options ${ARG_LIBRARIES} noxsup_test_support
                                          GTest::gmock GTest::gtest_main)
    # GoogleTest's macros are not written for these two.
    target_compile_options(${name} PRIVATE -Wno-sign-conversion -Wno-conversion)
    set(properties LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT})
    if(ARG_LABEL STREQUAL "unit")
        add_dependencies(noxsup_unit_tests ${name})
        add_test(NAME ${name} COMMAND ${name})
        set_tests_properties(${name} PROPERTIES ${properties})
        return()
    endif()
    gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 TEST_PREFIX "${name}."
                         PROPERTIES ${properties})
endfunction()
