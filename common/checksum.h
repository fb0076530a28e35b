/* XXH3-64 checksums of memory and of files. */
#ifndef ANTHILL_COMMON_CHECKSUM_H
#define ANTHILL_COMMON_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

uint64_t checksum_bytes(const void *data, size_t bytes);

/* Of the whole file, read in pieces.
 *   errors   STATUS_NOT_FOUND, STATUS_IO, with the path in the text */
enum status checksum_file(const char *path, uint64_t *checksum, struct error *error) MUST_CHECK;

#endif
