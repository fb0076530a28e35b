/* XXH3-64 checksums of memory, of streams and of files. */
#ifndef ANTHILL_COMMON_CHECKSUM_H
#define ANTHILL_COMMON_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

uint64_t checksum_bytes(const void *data, size_t bytes);

/* Of bytes that come one after the other.
 *   owner    returns owned; checksum_destroy. Ends the process when memory is used up */
struct checksum;
struct checksum *checksum_create(void);
void checksum_destroy(struct checksum *checksum);
void checksum_add(struct checksum *checksum, const void *data, size_t bytes);
uint64_t checksum_value(const struct checksum *checksum);

/* Of the whole file, read in pieces.
 *   errors   STATUS_NOT_FOUND, STATUS_IO, with the path in the text */
enum status checksum_file(const char *path, uint64_t *checksum, struct error *error) MUST_CHECK;

/* Of the file's bytes from `first` on, then of those before it. */
enum status checksum_file_from(const char *path, uint64_t first, uint64_t *checksum,
                               struct error *error) MUST_CHECK;

#endif
