# Compiler settings shared by every target, as one interface target, and the helpers that make targets.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)

find_program(NOXSUP_CCACHE ccache)
if(NOXSUP_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    # base_dir and nohashdir let two clones share objects; the sloppiness is what ccache asks for with a
    # precompiled header.
    set(CMAKE_CXX_COMPILER_LAUNCHER
        ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1
        CCACHE_SLOPPINESS=pch_defines,time_macros
        ${NOXSUP_CCACHE})
endif()

add_library(noxsup_options INTERFACE)
target_include_directories(noxsup_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(noxsup_options INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
    -Wold-style-cast -Wcast-qual -Woverloaded-virtual -Wimplicit-fallthrough -Wextra-semi)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Asio's coroutine frames are taken from and given back to its own recycling allocator, of which GCC
    # sees only one half when it inlines.
    target_compile_options(noxsup_options INTERFACE
        -fpch-preprocess -Wduplicated-cond -Wlogical-op -Wno-mismatched-new-delete)
endif()
if(NOXSUP_WERROR)
    target_compile_options(noxsup_options INTERFACE -Werror)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
    # -g1 keeps symbols and lines in sanitizer reports at a third of the build time of -g.
    set(CMAKE_CXX_FLAGS_DEBUG "-g1 -O0")
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
    target_compile_definitions(noxsup_options INTERFACE _FORTIFY_SOURCE=2 _GLIBCXX_ASSERTIONS)
    target_compile_options(noxsup_options INTERFACE -fstack-protector-strong)
    target_link_options(noxsup_options INTERFACE -Wl,-z,relro,-z,now)
    # Small hosts: what nothing calls is left out.
    target_compile_options(noxsup_options INTERFACE -ffunction-sections -fdata-sections)
    target_link_options(noxsup_options INTERFACE -Wl,--gc-sections)
    # And what is called takes 40% less code than with -O2: the supervisor waits for others, and its code is most of
    # the memory that it takes.
    set(CMAKE_CXX_FLAGS_RELEASE "-Os")
endif()
if(NOXSUP_STATIC_CXX)
    # In packages functions of the same code are there once, where the linker that can do so is installed: coroutines
    # and templates have many, 6% of the program.
    include(CheckCXXSourceCompiles)
    set(CMAKE_REQUIRED_LINK_OPTIONS -fuse-ld=gold -Wl,--icf=safe)
    check_cxx_source_compiles("int main() { return 0; }" NOXSUP_CAN_FOLD)
    unset(CMAKE_REQUIRED_LINK_OPTIONS)
    if(NOXSUP_CAN_FOLD)
        target_link_options(noxsup_options INTERFACE -fuse-ld=gold -Wl,--icf=safe)
    endif()
endif()
# A binary loads only the shared libraries it calls: `noxsup list` must not pay for the worker's.
target_link_options(noxsup_options INTERFACE -Wl,--as-needed)
if(NOXSUP_SANITIZE)
    target_compile_options(noxsup_options INTERFACE
        -fsanitize=${NOXSUP_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(noxsup_options INTERFACE -fsanitize=${NOXSUP_SANITIZE})
    # Programs of some hundred megabytes, one for each directory of tests. A third of each, and of the time that each
    # test takes to begin, are relocations, which programs at a place of their own have none of; and LLVM's linker takes
    # half the time.
    target_link_options(noxsup_options INTERFACE -no-pie)
    include(CheckLinkerFlag)
    check_linker_flag(CXX -fuse-ld=lld NOXSUP_HAS_LLD)
    if(NOXSUP_HAS_LLD)
        target_link_options(noxsup_options INTERFACE -fuse-ld=lld)
    endif()
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        # A tenth of the time went into tidying a heap that fits into what a job is given anyway (build_jobs).
        target_compile_options(noxsup_options INTERFACE --param=ggc-min-heapsize=600000)
    endif()
    if(NOXSUP_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        # Asio holds a fence, of which this sanitizer knows nothing; no code of ours does.
        target_compile_options(noxsup_options INTERFACE -Wno-tsan)
    endif()
endif()
target_compile_definitions(noxsup_options INTERFACE
    BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_HAS_CO_AWAIT NOXSUP_VERSION="${PROJECT_VERSION}")
if(NOT NOXSUP_FUZZ)
    # What of Asio is no template is compiled once, in supervisor/base/asio.cpp.
    target_compile_definitions(noxsup_options INTERFACE BOOST_ASIO_SEPARATE_COMPILATION)
endif()

# noxsup_library(NAME SOURCES... ): a static library with our warnings and the shared precompiled header.
function(noxsup_library name)
    add_library(${name} STATIC ${ARGN})
    target_link_libraries(${name} PUBLIC noxsup_options)
    noxsup_use_pch(${name})
endfunction()

# noxsup_use_pch(NAME [PCH]): the one precompiled header (Asio and JSON), compiled once and reused by every target; or
# PCH in its place.
function(noxsup_use_pch name)
    set(pch noxsup_pch)
    if(ARGC GREATER 1)
        set(pch ${ARGV1})
    endif()
    if(TARGET ${pch})
        target_link_libraries(${name} PRIVATE Boost::headers nlohmann_json::nlohmann_json Threads::Threads)
        target_precompile_headers(${name} REUSE_FROM ${pch})
    endif()
endfunction()
