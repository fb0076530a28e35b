/* The coordinator of a run: sessions, leases, the slot map, evaluations, checkpoints, early stop
 * and the end, as a state machine without I/O. Messages and time come in; replies go to an outbox,
 * and what must be done outside (files, log lines, the end of the process) goes to a list of
 * effects. Does not know graphs, models, files or sockets. thread: the process's main loop.
 *
 * Whoever drives it does after each turn (any number of messages and one tick), in this order:
 *   1. when effects.save is set, writes the bytes of coordinator_state_pack to disk;
 *   2. carries out the effects;
 *   3. sends the outbox.
 * Then it may end at any point and go on from the last bytes written: nothing that was answered is
 * forgotten, and nothing counts twice. */
#ifndef ANTHILL_PS_COORDINATOR_H
#define ANTHILL_PS_COORDINATOR_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/text.h"
#include "common/wire.h"
#include "ps/checkpoint.h"

struct coordinator;

/* Strings are borrowed and outlive the coordinator. */
struct coordinator_options {
    const char *name;                                /* of the run */
    const char *task;                                /* "node-classification" */
    uint32_t epochs;                                 /* at least 1 */
    uint32_t batch, lease, evaluate_every, patience; /* as in the configuration's train section */
    uint32_t clock_leases; /* that are summed in one clock, workers taking turns; 0: they do not */
    const char *monitor;
    const char *expect_metric;
    double expect_value; /* 0: none */
    uint32_t server_count, shards_per_server, slot_count;
    uint32_t replicas;            /* of each shard, 1 or 2; 2 needs two servers */
    uint32_t worker_count;        /* expected; any number may come */
    uint64_t lease_ns;            /* a worker silent for so long loses its leases */
    uint64_t timeout_ns;          /* without a worker, or with a shard missing, the run ends */
    uint64_t dead_ns;             /* a backup takes the place of a thread silent for so long */
    uint64_t checkpoint_every_ns; /* 0: only when an evaluation improves and at the end */
    uint32_t checkpoint_keep;
    uint64_t wall_offset_ns; /* clock_wall_ns() - clock_now_ns(), modulo 2^64 */
};

enum effect_kind {
    EFFECT_LOG,          /* level, event, text */
    EFFECT_METRICS_LINE, /* text: one JSON object; appended unless the file's end has it already */
    EFFECT_PUBLISH,      /* make checkpoint `step` of `parts` complete, then keep `keep` and `best`,
                            then say how it went: coordinator_published */
    EFFECT_ABANDON,      /* what there is of checkpoint `step` is removed */
    EFFECT_RESULT,       /* text: result.json, written over an older one */
    EFFECT_END,          /* the process ends, with `status`; `below_expect` when the result is done
                            but misses its floor */
};

/* As the levels of common/log.h. */
enum effect_level { EFFECT_INFO, EFFECT_WARN, EFFECT_ERROR };

struct effect {
    enum effect_kind kind;
    enum effect_level level;
    const char *event; /* static */
    struct text text;  /* owned by the list */
    uint64_t step, best;
    struct checkpoint_part *parts; /* owned by the list */
    uint32_t part_count;
    enum status status;
    bool below_expect;
};

/* Zero-initialised is empty. */
struct effects {
    struct effect *items;
    unsigned count, capacity;
    bool save; /* the state has changed: it must be on disk before anything else is done */
};

/* Empties the list; the array is kept. */
void effects_clear(struct effects *effects);
void effects_deinit(struct effects *effects);

/* A new run.
 *   owner    returns owned; coordinator_destroy. Ends the process when memory is used up */
struct coordinator *coordinator_create(const struct coordinator_options *options, uint64_t now_ns);
void coordinator_destroy(struct coordinator *coordinator);

/* Handles one message of a shard, worker or tool. What makes no sense is answered by an ErrorReply
 * and changes nothing. `message` is unpacked and borrowed. Requests that cannot be answered yet are
 * kept inside: every call may put replies for other peers into `outbox`. */
void coordinator_handle(struct coordinator *coordinator, uint64_t now_ns,
                        const struct message *message, struct outbox *outbox,
                        struct effects *effects);

/* Does what time alone brings about. Call at least every 100 ms, and first after a restart. */
void coordinator_tick(struct coordinator *coordinator, uint64_t now_ns, struct outbox *outbox,
                      struct effects *effects);

/* How EFFECT_PUBLISH went; a failed checkpoint is abandoned and training goes on. */
void coordinator_published(struct coordinator *coordinator, uint64_t now_ns, uint64_t step,
                           const struct error *error, struct outbox *outbox,
                           struct effects *effects);

/* The transport no longer knows this peer. */
void coordinator_peer_gone(struct coordinator *coordinator, uint64_t peer);

/* A few numbers for gauges and the progress line; strings are borrowed until the next call. */
struct coordinator_view {
    const char *name;
    const char *phase;      /* "waiting", "training", "evaluating", "saving", "stopping", "ended" */
    uint64_t epoch, epochs; /* `epoch` counts from 1 */
    double fraction;        /* of the whole run, in [0, 1] */
    uint64_t seeds;         /* counted, plus what workers say of the leases they hold */
    double seconds;         /* since the first lease */
    bool has_loss, has_best;
    double loss, best;        /* last loss; best valid metric */
    const char *best_name;    /* "valid/accuracy" */
    uint64_t evaluated_epoch; /* of the last evaluation, from 1; 0: none yet */
    uint32_t workers, workers_expected, shards_ready, shards;
    uint32_t workers_lost, servers_restarted, checkpoints_failed;
    uint32_t replicas, shards_safe;                 /* shards that have a complete backup */
    uint32_t failovers;                             /* of all shards */
    uint64_t leases_held, leases_done, leases_lost; /* done and lost: since this process began */
    uint64_t map_version, checkpoint_step, checkpoint_best;
    bool running; /* shards are ready and a worker has joined */
};
void coordinator_view(const struct coordinator *coordinator, uint64_t now_ns,
                      struct coordinator_view *view);

/* The shard that is at home in thread `shard` of server `server`; primary and backup are servers.
 */
struct coordinator_shard_view {
    uint32_t server, shard, primary, backup;
    bool has_backup, complete;
    uint32_t failovers;
    /* From the last sign of life, and from when its end was known, to the new map: the last one. */
    double silence_seconds, decision_seconds;
};
/* `index` is below coordinator_view.shards. */
void coordinator_shard_view(const struct coordinator *coordinator, uint32_t index,
                            struct coordinator_shard_view *view);

/* Of workers, shards and threads no more are listed one by one. */
#define COORDINATOR_LISTED_MAX 256

/* What `status` shows, as one JSON object. */
void coordinator_status_json(const struct coordinator *coordinator, uint64_t now_ns,
                             struct text *text);

#endif
