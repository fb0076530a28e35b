/* What the files of the coordinator share; nobody else includes this. coordinator.c owns the life
 * of the state machine and its phases; coordinator_shards.c the shards and the slot map;
 * coordinator_replicas.c their primaries and backups; coordinator_threads.c the servers' threads;
 * coordinator_sessions.c who takes part; coordinator_leases.c epochs and evaluations;
 * coordinator_checkpoints.c checkpoints; coordinator_report.c the JSON; coordinator_state.c the
 * bytes on disk. */
#ifndef ANTHILL_PS_COORDINATOR_INTERNAL_H
#define ANTHILL_PS_COORDINATOR_INTERNAL_H

#include "ps/coordinator.h"
#include "ps/lease.h"
#include "ps/metric_set.h"

#define SECOND_NS      UINT64_C(1000000000)
#define MILLISECOND_NS UINT64_C(1000000)

#define SESSIONS_MAX         4096 /* at once */
#define SESSIONS_GONE_MAX    1024 /* remembered */
#define ENDPOINT_MAX         256  /* bytes; all of them are in the slot map */
#define SESSION_NAME_MAX     128
#define HEARTBEAT_LEASES_MAX 65536 /* those lost come back in the reply, which has to fit */
#define GONE_REPEAT_NS       (10 * SECOND_NS) /* sessions_gone is part of every order for so long */
#define DONE_MAX             8 /* leases of a session whose LeaseDone may be repeated */
#define BOOKS                2 /* the oldest epoch that is not complete, and the next */

/* The numbers are in the state on disk. */
enum coordinator_phase {
    PHASE_WAITING = 0, /* for the first trainer */
    PHASE_TRAINING = 1,
    PHASE_EVALUATING = 2,
    PHASE_SAVING_BEST = 3, /* training waits for the checkpoint of what was evaluated */
    PHASE_SAVING_LAST = 4,
    PHASE_STOPPING = 5, /* workers are told that the run is over */
    PHASE_STOPPING_SHARDS = 6,
    PHASE_ENDED = 7,
};

enum session_presence { SESSION_LIVE = 0, SESSION_SILENT = 1, SESSION_LEFT = 2 };

enum checkpoint_reason { REASON_PERIODIC = 0, REASON_BEST = 1, REASON_LAST = 2 };

struct session {
    uint64_t id;
    char *name;
    bool trains;
    enum session_presence presence;
    bool active;             /* it has asked for leases or sent heartbeats */
    uint64_t done[DONE_MAX]; /* a ring: leases that counted for it */
    uint32_t done_count;
    /* Not on disk. */
    uint64_t join_peer, join_request; /* a repeated Join gets the same session */
    uint64_t map_peer;                /* the connection that asks for the map; 0: not known */
    uint64_t seen_ns, gone_ns;
    bool announced; /* it has said since the restart which leases it holds */
    uint64_t seeds_done;
    uint32_t turn; /* 1 + its number among those who take turns; 0: none */
    bool entered;  /* its last request said that it is in the clock */
    uint64_t granted_request, granted_lease; /* a repeated LeaseRequest gets the same lease */
};

#define THREAD_NONE UINT32_MAX

/* A thread of a server: one endpoint, one life after the other. */
struct thread_entry {
    uint32_t server, shard; /* index within the server */
    uint64_t incarnation, incarnation_before;
    char *endpoint;     /* "" before it has registered */
    bool ready, served; /* it serves; some incarnation of it has */
    uint64_t restore_step;
    /* Not on disk. */
    uint64_t peer, seen_ns;
    uint64_t map_version;   /* that this process has heard of, by its last heartbeat */
    uint64_t alive_ns;      /* when it, or the process before it, was last heard to serve */
    uint64_t lost_ns;       /* when this process took the place of the one before */
    bool heard;             /* it was, by this process of the coordinator */
    bool dead;              /* it serves, but is silent */
    uint64_t dead_since_ns; /* since when that is so, or it is known to have restarted */
    bool stopped;
    uint64_t rows, bytes, pulls, pushes, clock_min;
    uint64_t written, written_ns; /* bytes of the pending checkpoint; when they last grew */
};

struct checkpoint_report {
    bool reported;
    uint64_t bytes, checksum, base;
};

/* A part of the rows. Shard i is at home in thread i, and has its name. */
struct shard_entry {
    uint32_t primary;     /* the thread that serves it */
    uint64_t incarnation; /* of its process that has the rows, or had them; 0: none yet */
    uint32_t backup;      /* the thread that keeps a copy; THREAD_NONE */
    bool complete;        /* the copy has everything that is acknowledged */
    uint64_t since;       /* the version of the map since which these three are as they are */
    uint64_t primary_since, backup_since; /* and each of those two threads is in its place */
    bool hand_over; /* the primary drains, so that the backup may take its place */
    bool served;    /* it has been served in this run */
    uint64_t restore_step;
    struct checkpoint_report report; /* of the pending one */
    uint32_t failovers;
    /* From the last sign of life, and from when its end was known, to the new map: the last one. */
    uint64_t silence_ns, decision_ns;
    /* Not on disk. */
    uint64_t hand_over_ns, rests_until_ns; /* since when it drains; no hand-over before */
    uint64_t rows, bytes;                  /* as the primary says, where there are replicas */
};

struct evaluation {
    bool known;
    uint64_t epoch;
    struct metric_set metrics;
    uint64_t checkpoint; /* that holds what was evaluated; 0: none */
};

struct checkpoint_record {
    uint64_t step;       /* 0: none */
    uint64_t ordered_ns; /* wall */
    enum checkpoint_reason reason;
    uint64_t base; /* the step that parts of it build on, or while it is pending: may; 0: none */
};

struct parked_request {
    uint64_t peer, request, session, since_ns;
};

struct parked_join {
    uint64_t peer, request, session, seed_count, graph_checksum;
    char *name;
    bool trains;
};

struct open_book {
    bool open;
    struct lease_book leases;
    struct metric_set metrics;
    uint64_t began_ns; /* wall; 0: no lease was given yet */
};

struct coordinator {
    struct coordinator_options options;
    enum coordinator_phase phase;
    uint32_t shard_count;         /* and threads */
    struct thread_entry *threads; /* [shard_count] */
    struct shard_entry *shards;   /* [shard_count] */
    uint64_t map_version;
    uint32_t *owners; /* [slot_count]: for the slot map's message */
    Anthill__ShardEntry *entries;
    Anthill__ShardEntry **entry_pointers;

    struct session *sessions; /* by rising id */
    uint32_t session_count, session_capacity;
    uint64_t session_next;
    struct parked_join *joins;
    uint32_t join_count, join_capacity;
    uint64_t seed_count, graph_checksum;

    uint64_t lease_seeds, epoch;
    struct open_book books[BOOKS]; /* books[i]: epoch + i */
    struct open_book evaluation;   /* of `epoch`; one lease */
    struct parked_request *parked;
    uint32_t parked_count, parked_capacity;
    struct evaluation last, best, candidate;
    uint32_t evaluations_since_best;
    bool has_loss;
    double loss;
    uint64_t seeds_total, seeds_at_checkpoint;

    uint64_t checkpoint_next;
    struct checkpoint_record *checkpoints;
    uint32_t checkpoint_count, checkpoint_capacity;
    uint64_t *damaged;
    uint32_t damaged_count;
    struct checkpoint_record pending;

    uint64_t started_ns, ended_ns; /* wall; the first lease, the result */
    uint32_t workers_lost, servers_restarted, checkpoints_failed;
    enum status status; /* of the run */
    char *text;         /* why it failed */
    struct text lines;  /* of metrics.jsonl, decided in the turn that was saved last */

    /* Not on disk. */
    uint64_t began_ns;         /* of this process */
    bool resumed;              /* effects of the state that was loaded are due again */
    uint64_t recover_until_ns; /* no new leases before then unless all have announced theirs */
    uint64_t worker_seen_ns;
    uint64_t stop_deadline_ns;
    uint64_t checkpoint_due_ns;
    uint64_t publishing; /* step whose EFFECT_PUBLISH is out */
    uint64_t leases_done, leases_lost;
    uint64_t turns_since_ns; /* when the first session got a turn; 0: none did */
};

/* One call: what came in and where things go out. */
struct turn {
    struct coordinator *coordinator;
    uint64_t now_ns;
    struct outbox *outbox;
    struct effects *effects;
};

/* ---- coordinator.c */
struct effect *coordinator_effect(struct turn *turn, enum effect_kind kind);
/* Where the text of a log line goes. */
struct text *coordinator_log_begin(struct turn *turn, enum effect_level level, const char *event);
#define coordinator_log(turn, level, event, ...)                                                   \
    text_add(coordinator_log_begin(turn, level, event), __VA_ARGS__)
uint64_t coordinator_wall(const struct coordinator *coordinator, uint64_t now_ns);
void coordinator_reply(struct turn *turn, uint64_t peer, uint64_t request,
                       Anthill__Envelope *envelope);
#define coordinator_reply_error(turn, peer, request, status_, ...)                                 \
    do {                                                                                           \
        struct error reply_error_;                                                                 \
        (void)error_set(&reply_error_, status_, __VA_ARGS__);                                      \
        outbox_put_error((turn)->outbox, peer, request, &reply_error_);                            \
    } while (0)
/* The run is over, well (STATUS_OK) or not; only the first call counts. */
void coordinator_stop_with(struct turn *turn, const struct error *error);
#define coordinator_stop(turn, status_, ...)                                                       \
    do {                                                                                           \
        struct error stop_error_;                                                                  \
        (void)error_set(&stop_error_, status_, __VA_ARGS__);                                       \
        coordinator_stop_with(turn, &stop_error_);                                                 \
    } while (0)
bool coordinator_stopping(const struct coordinator *coordinator);
/* Room for one more item of `item_bytes` in a growing array. */
void *coordinator_grow(void *items, uint32_t count, uint32_t *capacity, size_t item_bytes);
char *coordinator_copy(const char *string, size_t length_max);

/* ---- coordinator_shards.c */
void coordinator_shards_init(struct coordinator *coordinator);
void coordinator_shards_deinit(struct coordinator *coordinator);
bool coordinator_shards_ready(const struct coordinator *coordinator);
struct thread_entry *coordinator_shards_primary(const struct coordinator *coordinator,
                                                uint32_t shard);
/* The thread is the primary of some shard. */
bool coordinator_shards_serves(const struct coordinator *coordinator,
                               const struct thread_entry *thread);
/* Fills the message with pointers into the coordinator. */
void coordinator_shards_map(struct coordinator *coordinator, Anthill__SlotMap *map);
void coordinator_shards_map_request(struct turn *turn, const struct message *message);
/* The map is not what it was: it has a new version, which all threads and sessions hear. */
void coordinator_shards_map_changed(struct turn *turn);
/* Picks the checkpoint that a thread starts from (0 where it serves nothing); false when the run
 * has to end. */
bool coordinator_shards_choose_restore(struct turn *turn, struct thread_entry *thread,
                                       const char *why);
/* The thread has the rows of that checkpoint, and serves them. */
void coordinator_shards_restored(struct turn *turn, struct thread_entry *thread);

/* ---- coordinator_replicas.c; the first three are true when the map is no longer what it was */
/* Failovers, new backups, hand-overs: what follows from who is alive. */
bool coordinator_replicas_settle(struct turn *turn);
/* A thread's process has gone with all that it had; another is in its place. */
bool coordinator_replicas_process_gone(struct turn *turn, uint32_t thread);
bool coordinator_replicas_heard(struct turn *turn, uint32_t thread,
                                const Anthill__ShardHeartbeat *beat, uint64_t map_version);
/* A thread that would restore has to wait: a backup that is silent may have it all. */
bool coordinator_replicas_wait(struct turn *turn, uint32_t thread);
/* Some shard is being handed over; none is any more. */
bool coordinator_replicas_moving(const struct coordinator *coordinator);
void coordinator_replicas_hold(struct turn *turn);

/* ---- coordinator_threads.c */
void coordinator_threads_init(struct coordinator *coordinator);
void coordinator_threads_deinit(struct coordinator *coordinator);
/* The index of a thread, and of the shard that is at home there; UINT32_MAX: none in this run. */
uint32_t coordinator_threads_find(const struct coordinator *coordinator, uint32_t server,
                                  uint32_t shard);
void coordinator_threads_register(struct turn *turn, const struct message *message);
void coordinator_threads_heartbeat(struct turn *turn, const struct message *message);
void coordinator_threads_tick(struct turn *turn);
/* The current order to one thread, unasked. */
void coordinator_threads_order(struct turn *turn, const struct thread_entry *thread, bool with_map);
/* The same in answer to a message of it. */
void coordinator_threads_answer(struct turn *turn, const struct thread_entry *thread,
                                const struct message *message);
/* To every thread that can be reached. */
void coordinator_threads_order_all(struct turn *turn, bool with_map);

/* ---- coordinator_sessions.c */
void coordinator_sessions_deinit(struct coordinator *coordinator);
void coordinator_sessions_join(struct turn *turn, const struct message *message);
void coordinator_sessions_heartbeat(struct turn *turn, const struct message *message);
void coordinator_sessions_leave(struct turn *turn, const struct message *message);
void coordinator_sessions_tick(struct turn *turn);
/* Answers those who wait, when every shard is ready or the run is over. */
void coordinator_sessions_answer(struct turn *turn);
struct session *coordinator_sessions_find(struct coordinator *coordinator, uint64_t id);
/* The session of a request, marked as seen; NULL after an ErrorReply. */
struct session *coordinator_sessions_of(struct turn *turn, const struct message *message);
/* The session has begun to work: from now on its silence is a loss. */
void coordinator_sessions_activate(struct turn *turn, struct session *session);
uint32_t coordinator_sessions_trainers(const struct coordinator *coordinator);
void coordinator_sessions_append(struct coordinator *coordinator, struct session session);

/* ---- coordinator_leases.c */
void coordinator_leases_deinit(struct coordinator *coordinator);
/* After the state was loaded: waits for those who held leases, and repeats what may not have been
 * done. */
void coordinator_leases_resume(struct coordinator *coordinator);
/* The first trainer is there: the first epoch begins. */
void coordinator_leases_begin(struct turn *turn);
void coordinator_leases_request(struct turn *turn, const struct message *message);
void coordinator_leases_done(struct turn *turn, const struct message *message);
/* What `session` holds becomes free. */
void coordinator_leases_release(struct turn *turn, uint64_t session);
bool coordinator_leases_renew(struct turn *turn, struct session *session, uint64_t id);
void coordinator_leases_tick(struct turn *turn);
/* Moves from phase to phase as far as it goes. */
void coordinator_leases_settle(struct turn *turn);
/* Gives leases to those who wait for one. */
void coordinator_leases_serve(struct turn *turn);
/* The checkpoint that the phase waited for is there, or given up. */
void coordinator_leases_after_checkpoint(struct turn *turn, enum checkpoint_reason reason,
                                         uint64_t step);
void coordinator_leases_open(struct coordinator *coordinator, struct open_book *book,
                             uint64_t epoch);
void coordinator_leases_open_evaluation(struct coordinator *coordinator);
double coordinator_leases_fraction(const struct coordinator *coordinator);
/* The book that holds a lease, and its place there; NULL: none that is open. */
struct open_book *coordinator_leases_find(struct coordinator *coordinator, uint64_t id,
                                          uint32_t *index);

/* ---- coordinator_turns.c */
bool coordinator_turns_on(const struct coordinator *coordinator);
/* Gives the session a turn while there is one that no live session has. */
void coordinator_turns_assign(struct turn *turn, struct session *session);
/* It is in the clock; and so are all others before the first lease of the run. */
bool coordinator_turns_may(const struct turn *turn, const struct session *session);
bool coordinator_turns_take(struct turn *turn, const struct session *session,
                            struct lease_book *book, uint32_t *index);
/* The clocks of a training lease. */
void coordinator_turns_clocks(const struct coordinator *coordinator, const struct lease_book *book,
                              uint32_t index, Anthill__LeaseReply *reply);

/* ---- coordinator_checkpoints.c */
void coordinator_checkpoints_deinit(struct coordinator *coordinator);
void coordinator_checkpoints_order(struct turn *turn, enum checkpoint_reason reason);
void coordinator_checkpoints_done(struct turn *turn, const struct message *message);
void coordinator_checkpoints_tick(struct turn *turn);
void coordinator_checkpoints_abandon(struct turn *turn, const char *why);
/* The same when a server is gone: the next one is due as soon as all are there. */
void coordinator_checkpoints_spoiled(struct turn *turn, const char *why);
void coordinator_checkpoints_damaged(struct turn *turn, const uint64_t *steps, size_t count,
                                     const char *text);
/* The step that a shard starts from; 0: none was ever complete. False: all are damaged. */
bool coordinator_checkpoints_latest(const struct coordinator *coordinator, uint64_t *step);
const struct checkpoint_record *coordinator_checkpoints_find(const struct coordinator *coordinator,
                                                             uint64_t step);

/* ---- coordinator_report.c */
void coordinator_report_line(struct turn *turn, const char *json);
void coordinator_report_epoch(struct turn *turn, const struct open_book *book);
void coordinator_report_evaluation(struct turn *turn, const struct evaluation *evaluation);
void coordinator_report_result(struct turn *turn);
bool coordinator_report_below_expect(const struct coordinator *coordinator);

#endif
