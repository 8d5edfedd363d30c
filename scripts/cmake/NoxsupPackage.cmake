# The .deb: what CPack makes of `cmake --install`, with the rules of scripts/install/debian. scripts/package
# builds the tree for it (prefix /usr, C++ libraries static) and runs it.
set(debian ${CMAKE_SOURCE_DIR}/scripts/install/debian)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE arm64)
    set(qemu "qemu-system-arm (>= 1:7.2), qemu-efi-aarch64")
    set(CPACK_DEBIAN_PACKAGE_SUGGESTS "qemu-system-x86, ovmf, qemu-user-static | qemu-user-binfmt")
else()
    set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE amd64)
    set(qemu "qemu-system-x86 (>= 1:7.2), ovmf")
    set(CPACK_DEBIAN_PACKAGE_SUGGESTS "qemu-system-arm, qemu-efi-aarch64, qemu-user-static | qemu-user-binfmt")
endif()

# The tools of `noxsup image build`.
file(STRINGS ${CMAKE_SOURCE_DIR}/scripts/packages/image-build.txt tools REGEX "^[a-z0-9]")
# What `--network nat` runs.
list(APPEND tools dnsmasq-base)
list(JOIN tools ", " CPACK_DEBIAN_PACKAGE_RECOMMENDS)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME noxsup)
set(CPACK_PACKAGE_CONTACT "noxsup maintainers <maintainers@noxsup.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "supervisor of QEMU/KVM virtual machines without libvirt")
set(CPACK_PACKAGE_DESCRIPTION
"noxsup runs virtual machines on a Raspberry Pi 5, a minimal install or an appliance.
It launches QEMU directly, speaks QMP to it, makes qcow2 overlays over a shared image
cache and writes the cloud-init seed of each machine itself.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR}/package)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_SOURCE_DIR}/scripts/cmake/NoxsupPackageTree.cmake)
set(CPACK_THREADS 0)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
# dpkg-shlibdeps adds the shared libraries.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "${qemu}, qemu-utils, openssh-client, ca-certificates")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${debian}/postinst ${debian}/prerm ${debian}/postrm)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
