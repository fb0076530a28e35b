/* A pull or push as its caller sees it, cut into parts by the shard that owns each key, and put
 * together again. Pure. */
#ifndef ANTHILL_PS_CLIENT_CLIENT_REQUEST_H
#define ANTHILL_PS_CLIENT_CLIENT_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "ps/client/client_link.h"
#include "ps/client/client_part.h"

/* Where the rows of a table stand in the caller's array. A sparse table's are `dim` floats each, in
 * the order of the request's keys. A dense table is always requested whole: its keys are known and
 * chunk i begins at offsets[i]. */
struct table_layout {
    uint32_t dim;         /* sparse; 0: dense */
    uint32_t chunk_count; /* dense */
    uint64_t *keys;       /* [chunk_count] */
    uint64_t *offsets;    /* [chunk_count + 1] */
};

/* Ends the process when memory is used up. */
void table_layout_init(struct table_layout *layout, const Anthill__TableSpec *spec);
void table_layout_deinit(struct table_layout *layout);

struct request {
    struct request *next, *previous; /* of those under way, or failed and not yet asked for */
    uint64_t ticket;
    enum part_kind kind;
    uint32_t parts_left;
    const struct table_layout *layout;
    float *rows;         /* pull: the caller's */
    uint32_t *positions; /* owned: its rows' places, sorted by shard; NULL for a single shard */
    enum status status;
    struct error error; /* when status is not STATUS_OK */
};

/* What a request is cut by. */
struct request_cut {
    struct client_link *links;
    uint32_t link_count;
    const uint32_t *owners; /* [slot_count] index into links */
    uint32_t slot_count;
    uint32_t *shard_of; /* scratch */
    uint32_t shard_of_capacity;
    uint32_t *starts; /* [link_count + 1] scratch */
};

/* Makes the request's parts, each a copy of `model` with its keys (and gradients), and adds them to
 * their links.
 *   shapes   keys[key_count]; grads as the layout says, NULL for a pull
 *   errors   STATUS_NOMEM: no part is added */
enum status request_cut(struct request *request, struct request_cut *cut, struct part_pool *pool,
                        const struct part *model, const uint64_t *keys, uint32_t key_count,
                        const float *grads, struct error *error) MUST_CHECK;

/* Copies a pull's answer to the caller's rows.
 *   errors   STATUS_CORRUPT when the payload is not what was asked for */
enum status request_put_rows(struct request *request, const struct part *part,
                             const struct message *message, struct error *error) MUST_CHECK;

#endif
