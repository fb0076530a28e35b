/* A pull or push as its caller sees it, cut into parts by the shard that owns each key, and put
 * together again. Pure. */
#ifndef ANTHILL_PS_CLIENT_CLIENT_REQUEST_H
#define ANTHILL_PS_CLIENT_CLIENT_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "ps/client/client_link.h"
#include "ps/client/client_part.h"
#include "ps/client/client_scan.h"

/* Where the rows of a table stand in the caller's array. A sparse table's are `dim` floats each, in
 * the order of the request's keys. A dense table is always requested whole: its keys are known and
 * chunk i begins at offsets[i]. */
struct table_layout {
    uint32_t dim;               /* sparse; 0: dense */
    Anthill__Encoding encoding; /* of rows in frames */
    uint32_t chunk_count;       /* dense */
    uint64_t *keys;             /* [chunk_count] */
    uint64_t *offsets;          /* [chunk_count + 1] */
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
    float *rows;        /* pull: the caller's */
    const float *grads; /* push, assign: the caller's; its own while parts stand in blocks */
    Anthill__Encoding encoding; /* of rows in frames */
    uint32_t *versions;         /* conditional pull: the caller's, in and out */
    struct client_scan *scan;   /* the caller's, as are */
    uint64_t *scan_keys;
    uint32_t *scan_count;
    Anthill__DescribeReply **description;
    uint64_t *deleted;   /* NULL: nobody wants to know */
    uint32_t *positions; /* its rows' places, sorted by shard; NULL for a single shard */
    uint64_t *keys;      /* in the same order; NULL when no part stands in a block */
    void *lists;         /* owned: positions and keys */
    bool shares;         /* lists are in the shared memory, as are rows and grads */
    enum status status;
    struct error error; /* when status is not STATUS_OK: its parts end, too */
};

/* Frees what request_cut took; its parts have ended. */
void request_deinit(struct request *request, struct client_blocks *blocks);

/* What a request is cut by. */
struct request_cut {
    struct client_link *links;
    uint32_t link_count;
    const uint32_t *owners; /* [slot_count] index into links */
    uint32_t slot_count;
    struct client_blocks *blocks; /* of the same client */
    const struct pull_moments *moments;
    uint32_t *shard_of; /* scratch */
    uint32_t shard_of_capacity;
    uint32_t *starts; /* [link_count + 1] scratch */
};

/* Makes the request's parts, each a copy of `model` with its keys (and gradients), and adds them to
 * their links. Where the caller's rows or gradients lie in shared memory and the shard has it,
 * parts stand in blocks and nothing but keys is copied. shapes   keys[key_count]; request->grads as
 * the layout says, NULL for a pull errors   STATUS_NOMEM: no part is added */
enum status request_cut(struct request *request, struct request_cut *cut, struct part_pool *pool,
                        const struct part *model, const uint64_t *keys, uint32_t key_count,
                        struct error *error) MUST_CHECK;

/* Decodes a pull's answer into the caller's rows, where the shard has not put them itself.
 *   errors   STATUS_CORRUPT when the payload is not what was asked for */
enum status request_put_rows(struct request *request, const struct part *part,
                             const struct message *message, struct error *error) MUST_CHECK;

/* Copies a scan's answer to the caller's keys and moves the scan on, over `link_count` links.
 *   errors   STATUS_CORRUPT as above */
enum status request_put_keys(struct request *request, const struct part *part,
                             const struct message *message, uint32_t link_count,
                             struct error *error) MUST_CHECK;

/* Hands a copy of what the shard says of a table to the caller.
 *   errors   STATUS_CORRUPT for what cannot be copied; STATUS_NOMEM */
enum status request_put_description(struct request *request, const struct message *message,
                                    struct error *error) MUST_CHECK;

#endif
