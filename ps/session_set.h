/* The sessions that a shard knows, each with the window of its pushes. Sorted by number: the bytes
 * of a checkpoint do not depend on the order in which clients came. Pure. */
#ifndef ANTHILL_PS_SESSION_SET_H
#define ANTHILL_PS_SESSION_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"
#include "ps/push_window.h"

#define SESSIONS_MAX 65536u

/* Memory that the client shares. */
struct session_memory {
    unsigned char *base; /* NULL: none, or it could not be mapped */
    uint64_t bytes, nonce;
    uint32_t pid, fd;
};

struct session {
    uint64_t id;
    uint64_t seen_ns; /* of its last request */
    struct push_window window;
    uint32_t waiting;             /* its pulls that wait */
    bool open;                    /* said Hello since this shard started */
    struct session_memory memory; /* the shard closes it */
};

struct session_set {
    struct session *items; /* ascending ids */
    uint32_t count, capacity;
    uint64_t expired_highest; /* the highest number that was forgotten; 0: none was */
};

void session_set_deinit(struct session_set *set);

/* NULL when it is not there. Valid until the set changes. */
struct session *session_set_find(const struct session_set *set, uint64_t id);

/* Finds or adds; a session that is added has never pushed and is not open.
 *   errors   STATUS_NOMEM; STATUS_BUSY when SESSIONS_MAX are there */
enum status session_set_add(struct session_set *set, uint64_t id,
                            struct session **session) MUST_CHECK;

/* Forgets a session, and remembers that its number may have been in use here. */
void session_set_expire(struct session_set *set, struct session *session);

/* The same by its number, which need not be there. */
void session_set_forget(struct session_set *set, uint64_t id);

/* False: a session of this number that is not there never was. */
bool session_set_may_have_expired(const struct session_set *set, uint64_t id);

#endif
