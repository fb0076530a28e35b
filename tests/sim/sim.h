/* A run of servers, workers and a coordinator in one thread: production's state machines and file
 * code under a virtual clock, over a network and a disk that misbehave. One seed makes every
 * choice; the same seed makes the same run. See tests/README.md.
 *
 * A program simulates one run at a time: its state is global, since the disk and the observers are
 * reached by calls that the linker wraps (--wrap), which have no argument for it. */
#ifndef ANTHILL_TESTS_SIM_SIM_H
#define ANTHILL_TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/rng.h"
#include "common/wire.h"
#include "ps/client/client_core.h"
#include "ps/shard.h"

#define SIM_MS UINT64_C(1000000)
#define SIM_S  UINT64_C(1000000000)

enum {
    SERVERS_MAX = 3,
    THREADS_MAX = 2, /* shards of a server */
    SHARDS_MAX = SERVERS_MAX * THREADS_MAX,
    WORKERS_MAX = 3,
    PROCESSES_MAX = 1 + SERVERS_MAX + WORKERS_MAX,
    /* Connections of a process: */
    CONNECTION_CORE = 0, /* a worker's client to the coordinator */
    CONNECTION_WORK,     /* its requests for leases */
    CONNECTION_KEEP,     /* its heartbeats */
    CONNECTION_LINKS,    /* its client to the shards, from here on */
    /* Of a server: one a thread to the coordinator, then those of each thread to backups. */
    CONNECTION_BACKUPS = THREADS_MAX,
    CONNECTIONS_MAX = CONNECTION_BACKUPS + THREADS_MAX * SHARDS_MAX,
};

enum role { ROLE_COORDINATOR, ROLE_SERVER, ROLE_WORKER };

/* A process on a machine of its own. */
struct process {
    enum role role;
    uint32_t index;  /* in sim.processes */
    uint32_t number; /* within its role */
    char name[16];
    bool up, finished;   /* finished: it ended well and is not started again */
    uint64_t generation; /* counts its starts */
    uint64_t wake_ns;    /* when it has its next turn */
    uint64_t start_ns;   /* while it is down: when it is started again */
    uint64_t paused_until_ns;
    /* Its clock. */
    uint64_t offset_ns;
    int64_t drift_ppm;
    /* It dies after so many steps (calls on files, messages, stages of a turn), or with `in_files`
     * after so many calls that change files; 0: it does not. */
    uint64_t steps_left;
    bool in_files;
    bool dying;                    /* it is dead, and the call that it died in has yet to return */
    bool loses;                    /* its machine dies with it: what was not flushed is lost */
    uint64_t disk_faults_until_ns; /* calls on files fail at random */
    uint64_t disk_full_until_ns;   /* nothing can be written */
};

enum canary {
    CANARY_NONE,
    CANARY_NO_WINDOW,
    CANARY_RENAME_FIRST,
    CANARY_EARLY_ANSWER,
    CANARY_NO_FENCE,
    CANARIES,
};

struct sim {
    uint64_t seed;
    struct rng rng;
    bool trace;
    enum canary canary;
    uint64_t hash;           /* of the trace */
    uint64_t now_ns;         /* of nobody: processes have clocks of their own */
    struct process *current; /* whose code runs; NULL: the simulator's */

    /* What kind of run this is. */
    uint32_t servers, threads, workers, shards, replicas;
    uint32_t epochs, seeds, lease, batch, slots;
    uint32_t loss, repeat, reorder; /* in 1,000 messages */
    uint64_t delay_ns;              /* of a message, at most */
    uint64_t heal_ns;               /* no faults from here on */
    uint64_t timeout_ns;            /* of everybody's patience; longer than the faults */

    struct process processes[PROCESSES_MAX];
    uint32_t process_count;
    uint64_t complete_step; /* the newest checkpoint that the coordinator's state on disk names */
    bool run_over;          /* the coordinator has ended ... */
    uint64_t over_ns;       /* ... then */
    uint64_t steps;
};

extern struct sim sim;

/* ---- the whole (sim_world.c) ---------------------------------------------------------------- */

/* As --canary has them; "" for CANARY_NONE. */
extern const char *const canary_names[CANARIES];

/* One run from its beginning to its end. Ends the program when an invariant does not hold. */
void sim_run(uint64_t seed, bool trace, enum canary canary);

/* What is wrong, and the command that shows it again; ends the program with status 1. */
__attribute__((noreturn, format(printf, 1, 2))) void sim_fail(const char *format, ...);

/* One line of the trace. */
void sim_trace(const struct process *process, const char *event, uint64_t a, uint64_t b,
               uint64_t c);
void sim_trace_message(const struct process *process, const char *event,
                       const Anthill__Envelope *envelope);

bool sim_chance(uint32_t in_thousand);
/* At least `low`, below `high`. */
uint64_t sim_between(uint64_t low, uint64_t high);
/* The time as `process` sees it; the current process's, for code that asks for a clock. */
uint64_t process_now(const struct process *process);
uint64_t current_now(void);
/* Something has happened at which the current process may die. True: it has. */
bool process_step(void);
/* The same for a call on files. */
bool process_file_step(bool writes);
/* The process ends by itself: with `failed` it is started again. */
void process_end(struct process *process, bool failed);
/* Wants a turn in so many ns of its clock, or before. */
void process_wake(struct process *process, uint64_t in_ns);

/* ---- network (sim_net.c) -------------------------------------------------------------------- */

#define ENDPOINT_BYTES 48

void net_init(void);
void net_deinit(void);
/* Where thread `thread` of the process listens. */
void net_endpoint(const struct process *process, uint32_t thread, char endpoint[ENDPOINT_BYTES]);
/* Connection `slot` of the process leads there from now on. */
void net_connect(struct process *process, uint32_t slot, const char *endpoint);
/* As transport_send. */
enum status net_send(struct process *process, uint32_t slot, struct message *message);
enum status net_reply(struct process *process, uint32_t thread, struct message *message);
/* When the next message arrives; UINT64_MAX: none is on its way. */
uint64_t net_due(void);
/* Delivers it. */
void net_deliver(void);
/* Messages from one to the other are lost, or wait, until then; the way back is open. */
void net_part(uint32_t from, uint32_t to, uint64_t until_ns, bool lost);
/* The connection takes no messages until then. */
void net_clog(uint32_t process, uint32_t slot, uint64_t until_ns);
/* The connection breaks and is made again: what is on its way is lost. */
void net_reset(uint32_t process, uint32_t slot);

/* ---- disk (sim_disk.c) ---------------------------------------------------------------------- */

#define DISK_NAME_BYTES 40

void disk_init(void);
void disk_deinit(void);
/* The machine of the process dies: of what it did not flush some is lost, some garbled. */
void disk_crash(const struct process *process);
/* Its open files are closed. */
void disk_close_all(const struct process *process);
bool disk_exists(const char *path, bool *is_folder);
/* For sim_folders.c: the names in a folder (returns owned), whether a descriptor is one of the
 * disk's, what its file holds, and whether a call on files fails. */
uint32_t disk_names(const char *path, char (**names)[DISK_NAME_BYTES]);
bool disk_has(int fd);
const void *disk_bytes(int fd);
bool disk_refuses(bool writes);

/* Memory of tables, all of it, at the end of a run (sim_pages.c). */
void pages_give_back(void);

/* ---- processes ------------------------------------------------------------------------------ */

/* Each role: start, a turn when its time has come, a message that has arrived, its end. */
void coordinator_start(struct process *process);
void coordinator_turn(struct process *process);
void coordinator_receive(struct process *process, const struct message *message);
void coordinator_kill(struct process *process);
void coordinator_init(void);
void coordinator_deinit(void);

void server_start(struct process *process);
void server_turn(struct process *process);
/* From a client or another server; and an answer over a connection of its own. */
void server_receive(struct process *process, uint32_t thread, struct message *message);
void server_hear(struct process *process, uint32_t slot, struct message *message);
void server_kill(struct process *process);
void server_init(void);

void worker_start(struct process *process);
void worker_turn(struct process *process);
void worker_receive(struct process *process, uint32_t slot, const struct message *message);
void worker_kill(struct process *process);
void worker_init(void);
/* For a run that does not end: what it is waiting for. */
const char *worker_state(const struct process *process);

/* ---- what has to hold (sim_model.c, sim_backups.c; tables: sim_tables.c) --------------------- */

enum {
    TABLE_SPARSE, /* async; assignments and deletions besides */
    TABLE_SSP,
    TABLE_BSP,
    TABLE_DENSE,
    TABLES,
    KEYS = 24, /* of each sparse table */
    TENSORS = 3,
    DIM = 3, /* of sparse rows; tensors have up to 4 floats */
    FLOATS_MAX = 4,
    SSP_BOUND = 2,
};

/* The spec of a table; borrowed. */
const Anthill__TableSpec *model_spec(uint32_t table);
/* The run's number of a shard's table `number`. */
uint32_t model_table(const struct shard *shard, uint32_t number);
/* Keys of the table have numbers, their places. */
uint32_t model_places(uint32_t table);
uint32_t model_place(uint32_t table, uint64_t key);
/* Key number `place` of the table, and its floats. */
uint64_t model_key(uint32_t table, uint32_t place);
uint32_t model_floats(uint32_t table, uint32_t place);

void model_init(void);
void model_deinit(void);
/* The shard's index in the slot map. */
uint32_t model_index(const struct shard *shard);
/* The rows of a shard are what the model says. `when` is for the text. */
void model_check(const struct shard *shard, const char *when);
/* The shard was loaded from `step`: it is as it was at that step's cut. */
void model_restored(const struct shard *shard, uint64_t step);
/* Who has a shard, as the coordinator has just saved it. Processes by their incarnations. */
struct saved_roles {
    uint64_t primary;  /* that has the rows, or had them */
    bool primary_gone; /* another process has registered in its place */
    uint64_t backup;   /* that may be promoted; 0: none */
};
void model_saved(uint32_t shard, const struct saved_roles *roles);
/* An answer of a shard leaves for its client. */
void model_replied(const struct message *reply);
/* A backup that has taken every change of the primary is equal to it. */
void model_check_backup(const struct shard *primary);
/* A push of the session that ended well, for model_session_check. */
void model_push_ended(uint64_t session, uint32_t table, const uint32_t *places, uint32_t count,
                      const float *grads);
/* Every push of this session has ended well: shards took each of them, and nothing else. */
void model_session_check(uint64_t session);

#endif
