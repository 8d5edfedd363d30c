# Builds for arm64 on another machine, with Debian's cross compiler and the arm64 development packages that
# scripts/packages/cross-arm64*.txt name (scripts/package --arch arm64 --prepare installs them).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
# Where Debian keeps this architecture's libraries and CMake files; the host's own are below another name.
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig)
# The few packages that do not install beside the host's own.
list(PREPEND CMAKE_PREFIX_PATH ${CMAKE_CURRENT_LIST_DIR}/../../build/cross/arm64/usr)

# Runs the unit tests, and the program itself for its completions. The loader and the libraries of the
# arm64 packages lie where the emulated programs look for them.
find_program(NOXSUP_QEMU_AARCH64 NAMES qemu-aarch64-static qemu-aarch64)
if(NOXSUP_QEMU_AARCH64)
    set(CMAKE_CROSSCOMPILING_EMULATOR ${NOXSUP_QEMU_AARCH64})
endif()
