#include "ps/replica.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/rng.h"
#include "ps/change_log.h"

#define MS        UINT64_C(1000000)
#define RESEND_NS (500 * MS)  /* without an acknowledgement */
#define SILENT_NS (5000 * MS) /* then the backup cannot be reached, though it may live */
#define UNACKNOWLEDGED_MAX                                                                         \
    (UINT64_C(64) << 20)                     /* bytes; beyond, requests that change are refused */
#define COPY_AHEAD_BYTES (UINT64_C(8) << 20) /* rows are copied while less is on its way */
#define COPY_ROWS        1024u
#define COPY_STEPS       4u /* in a turn */

/* Where the copy that is being made has got to. */
enum copy_phase {
    COPY_NONE,    /* there is no backup */
    COPY_OFFERED, /* it may have everything already: it was asked */
    COPY_ROWS_GO, /* rows are on their way */
    COPY_SENT,    /* all have been sent */
    COPY_DONE,    /* all have arrived */
    COPY_LOST, /* it is of no use, or out of reach; the coordinator, which may count on it, gives it
                  up first */
};

struct held_reply {
    uint64_t index; /* goes when the backup has this */
    struct message message;
};

struct replica {
    struct replica_options options;
    struct shard *shard;
    enum replica_role role;
    /* A primary. */
    uint64_t served_version; /* of the map by which it began to serve */
    uint64_t backup;         /* its incarnation; 0: none */
    bool frozen, fenced, holds;
    struct change_log log;
    enum copy_phase phase;
    struct shard_walk walk;
    uint64_t complete_index; /* of the message that says so */
    uint64_t sent;           /* messages up to this have gone */
    uint64_t progress_ns;    /* when the last one went or was acknowledged */
    uint64_t silent_ns;      /* since when it has not answered; 0: it owes no answer */
    struct held_reply *held;
    uint32_t held_first, held_count, held_capacity; /* [first, count) */
    /* A backup, or one that has become primary and has changed nothing since: where its copy
     * stands. stream 0: it has none. */
    uint64_t primary;
    uint64_t followed; /* the map by which it became that: the stream's number */
    uint64_t stream, index;
    bool broken;           /* nothing but a new stream helps */
    struct message *group; /* that belong to the next change */
    uint32_t group_count, group_capacity;
};

enum status replica_create(struct replica **result, const struct replica_options *options)
{
    struct replica *replica = calloc(1, sizeof *replica);
    if (replica == NULL) return STATUS_NOMEM;
    replica->options = *options;
    replica->log.shard = options->index;
    replica->log.primary_incarnation = options->shard.incarnation;
    enum status status = shard_create(&replica->shard, &options->shard);
    if (status == STATUS_OK) {
        *result = replica;
    } else {
        free(replica);
    }
    return status;
}

static void drop_group(struct replica *replica)
{
    for (uint32_t i = 0; i < replica->group_count; i++)
        wire_message_deinit(&replica->group[i]);
    replica->group_count = 0;
}

static void drop_held(struct replica *replica)
{
    for (uint32_t i = replica->held_first; i < replica->held_count; i++)
        wire_message_deinit(&replica->held[i].message);
    replica->held_first = replica->held_count = 0;
}

void replica_destroy(struct replica *replica)
{
    if (replica == NULL) return;
    drop_group(replica);
    drop_held(replica);
    shard_destroy(replica->shard);
    change_log_deinit(&replica->log);
    free(replica->group);
    free(replica->held);
    free(replica);
}

void replica_set_index(struct replica *replica, uint32_t index)
{
    replica->options.index = replica->log.shard = index;
}

struct shard *replica_shard(const struct replica *replica)
{
    return replica->shard;
}

enum replica_role replica_role(const struct replica *replica)
{
    return replica->role;
}

/* ---- replies that are held back -----------------------------------------------------------------
 */

static uint64_t shipped(const struct replica *replica)
{
    return replica->log.next_index - 1;
}

static uint64_t acknowledged(const struct replica *replica)
{
    return replica->log.first_index - 1;
}

/* Takes replies from `first` on out of the outbox, until the backup has all that was shipped. */
static void hold_replies(struct replica *replica, struct outbox *clients, unsigned first)
{
    for (unsigned i = first; i < clients->count; i++) {
        if (replica->held_count == replica->held_capacity) {
            uint32_t capacity = replica->held_capacity == 0 ? 64 : replica->held_capacity * 2;
            replica->held = realloc(replica->held, capacity * sizeof *replica->held);
            CHECK(replica->held != NULL);
            replica->held_capacity = capacity;
        }
        replica->held[replica->held_count++] =
            (struct held_reply){.index = shipped(replica), .message = clients->messages[i]};
    }
    clients->count = first;
}

static void release_replies(struct replica *replica, uint64_t index, struct outbox *clients)
{
    while (replica->held_first < replica->held_count &&
           replica->held[replica->held_first].index <= index) {
        outbox_append(clients, &replica->held[replica->held_first++].message);
    }
    if (replica->held_first == replica->held_count) {
        replica->held_first = replica->held_count = 0;
    } else if (replica->held_first > replica->held_count / 2) {
        replica->held_count -= replica->held_first;
        memmove(replica->held, replica->held + replica->held_first,
                replica->held_count * sizeof *replica->held);
        replica->held_first = 0;
    }
}

/* ---- roles --------------------------------------------------------------------------------------
 */

static void begin_stream(struct replica *replica, uint64_t stream, bool offer)
{
    struct change_log *log = &replica->log;
    change_log_begin(log, stream);
    /* A backup whose map is older has yet to hear who its primary is. */
    uint64_t map_version = shard_map_version(replica->shard);
    log->map_version = map_version > stream ? map_version : stream;
    replica->sent = 0;
    replica->progress_ns = replica->silent_ns = 0;
    replica->walk = (struct shard_walk){0};
    shard_log_changes(replica->shard, log);
    if (offer) {
        log->continues_stream = replica->stream;
        log->continues_index = replica->index;
        replica->phase = COPY_OFFERED;
        replica->complete_index = change_log_close(log);
        return;
    }
    replica->phase = COPY_ROWS_GO;
    shard_log_all(replica->shard);
    shard_log_close(replica->shard);
}

static void end_stream(struct replica *replica)
{
    shard_log_changes(replica->shard, NULL);
    change_log_begin(&replica->log, 0);
    replica->phase = COPY_NONE;
    replica->backup = 0;
    replica->holds = false;
}

void replica_serve(struct replica *replica, uint64_t version, struct outbox *clients)
{
    replica->fenced = false;
    if (replica->role == REPLICA_PRIMARY) return;
    replica->role = REPLICA_PRIMARY;
    replica->served_version = version;
    replica->frozen = false;
    drop_group(replica);
    /* Clients take it for a restart. */
    shard_set_incarnation(replica->shard,
                          rng_mix(replica->options.shard.incarnation ^ rng_mix(version)));
    shard_set_copy(replica->shard, false, clients);
}

void replica_set_backup(struct replica *replica, uint64_t version, uint64_t incarnation,
                        bool counted, struct outbox *clients)
{
    if (replica->role != REPLICA_PRIMARY) return;
    if (incarnation == 0) {
        if (replica->backup != 0) end_stream(replica);
        replica->frozen = false;
        release_replies(replica, UINT64_MAX, clients);
        return;
    }
    if (incarnation != replica->backup || version != replica->log.stream) {
        /* One that has been the primary until now has everything. */
        bool offer = counted && replica->stream != 0 && replica->served_version == version;
        release_replies(replica, UINT64_MAX, clients); /* the one before is gone */
        replica->backup = incarnation;
        replica->holds = counted;
        begin_stream(replica, version, offer);
        replica->stream = 0;
        if (counted && !offer) replica->phase = COPY_LOST;
    }
    if (counted) replica->holds = true;
}

void replica_follow(struct replica *replica, uint64_t version, uint64_t incarnation)
{
    replica->followed = version;
    if (replica->role == REPLICA_BACKUP && replica->primary == incarnation) return;
    struct replica_view view;
    replica_view(replica, &view);
    replica->stream = replica->index = 0;
    if (view.drained) {
        replica->stream = replica->log.stream;
        replica->index = shipped(replica);
    }
    end_stream(replica);
    drop_held(replica);
    drop_group(replica);
    replica->role = REPLICA_BACKUP;
    replica->frozen = replica->fenced = false;
    replica->broken = false;
    replica->primary = incarnation;
    struct outbox none = {0};
    shard_set_copy(replica->shard, true, &none);
    outbox_deinit(&none);
}

void replica_forget(struct replica *replica)
{
    if (replica->role == REPLICA_NONE) return;
    end_stream(replica);
    drop_held(replica);
    drop_group(replica);
    shard_clear(replica->shard);
    replica->role = REPLICA_NONE;
    replica->frozen = replica->fenced = false;
    replica->stream = replica->index = 0;
}

void replica_freeze(struct replica *replica)
{
    if (replica->role == REPLICA_PRIMARY) replica->frozen = true;
}

void replica_thaw(struct replica *replica)
{
    replica->frozen = false;
}

/* ---- the primary --------------------------------------------------------------------------------
 */

/* Why a request is not taken; STATUS_OK: it is. */
static enum status refusal(const struct replica *replica, const struct message *message,
                           struct error *error)
{
    if (replica->role != REPLICA_PRIMARY || replica->fenced) {
        return error_set(error, STATUS_BUSY, "shard %u is not served here any more",
                         replica->options.index);
    }
    if (replica->frozen) {
        return error_set(error, STATUS_BUSY, "shard %u is handed over to its backup",
                         replica->options.index);
    }
    if (message->envelope->sequence != 0 && replica->log.bytes > UNACKNOWLEDGED_MAX) {
        return error_set(error, STATUS_BUSY, "the backup of shard %u is %" PRIu64 " bytes behind",
                         replica->options.index, replica->log.bytes);
    }
    return STATUS_OK;
}

void replica_handle(struct replica *replica, uint64_t now_ns, const struct message *message,
                    struct outbox *clients)
{
    struct error error;
    if (refusal(replica, message, &error) != STATUS_OK) {
        outbox_put_error(clients, message->peer, message->envelope->request, &error);
        return;
    }
    unsigned first = clients->count;
    shard_handle(replica->shard, now_ns, message, clients);
    if (replica->backup == 0) return;
    shard_log_close(replica->shard);
    /* A repeat waits, too: what it repeats may not have arrived. */
    bool wait = replica->holds && message->envelope->sequence != 0;
    if (wait && shipped(replica) > acknowledged(replica)) hold_replies(replica, clients, first);
}

void replica_tick(struct replica *replica, uint64_t now_ns, struct outbox *clients)
{
    if (replica->role != REPLICA_PRIMARY || replica->frozen) return;
    shard_tick(replica->shard, now_ns, clients);
    if (replica->backup != 0) shard_log_close(replica->shard);
}

void replica_sessions_gone(struct replica *replica, const uint64_t *sessions, uint32_t count,
                           struct outbox *clients)
{
    if (replica->role != REPLICA_PRIMARY || replica->frozen) return;
    shard_sessions_gone(replica->shard, sessions, count, clients);
    if (replica->backup != 0) shard_log_close(replica->shard);
}

static void hear_refusal(struct replica *replica, const Anthill__ReplicateReply *reply)
{
    switch ((enum status)reply->status) {
    case STATUS_BUSY: /* it is sent again */
        return;
    case STATUS_DENIED:
        replica->fenced = true;
        return;
    default:
        replica->phase = COPY_LOST;
    }
}

void replica_answered(struct replica *replica, uint64_t now_ns,
                      const Anthill__ReplicateReply *reply, struct outbox *clients)
{
    struct change_log *log = &replica->log;
    if (replica->backup == 0 || reply->stream != log->stream) return;
    replica->silent_ns = 0;
    if (reply->status != STATUS_OK) {
        hear_refusal(replica, reply);
        return;
    }
    if (reply->index > shipped(replica) || reply->index <= acknowledged(replica)) return;
    change_log_acknowledge(log, reply->index);
    if (replica->sent < acknowledged(replica)) replica->sent = acknowledged(replica);
    replica->progress_ns = now_ns;
    bool asked = replica->phase == COPY_OFFERED || replica->phase == COPY_SENT;
    if (asked && acknowledged(replica) >= replica->complete_index) replica->phase = COPY_DONE;
    release_replies(replica, acknowledged(replica), clients);
}

/* Rows of the walk, while there is room on the way. */
static void copy_rows(struct replica *replica)
{
    for (uint32_t i = 0; i < COPY_STEPS && replica->phase == COPY_ROWS_GO; i++) {
        if (replica->log.bytes >= COPY_AHEAD_BYTES) return;
        bool last = shard_log_rows(replica->shard, &replica->walk, COPY_ROWS);
        uint64_t index = shard_log_close(replica->shard);
        if (!last) continue;
        /* The last tables may be empty, and all before them there. */
        replica->phase = acknowledged(replica) >= index ? COPY_DONE : COPY_SENT;
        replica->complete_index = index;
        replica->holds = true; /* before it can be said that the copy is complete */
    }
}

uint64_t replica_turn(struct replica *replica, uint64_t now_ns, struct outbox *backup)
{
    if (replica->backup == 0 || replica->fenced || replica->phase == COPY_LOST) return UINT64_MAX;
    copy_rows(replica);
    bool waits = shipped(replica) > acknowledged(replica);
    if (!waits) {
        replica->silent_ns = 0;
    } else if (replica->silent_ns == 0) {
        replica->silent_ns = now_ns;
    } else if (now_ns - replica->silent_ns >= SILENT_NS) {
        replica->phase = COPY_LOST;
        return UINT64_MAX;
    }
    if (waits && replica->sent > acknowledged(replica) &&
        now_ns - replica->progress_ns >= RESEND_NS) {
        replica->sent = acknowledged(replica);
    }
    while (replica->sent < shipped(replica)) {
        struct message message;
        if (change_log_message(&replica->log, replica->sent + 1, &message) != STATUS_OK) break;
        outbox_append(backup, &message);
        replica->sent++;
        replica->progress_ns = now_ns;
    }
    if (replica->phase == COPY_ROWS_GO && replica->log.bytes < COPY_AHEAD_BYTES) return 0;
    if (!waits) return UINT64_MAX;
    uint64_t due_ns = replica->progress_ns + RESEND_NS;
    return due_ns > now_ns ? due_ns - now_ns : 0;
}

/* ---- the backup ---------------------------------------------------------------------------------
 */

static void answer(const struct message *message, uint64_t index, enum status status,
                   const char *text, struct outbox *peers)
{
    Anthill__ReplicateReply body = ANTHILL__REPLICATE_REPLY__INIT;
    body.stream = message->envelope->replicate->stream;
    body.index = index;
    body.status = (uint32_t)status;
    body.text = (char *)text;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.request = message->envelope->request;
    envelope.shard = message->envelope->shard;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_REPLICATE_REPLY;
    envelope.replicate_reply = &body;
    outbox_put(peers, message->peer, &envelope, NULL, 0);
}

void replica_refuse(const struct message *message, enum status status, struct outbox *peers)
{
    answer(message, 0, status, "this thread does not keep the sender's copy", peers);
}

/* Begins a stream by its first message. */
static enum status begin_copy(struct replica *replica, const Anthill__Replicate *body)
{
    if (body->continues_stream != 0) {
        bool same = !replica->broken && body->continues_stream == replica->stream &&
                    body->continues_index == replica->index;
        if (!same) return STATUS_NOT_FOUND;
    } else {
        struct outbox none = {0};
        shard_clear(replica->shard);
        shard_set_copy(replica->shard, true, &none);
        outbox_deinit(&none);
    }
    drop_group(replica);
    replica->broken = false;
    replica->stream = body->stream;
    replica->index = 0;
    return STATUS_OK;
}

/* Keeps a message that is no whole change yet. */
static void keep(struct replica *replica, struct message *message)
{
    if (replica->group_count == replica->group_capacity) {
        uint32_t capacity = replica->group_capacity == 0 ? 16 : replica->group_capacity * 2;
        replica->group = realloc(replica->group, capacity * sizeof *replica->group);
        CHECK(replica->group != NULL);
        replica->group_capacity = capacity;
    }
    replica->group[replica->group_count++] = *message;
    *message = (struct message){0};
}

static enum status take_group(struct replica *replica, const struct message *last,
                              struct error *error)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < replica->group_count; i++)
        status = shard_take_changes(replica->shard, &replica->group[i], error);
    if (status == STATUS_OK) status = shard_take_changes(replica->shard, last, error);
    uint32_t messages = replica->group_count + 1;
    drop_group(replica);
    if (status == STATUS_OK) replica->index += messages;
    return status;
}

void replica_take(struct replica *replica, struct message *message, struct outbox *peers)
{
    const Anthill__Replicate *body = message->envelope->replicate;
    if (replica->role != REPLICA_BACKUP || body->primary_incarnation != replica->primary) {
        /* It may know of a map that is on its way to here. */
        bool newer = message->envelope->map_version > shard_map_version(replica->shard);
        replica_refuse(message, newer ? STATUS_BUSY : STATUS_DENIED, peers);
        return;
    }
    if (body->stream < replica->followed) return; /* late */
    if (body->stream > replica->followed) {
        /* A map is on its way by which this copy may be none before it begins anew. */
        replica_refuse(message, STATUS_BUSY, peers);
        return;
    }
    if (body->stream != replica->stream) {
        if (body->index != 1) { /* its first message is on its way */
            answer(message, 0, STATUS_OK, "", peers);
            return;
        }
        if (begin_copy(replica, body) != STATUS_OK) {
            answer(message, 0, STATUS_NOT_FOUND, "the copy stands elsewhere", peers);
            return;
        }
    }
    uint64_t next = replica->index + replica->group_count + 1;
    struct error error = {0};
    enum status status = STATUS_OK;
    if (replica->broken) {
        status = error_set(&error, STATUS_CORRUPT, "the copy has not taken an earlier change");
    } else if (body->index == next && body->more) {
        answer(message, replica->index, STATUS_OK, "", peers); /* so that it is known to live */
        keep(replica, message);
        return;
    } else if (body->index == next) {
        status = take_group(replica, message, &error);
        replica->broken = status != STATUS_OK;
    }
    answer(message, replica->index, status, error.text, peers);
}

void replica_view(const struct replica *replica, struct replica_view *view)
{
    *view = (struct replica_view){
        .role = replica->role,
        .backup_incarnation = replica->backup,
        /* One that is asked whether it has everything drained before it was made the backup. */
        .backup_complete = replica->phase == COPY_DONE || replica->phase == COPY_OFFERED,
        .backup_lost = replica->phase == COPY_LOST,
        .fenced = replica->fenced,
        .shipped = replica->backup != 0 ? shipped(replica) : 0,
        .acknowledged = replica->backup != 0 ? acknowledged(replica) : 0,
        .unacknowledged_bytes = replica->log.bytes,
        .held = replica->held_count - replica->held_first,
    };
    view->drained = replica->frozen && view->backup_complete && view->shipped == view->acknowledged;
}
