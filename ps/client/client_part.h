/* A part: the piece of a request that goes to one shard in one message, and what is remembered
 * until its answer is there. Pure. */
#ifndef ANTHILL_PS_CLIENT_CLIENT_PART_H
#define ANTHILL_PS_CLIENT_CLIENT_PART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/wire.h"
#include "ps/client/pull_moments.h"

struct request;

enum part_kind {
    PART_PULL,
    PART_SCAN,
    PART_DESCRIBE,
    PART_PUSH,
    PART_ASSIGN,
    PART_DELETE,
    PART_ADVANCE
};

/* Kinds that change nothing, may go in any order and are given up with their request. */
static inline bool part_kind_reads(enum part_kind kind)
{
    return kind == PART_PULL || kind == PART_SCAN || kind == PART_DESCRIBE;
}

/* Keys and values of a part. Every copy that is on its way holds a reference, so that a part can
 * be sent again without copying and may end while an old copy is still being sent. */
struct part_buffer;

/* keys[key_count] and value_bytes of rows (pushes) or versions (conditional pulls), to be filled
 * in. owner    returns owned; part_buffer_unref; NULL when memory is used up */
struct part_buffer *part_buffer_create(uint32_t key_count, size_t value_bytes);
void part_buffer_unref(struct part_buffer *buffer);
uint64_t *part_buffer_keys(struct part_buffer *buffer);
void *part_buffer_values(struct part_buffer *buffer);
/* Frames that share the buffer; each holds a reference until it is released. */
struct frame part_buffer_keys_frame(struct part_buffer *buffer);
struct frame part_buffer_values_frame(struct part_buffer *buffer);

struct part {
    struct part *next, *previous; /* in one of its link's lists */
    uint64_t id;                  /* Envelope.request */
    uint32_t link;                /* which */
    enum part_kind kind;
    struct request *request;    /* NULL: nobody waits for it */
    struct part_buffer *buffer; /* its frames; NULL while it stands in a block */
    uint32_t block;             /* of the shared memory; 0: none */
    const uint64_t *block_keys; /* [key_count] in the shared memory */
    const float *block_rows;    /* place 0 there */
    bool ended;                 /* in no list; not to be ended again */
    bool left_block;            /* it stood in one before */
    uint64_t incarnation;       /* of the shard, when it was last sent, ... */
    uint32_t process;           /* ... and its process, where that shares memory; 0: not known */
    uint64_t stuck_ns;          /* since when the primary before is at its rows; 0: it is not */
    uint64_t lingers_ns;        /* since when it has ended but for a shard that is at its rows */
    uint32_t table;
    uint32_t key_count;
    uint32_t dim;               /* sparse tables */
    Anthill__Encoding encoding; /* of rows in frames */
    size_t value_bytes;         /* of rows in a frame */
    uint64_t cursor;            /* of a scan */
    const char *name;           /* of a table to be described: the caller's */
    bool conditional;           /* a pull whose buffer has versions, u32[key_count], as values */
    uint32_t behind;
    uint64_t restarts;         /* of shards, when those versions were true */
    const uint32_t *positions; /* [key_count] where its rows stand in the request; NULL: */
    uint32_t first;            /* one after the other from here */
    uint64_t clock;
    uint64_t order;     /* in which the parts of its link were added */
    bool awaits_entry;  /* kept back until the session has entered; `clock` is a guess until then */
    bool enters, leave; /* of an advance */
    bool read_only;
    float rate_scale;
    struct pull_moment pulled;                /* a push: of the pull that it follows */
    bool continues;                           /* it is not the first of its push on this shard */
    uint64_t sequence;                        /* push and advance, once sent */
    uint64_t first_sent_ns, due_ns, delay_ns; /* of the next copy */
    uint64_t refused_ns, refused_delay_ns;    /* since when the shard says STATUS_BUSY; 0: not */
    uint64_t busy_ns;                         /* when it said so last */
    unsigned unknown;                         /* how often the shard did not know the session */
    unsigned copies;
};

/* A doubly linked list of parts. Zero-initialised is empty. */
struct part_list {
    struct part *head, *tail;
    uint32_t count;
};

void part_list_append(struct part_list *list, struct part *part);
void part_list_prepend(struct part_list *list, struct part *part);
void part_list_remove(struct part_list *list, struct part *part);

/* All parts of a client, found by their id. Zero-initialised is empty. */
struct part_pool {
    struct part **slots;
    uint32_t *free_slots;
    uint32_t capacity, free_count;
    uint64_t serial;
};

/* A zeroed part with an id that no other part of this client had; ends the process when memory is
 * used up. */
struct part *part_pool_take(struct part_pool *pool);
/* Gives it an id that no part had before: answers to its copies are not heard any more. */
void part_pool_renew(struct part_pool *pool, struct part *part);
/* Frees it and drops its buffer. */
void part_pool_give(struct part_pool *pool, struct part *part);
/* NULL when the part has ended. */
struct part *part_pool_find(const struct part_pool *pool, uint64_t id);
/* The first part in a slot from *slot on, for walks over all: start with 0; NULL: no more. */
struct part *part_pool_next(const struct part_pool *pool, uint32_t *slot);
void part_pool_deinit(struct part_pool *pool);

#endif
