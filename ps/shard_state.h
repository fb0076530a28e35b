/* What a shard is made of. For shard*.c only. Pure. */
#ifndef ANTHILL_PS_SHARD_STATE_H
#define ANTHILL_PS_SHARD_STATE_H

#include "ps/gradient_sums.h"
#include "ps/session_set.h"
#include "ps/shard.h"
#include "ps/staleness.h"
#include "ps/table.h"
#include "ps/waiting_pulls.h"

#define SHARD_TABLES_MAX 1024u

struct shard_table {
    struct table *table;
    struct gradient_sums sums; /* bsp */
};

struct shard {
    struct shard_options options;
    uint64_t map_version; /* 0: any */
    struct shard_table *tables;
    uint32_t table_count, table_capacity;
    struct session_set sessions;
    struct staleness staleness;
    struct waiting_pulls waiting;
    uint64_t pulls, pushes, pulled_rows, pushed_rows, repeated_pushes, refused;
};

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

/* After trainers moved or left: applies the sums that are due and answers the pulls that may be
 * answered, in the order of their arrival. */
void shard_progress(struct shard *shard, struct outbox *outbox);

#endif
