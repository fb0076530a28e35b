/* Memory that two processes of one host have in common: a memfd, which has no name and is gone when
 * both have ended, however they end. The one that makes it says where it is; the other maps it
 * through /proc/PID/fd/FD, which the system allows to the same user. Nobody can shrink it, so
 * touching it cannot fail. What stands in it may change at any time: the other side is not to be
 * trusted with more than the bytes. */
#ifndef ANTHILL_COMMON_SHARED_MEMORY_H
#define ANTHILL_COMMON_SHARED_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

#define SHARED_MEMORY_HEADER_BYTES 64u /* at the beginning: taken, not to be written */
#define SHARED_MEMORY_BYTES_MAX    (UINT64_C(1) << 38)

struct shared_memory {
    void *base;
    uint64_t bytes;
    uint64_t nonce;
    int fd; /* -1: of another process */
};

/* Makes memory of `bytes` bytes (whole pages); pages are there once they are touched.
 *   errors   STATUS_INVALID for a size that cannot be, STATUS_DENIED for one that the process may
 *            not have; STATUS_NOMEM, STATUS_IO */
enum status shared_memory_init(struct shared_memory *memory, uint64_t bytes,
                               struct error *error) MUST_CHECK;

/* Maps the memory that process `pid` has under `fd`.
 *   errors   STATUS_NOT_FOUND or STATUS_DENIED when there is no such file to this process;
 *            STATUS_INVALID when it is no memory of this size that cannot shrink, or has another
 *            nonce; STATUS_NOMEM */
enum status shared_memory_map(struct shared_memory *memory, uint32_t pid, uint32_t fd,
                              uint64_t bytes, uint64_t nonce, struct error *error) MUST_CHECK;

/* False when process `pid` has nothing under `fd`: it has closed its memory, or ended. */
bool shared_memory_is_open(uint32_t pid, uint32_t fd);

/* True when process `pid` has ended: no thread of it touches memory any more. False when that
 * cannot be told. */
bool shared_memory_process_ended(uint32_t pid);

/* Zeroed memory is left alone. */
void shared_memory_deinit(struct shared_memory *memory);

#endif
