/* One shard in one thread, in its role: the primary serves clients and tells a backup what changes;
 * the backup keeps the copy. A state machine without I/O around ps/shard: messages, time and roles
 * come in; replies to clients, and messages for the other side, go out. Who is what is decided by
 * the coordinator alone, in versions of the slot map; a replica is told. Pure.
 *
 *     client --Push--> primary: shard_handle, changes are logged, the reply is held
 *                      primary --Replicate 1, 2, 3 ...--> backup: takes each, whole and in order
 *                      primary <---ReplicateReply 3------ backup
 *     client <-reply-- primary
 *
 * A new backup gets everything by the same stream: all but rows at once, then a walk over the rows
 * among which changes go on; both are rows as they are at that place of the stream, so the order of
 * a row's two copies says which is newer. thread: the shard's own. */
#ifndef ANTHILL_PS_REPLICA_H
#define ANTHILL_PS_REPLICA_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/wire.h"
#include "ps/shard.h"

struct replica;

enum replica_role {
    REPLICA_NONE,    /* it has nothing of the shard, or what it has is not served yet */
    REPLICA_PRIMARY, /* it serves */
    REPLICA_BACKUP,  /* it keeps a copy */
};

struct replica_options {
    struct shard_options shard; /* its incarnation is the thread's */
    uint32_t index;             /* of the shard in the slot map */
};

/*   errors   STATUS_NOMEM
 *   owner    returns owned; replica_destroy */
enum status replica_create(struct replica **replica,
                           const struct replica_options *options) MUST_CHECK;
void replica_destroy(struct replica *replica);

/* Of a shard whose place in the slot map was not known when it was created. */
void replica_set_index(struct replica *replica, uint32_t index);

/* For restores, checkpoints and figures. */
struct shard *replica_shard(const struct replica *replica);
enum replica_role replica_role(const struct replica *replica);

/* ---- roles, as a slot map says ------------------------------------------------------------------
 * `version`: of the map by which the primary, or the backup, became that. Each may be called again
 * with the same. */

/* Serves what it has: an empty or restored shard, or its copy. */
void replica_serve(struct replica *replica, uint64_t version, struct outbox *clients);

/* Of a primary: the thread `incarnation` keeps its copy from here on; 0: nobody does, and what was
 * held back is answered, as it is when another thread takes that one's place. `counted`: the
 * coordinator may promote the copy. */
void replica_set_backup(struct replica *replica, uint64_t version, uint64_t incarnation,
                        bool counted, struct outbox *clients);

/* Keeps a copy of what the thread `incarnation` serves. `version` is the stream that it takes: as
 * the primary's for replica_set_backup. */
void replica_follow(struct replica *replica, uint64_t version, uint64_t incarnation);

/* Has nothing to do with the shard any more: forgets it. */
void replica_forget(struct replica *replica);

/* Of a primary: takes no more requests, so that its backup can catch up; and does again. */
void replica_freeze(struct replica *replica);
void replica_thaw(struct replica *replica);

/* ---- messages and time ---- */

/* A client's request. */
void replica_handle(struct replica *replica, uint64_t now_ns, const struct message *message,
                    struct outbox *clients);

/* A Replicate of a primary; its frames are taken where they have to be kept. The answer goes to
 * `peers`. */
void replica_take(struct replica *replica, struct message *message, struct outbox *peers);

/* The answer to a Replicate for a shard of which there is no copy here. */
void replica_refuse(const struct message *message, enum status status, struct outbox *peers);

/* A ReplicateReply of the backup. */
void replica_answered(struct replica *replica, uint64_t now_ns,
                      const Anthill__ReplicateReply *reply, struct outbox *clients);

/* Messages for the backup that are due, with peer 0; a bounded number of rows is copied on the way.
 * Returns when it wants to be called again, in ns from now; UINT64_MAX: after the next message. */
uint64_t replica_turn(struct replica *replica, uint64_t now_ns, struct outbox *backup);

/* As shard_tick and shard_sessions_gone. */
void replica_tick(struct replica *replica, uint64_t now_ns, struct outbox *clients);
void replica_sessions_gone(struct replica *replica, const uint64_t *sessions, uint32_t count,
                           struct outbox *clients);

/* What heartbeats say. */
struct replica_view {
    enum replica_role role;
    uint64_t backup_incarnation; /* of a primary; 0: none */
    bool backup_complete;        /* it has all that is acknowledged */
    bool backup_lost;            /* it says that its copy is of no use, or says nothing */
    bool drained;                /* frozen, and the backup has all that there is */
    bool fenced;                 /* the backup says that another thread is primary */
    uint64_t shipped, acknowledged, unacknowledged_bytes, held;
};
void replica_view(const struct replica *replica, struct replica_view *view);

#endif
