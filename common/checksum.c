#include "common/checksum.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/check.h"

enum { PIECE_BYTES = 64 << 10 }; /* stays in the cache while it is summed */

uint64_t checksum_bytes(const void *data, size_t bytes)
{
    return XXH3_64bits(data, bytes);
}

struct checksum *checksum_create(void)
{
    XXH3_state_t *state = XXH3_createState();
    CHECK(state != NULL);
    XXH3_64bits_reset(state);
    return (struct checksum *)state;
}

void checksum_destroy(struct checksum *checksum)
{
    XXH3_freeState((XXH3_state_t *)checksum);
}

void checksum_add(struct checksum *checksum, const void *data, size_t bytes)
{
    XXH3_64bits_update((XXH3_state_t *)checksum, data, bytes);
}

uint64_t checksum_value(const struct checksum *checksum)
{
    return XXH3_64bits_digest((const XXH3_state_t *)checksum);
}

/* Adds bytes [begin, end) of the file, or fewer when it is shorter. */
static enum status add_range(struct checksum *checksum, int fd, uint64_t begin, uint64_t end,
                             void *piece, const char *path, struct error *error)
{
    while (begin < end) {
        uint64_t wanted = end - begin < PIECE_BYTES ? end - begin : PIECE_BYTES;
        ssize_t got = pread(fd, piece, wanted, (off_t)begin);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_set_errno(error, STATUS_IO, errno, "cannot read %s", path);
        if (got == 0) break;
        checksum_add(checksum, piece, (size_t)got);
        begin += (uint64_t)got;
    }
    return STATUS_OK;
}

enum status checksum_file_from(const char *path, uint64_t first, uint64_t *value,
                               struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return error_set_errno(error, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, errno,
                               "cannot open %s", path);
    }
    struct checksum *checksum = checksum_create();
    void *piece = malloc(PIECE_BYTES);
    CHECK(piece != NULL);
    enum status status = add_range(checksum, fd, first, INT64_MAX, piece, path, error);
    if (status == STATUS_OK) status = add_range(checksum, fd, 0, first, piece, path, error);
    if (status == STATUS_OK) *value = checksum_value(checksum);
    close(fd);
    free(piece);
    checksum_destroy(checksum);
    return status;
}

enum status checksum_file(const char *path, uint64_t *checksum, struct error *error)
{
    return checksum_file_from(path, 0, checksum, error);
}
