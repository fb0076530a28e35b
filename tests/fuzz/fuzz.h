/* What the fuzz targets share. A target is one file with LLVMFuzzerTestOneInput: libFuzzer drives
 * it in the `fuzz` preset, replay.c in every other. */
#ifndef ANTHILL_TESTS_FUZZ_FUZZ_H
#define ANTHILL_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* What is left of an input. */
struct fuzz_input {
    const uint8_t *data;
    size_t bytes;
};

/* The next byte, 0 where there is none. */
uint8_t fuzz_byte(struct fuzz_input *input);
/* The next little-endian number of `count` bytes; those that are not there are 0. */
uint64_t fuzz_number(struct fuzz_input *input, unsigned count);
/* At most the next `bytes`. */
struct fuzz_input fuzz_take(struct fuzz_input *input, size_t bytes);
/* Up to the next line of FUZZ_CUT, which is passed over: readable where the parts are text, and
 * whole whatever is put in before it. Without one, all that is left. */
#define FUZZ_CUT "~~~~"
struct fuzz_input fuzz_part(struct fuzz_input *input);

/* A folder of this process in memory (/dev/shm, else /tmp), empty after each call of fuzz_folder
 * and removed at exit. */
const char *fuzz_folder(void);
/* The path of `name` in it; good until eight further calls. */
const char *fuzz_path(const char *name);
/* Writes the file and the folders above it. */
void fuzz_write(const char *name, struct fuzz_input content);

/* Writes the files of an archive: each begins with a line FUZZ_CUT and its path, which stays inside
 * the folder (others are left out). */
void fuzz_unpack(struct fuzz_input archive);

/* Rewrites the YAML file `name` so that the sizes and checksums in it are those of the files that
 * it lists (of folders: of their manifests), and its seal fits. What is refused for nothing but a
 * checksum does not hide what comes after. */
enum fuzz_checksums { FUZZ_OF_GRAPH, FUZZ_OF_CHECKPOINT };
void fuzz_fix_manifest(const char *name, enum fuzz_checksums kind);

#endif
