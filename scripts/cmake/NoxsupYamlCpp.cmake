# yaml-cpp as a target of that name: the shared library, or with NOXSUP_STATIC_CXX the static one, which
# Debian's package has but does not tell CMake of.
if(NOT NOXSUP_STATIC_CXX)
    find_package(yaml-cpp REQUIRED)
elseif(NOT TARGET yaml-cpp)
    find_library(NOXSUP_YAML_CPP_LIBRARY libyaml-cpp.a REQUIRED)
    find_path(NOXSUP_YAML_CPP_INCLUDE yaml-cpp/yaml.h REQUIRED)
    add_library(yaml-cpp STATIC IMPORTED GLOBAL)
    set_target_properties(yaml-cpp PROPERTIES IMPORTED_LOCATION ${NOXSUP_YAML_CPP_LIBRARY}
                                              INTERFACE_INCLUDE_DIRECTORIES ${NOXSUP_YAML_CPP_INCLUDE})
endif()
