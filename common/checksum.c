#include "common/checksum.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/check.h"

enum { PIECE_BYTES = 1 << 20 };

uint64_t checksum_bytes(const void *data, size_t bytes)
{
    return XXH3_64bits(data, bytes);
}

enum status checksum_file(const char *path, uint64_t *checksum, struct error *error)
{
    enum status status = STATUS_OK;
    XXH3_state_t *state = XXH3_createState();
    void *piece = malloc(PIECE_BYTES);
    CHECK(state != NULL && piece != NULL);
    XXH3_64bits_reset(state);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        status = error_set_errno(error, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, errno,
                                 "cannot open %s", path);
        goto out;
    }
    for (;;) {
        ssize_t got = read(fd, piece, PIECE_BYTES);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            status = error_set_errno(error, STATUS_IO, errno, "cannot read %s", path);
            goto out;
        }
        if (got == 0) break;
        XXH3_64bits_update(state, piece, (size_t)got);
    }
    *checksum = XXH3_64bits_digest(state);
out:
    if (fd >= 0) close(fd);
    free(piece);
    XXH3_freeState(state);
    return status;
}
