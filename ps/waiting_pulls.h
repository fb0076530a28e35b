/* Pulls that are too far ahead of the slowest trainer, kept until they may be answered. Bounded per
 * session and in bytes. Pure. */
#ifndef ANTHILL_PS_WAITING_PULLS_H
#define ANTHILL_PS_WAITING_PULLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/wire.pb-c.h"
#include "ps/unaligned.h"

#define WAITING_PULLS_PER_SESSION 64u
#define WAITING_BYTES_MAX         (UINT64_C(256) << 20)

struct waiting_pull {
    uint64_t peer, request, session, clock;
    uint32_t table, key_count;
    Anthill__Encoding encoding;
    uint64_t value_bytes;
    bool read_only;
    uint64_t *keys;    /* owned */
    uint32_t *numbers; /* behind the keys: positions of a block, else versions held; NULL: none */
    uint32_t behind;   /* with versions */
    uint32_t block;    /* of shared memory; 0: none */
    uint64_t rows;     /* in a block: offset in the memory */
};

/* Zero-initialised is empty. In the order of arrival. */
struct waiting_pulls {
    struct waiting_pull *items;
    uint32_t count, capacity;
    uint64_t bytes;
};

void waiting_pulls_deinit(struct waiting_pulls *pulls);

/* The pull that waits under this session and request number; NULL: none. */
struct waiting_pull *waiting_pulls_find(const struct waiting_pulls *pulls, uint64_t session,
                                        uint64_t request);

/* Adds a copy of `pull` with its keys copied from `keys`, and u32 numbers[key_count] from any byte
 * unless they are NULL.
 *   errors   STATUS_BUSY when WAITING_BYTES_MAX wait, STATUS_NOMEM */
enum status waiting_pulls_add(struct waiting_pulls *pulls, const struct waiting_pull *pull,
                              const uint64_unaligned *keys, const void *numbers) MUST_CHECK;

/* Removes item `place`; its keys are freed, the order is kept. */
void waiting_pulls_remove(struct waiting_pulls *pulls, uint32_t place);

#endif
