/* The memory that a client shares with the shards on its host, its blocks (ps/shared_block.h) and
 * their states as the client sees them. Pure. */
#ifndef ANTHILL_PS_CLIENT_CLIENT_BLOCKS_H
#define ANTHILL_PS_CLIENT_CLIENT_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/region.h"
#include "common/wire.h"
#include "ps/client/client_part.h"

/* Zero-initialised shares nothing. */
struct client_blocks {
    unsigned char *base; /* NULL: nothing is shared */
    Anthill__SharedMemory where;
    struct region region; /* what stands behind the blocks */
    uint32_t *free_numbers;
    uint32_t free_count;
    bool (*ended)(uint32_t process); /* NULL: whoever is replaced has */
};

/*   base     borrowed; where->bytes of it, more than SHARED_BLOCKS_END */
void client_blocks_init(struct client_blocks *blocks, void *base,
                        const Anthill__SharedMemory *where);
void client_blocks_deinit(struct client_blocks *blocks);

/* Gives the part a block and offers it to the shard: keys[key_count], positions (NULL: none) and
 * `rows`, where place 0 is, all in the shared memory. False: every block is in use. */
bool client_blocks_offer(struct client_blocks *blocks, struct part *part, const uint64_t *keys,
                         const uint32_t *positions, const float *rows);

/* Offers it anew, to another process and under the id that the part has now: no shard may be at it.
 */
void client_blocks_offer_again(struct client_blocks *blocks, const struct part *part);

/* Whether the shard has done what the part asks for; whether it is at it. */
bool client_blocks_done(const struct client_blocks *blocks, const struct part *part);
bool client_blocks_taken(const struct client_blocks *blocks, const struct part *part);

/* Whether the process that the part was sent to last has ended. */
bool client_blocks_left(const struct client_blocks *blocks, const struct part *part);

/* True when no shard touches the part's rows from here on; false while one does. */
bool client_blocks_withdraw(struct client_blocks *blocks, const struct part *part);

/* Takes the part's block back; no shard may be at it. A part without one is left alone. */
void client_blocks_give(struct client_blocks *blocks, struct part *part);

/* Turns a part that stands in a block into one whose payload is frames. Ends the process when
 * memory is used up. */
void client_blocks_leave(struct client_blocks *blocks, struct part *part);

#endif
