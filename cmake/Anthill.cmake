# How each folder's library, program and tests are declared.

add_library(anthill_flags INTERFACE)
target_compile_options(anthill_flags INTERFACE
    -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
    -Wundef -Wvla -Wformat=2 -fno-math-errno -fno-omit-frame-pointer)
target_compile_definitions(anthill_flags INTERFACE
    _GNU_SOURCE ANTHILL_VERSION="${PROJECT_VERSION}")
target_include_directories(anthill_flags INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/generated)
if(ANTHILL_SANITIZE)
    target_compile_options(anthill_flags INTERFACE
        -fsanitize=${ANTHILL_SANITIZE} -fno-sanitize-recover=all)
    target_link_options(anthill_flags INTERFACE -fsanitize=${ANTHILL_SANITIZE})
else()
    # The programs name mallctl, so that --as-needed keeps jemalloc (see common/program.c).
    target_compile_definitions(anthill_flags INTERFACE ANTHILL_JEMALLOC=1)
    target_link_libraries(anthill_flags INTERFACE PkgConfig::jemalloc)
endif()

if(ANTHILL_FUZZ)
    target_compile_options(anthill_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# anthill_library(NAME FOLDER...): a static library of every .c file of the folders but *_main.c.
function(anthill_library name)
    set(sources)
    foreach(folder IN LISTS ARGN)
        file(GLOB found CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.c)
        list(APPEND sources ${found})
    endforeach()
    list(FILTER sources EXCLUDE REGEX "_main\\.c$")
    add_library(${name} STATIC ${sources})
    target_link_libraries(${name} PUBLIC anthill_flags)
endfunction()

# anthill_program(NAME SOURCE LIBRARY...): an executable in the build folder's bin/.
function(anthill_program name source)
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE ${ARGN})
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
endfunction()

# anthill_tests(FOLDER LABEL LIBRARY...): each *_test.c of the folder is one ctest test. The target
# `<label>_<folder>_tests` builds them all.
function(anthill_tests folder label)
    file(GLOB found CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*_test.c)
    string(REPLACE "/" "_" group ${folder}_tests)
    add_custom_target(${group})
    foreach(source IN LISTS found)
        get_filename_component(stem ${source} NAME_WE)
        add_executable(${stem} ${source})
        target_link_libraries(${stem} PRIVATE ${ARGN} anthill_support PkgConfig::cmocka)
        add_test(NAME ${stem} COMMAND ${stem})
        set_tests_properties(${stem} PROPERTIES LABELS ${label} TIMEOUT 300
            ENVIRONMENT "ANTHILL_SOURCE_DIR=${CMAKE_SOURCE_DIR};ANTHILL_BIN_DIR=${CMAKE_BINARY_DIR}/bin")
        add_dependencies(${group} ${stem})
    endforeach()
endfunction()
