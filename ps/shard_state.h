/* What a shard is made of. For shard*.c only. Pure. */
#ifndef ANTHILL_PS_SHARD_STATE_H
#define ANTHILL_PS_SHARD_STATE_H

#include "ps/change_log.h"
#include "ps/gradient_ages.h"
#include "ps/gradient_sums.h"
#include "ps/session_set.h"
#include "ps/shard.h"
#include "ps/shared_block.h"
#include "ps/staleness.h"
#include "ps/table.h"
#include "ps/waiting_pulls.h"

#define SHARD_TABLES_MAX   1024u
#define SHARD_MEMORIES_MAX 1024u

struct shard_table {
    struct table *table;
    struct gradient_sums sums; /* bsp */
    struct row_events events;  /* of this request, while changes are logged */
    struct gradient_ages ages;
};

struct shard {
    struct shard_options options;
    uint64_t now_ns;      /* of the last call that said it */
    uint64_t map_version; /* 0: any */
    struct shard_table *tables;
    uint32_t table_count, table_capacity;
    uint32_t tables_ticked; /* the first so many know the time */
    struct change_log *log; /* NULL: nobody keeps a copy */
    uint32_t tables_logged; /* the first so many are in the log */
    bool copy;              /* of a shard elsewhere: it follows that one's changes */
    struct session_set sessions;
    struct staleness staleness;
    struct waiting_pulls waiting;
    uint32_t memories;
    uint64_t
        *block_keys; /* [SHARED_BLOCK_KEYS_MAX], and as many positions behind; NULL: none yet */
    uint64_t pulls, pushes, pulled_rows, pushed_rows, repeated_pushes, refused;
    uint64_t sessions_expired;
};

/* ---- requests ------------------------------------------------------------------------------- */

/* One request and where its answer goes. */
struct shard_request {
    const struct message *message;
    const Anthill__Envelope *envelope;
    struct session *session; /* NULL for Hello */
    struct outbox *outbox;
};

/* Put the reply `body_case` (which the caller has filled in) or an error. */
void shard_reply(const struct shard_request *request, Anthill__Envelope *reply,
                 struct frame *payload, unsigned payload_count);
void shard_refuse(struct shard *shard, uint64_t peer, uint64_t request, const struct error *error,
                  struct outbox *outbox);

/* The requests: each puts its reply, or returns why there is none. */
enum status shard_hello(struct shard *shard, struct shard_request *request, uint64_t now_ns,
                        struct error *error) MUST_CHECK;
enum status shard_pull(struct shard *shard, const struct shard_request *request,
                       struct error *error) MUST_CHECK;
enum status shard_push(struct shard *shard, const struct shard_request *request,
                       struct error *error) MUST_CHECK;
enum status shard_advance(struct shard *shard, const struct shard_request *request,
                          struct error *error) MUST_CHECK;
enum status shard_assign(struct shard *shard, const struct shard_request *request,
                         struct error *error) MUST_CHECK;
enum status shard_delete(struct shard *shard, const struct shard_request *request,
                         struct error *error) MUST_CHECK;
enum status shard_scan(struct shard *shard, const struct shard_request *request,
                       struct error *error) MUST_CHECK;
enum status shard_describe(struct shard *shard, const struct shard_request *request,
                           struct error *error) MUST_CHECK;

/* ---- shared memory (shard_memory.c) --------------------------------------------------------- */

/* What a request's block says, copied out and checked. */
struct block_part {
    struct shared_block *block; /* NULL: the payload is in frames */
    uint64_t id;
    enum block_phase phase;    /* BLOCK_PENDING: to be done; BLOCK_DONE: has been; 0: out of date */
    const uint64_t *keys;      /* [key_count] until the next block is read */
    const uint32_t *positions; /* [key_count], all within the memory; NULL: 0, 1, 2 ... */
    unsigned char *rows;       /* of place 0, in the client's memory */
};

/* Maps the memory of a Hello unless it is mapped, or could not be before. A session that comes with
 * another memory loses the old one, and its pulls that wait for it. */
void shard_memory_open(struct shard *shard, struct session *session,
                       const Anthill__SharedMemory *memory);
void shard_memory_close(struct shard *shard, struct session *session);
/* Closes it when the client has ended. */
void shard_memory_tick(struct shard *shard, struct session *session);

/* Reads block `number` of the session for the request `id` of key_count rows of row_bytes.
 *   errors   STATUS_INVALID for a block that is none, or leads out of the memory; STATUS_NOMEM */
enum status shard_memory_read(struct shard *shard, const struct session *session, uint32_t number,
                              uint64_t id, uint32_t key_count, uint64_t row_bytes,
                              struct block_part *part, struct error *error) MUST_CHECK;

/* From here until shard_memory_leave the rows are the shard's. False: the client has withdrawn. */
bool shard_memory_take(const struct block_part *part);
void shard_memory_leave(const struct block_part *part, bool done);

/* ---- what requests ask of a table (shard_keys.c) -------------------------------------------- */

struct keys_request {
    const char *what; /* "Pull", "Push", ... for error texts */
    uint32_t key_count;
    Anthill__Encoding encoding;
    /* Filled in by shard_keys_check: */
    struct shard_table *table;
    const char *name; /* of the table */
    const uint64_unaligned *keys;
    uint64_t value_bytes;   /* of their rows in a frame */
    struct block_part part; /* part.block NULL: the payload is in frames */
};

/* Finds table `number`; `sparse` when it has to be one.
 *   errors   STATUS_INVALID */
enum status shard_keys_table(const struct shard *shard, uint32_t number, bool sparse,
                             struct keys_request *keys, struct error *error) MUST_CHECK;

/* Looks at the keys, which stand in frame 0 of `payload_count` frames, or in `block` of the
 * client's memory unless it is 0. errors   STATUS_INVALID, STATUS_NOMEM */
enum status shard_keys_check(struct shard *shard, const struct shard_request *request,
                             uint32_t table, uint32_t block, unsigned payload_count,
                             struct keys_request *keys, struct error *error) MUST_CHECK;

/* Payload frame 1 has to have so many bytes. `items`: of what. */
enum status shard_keys_frame(const struct shard_request *request, const struct keys_request *keys,
                             uint64_t bytes, const char *items, struct error *error) MUST_CHECK;

/* ---- changes for a copy (shard_changes.c); without a log they do nothing -----------------------
 */

/* Events go to where the tables stand now. */
void shard_watch_tables(struct shard *shard);
void shard_log_session(struct shard *shard, const struct session *session);
void shard_log_session_gone(struct shard *shard, uint64_t session);
/* It trains at its clock, or no more. */
void shard_log_clock(struct shard *shard, uint64_t session);
void shard_log_leave(struct shard *shard, uint64_t session);
void shard_log_sums(struct shard *shard, const struct shard_table *table, const Anthill__Push *push,
                    const uint64_unaligned *keys, const float_unaligned *grads);
void shard_log_sums_applied(struct shard *shard, const struct shard_table *table, uint64_t clock);

/* ---- pulls that wait (shard_pulls.c) -------------------------------------------------------- */

void shard_drop_waiting(struct shard *shard, uint32_t place);
/* Answers those that may be answered, in the order of their arrival. */
void shard_answer_waiting(struct shard *shard, struct outbox *outbox);

/* After trainers moved or left: applies the sums that are due and answers the pulls that may be
 * answered, in the order of their arrival. */
void shard_progress(struct shard *shard, struct outbox *outbox);

#endif
