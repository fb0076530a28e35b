/* A shard: the slots, tables and sessions of one thread, as a state machine without I/O. Messages,
 * time and memory come in; replies go to an outbox. The same code runs under ZeroMQ, inside a
 * client (checkpoints read without servers) and under a simulator.
 * Does not know graphs, models, files or sockets.
 * thread: the shard's own. */
#ifndef ANTHILL_PS_SHARD_H
#define ANTHILL_PS_SHARD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/wire.h"

struct gradient_ages;
struct shard;
struct table;

/* How a shard gets at the memory of a client on its host; without it payloads are frames. */
struct shard_memory_access {
    void *context;
    /* Maps it all; NULL when that cannot be. */
    void *(*open)(void *context, const Anthill__SharedMemory *memory);
    void (*close)(void *context, void *base, uint64_t bytes);
    /* False when the client has ended: what it shared is given back at the next tick. */
    bool (*is_open)(void *context, uint32_t pid, uint32_t fd);
};

struct shard_options {
    uint32_t server, shard;
    uint64_t incarnation;     /* differs after every start */
    uint64_t session_idle_ns; /* sessions silent for longer are forgotten */
    uint32_t process;         /* the id of this process, for clients that share memory */
    struct shard_memory_access memory;
};

/*   errors   STATUS_NOMEM
 *   owner    returns owned; shard_destroy */
enum status shard_create(struct shard **shard, const struct shard_options *options) MUST_CHECK;
void shard_destroy(struct shard *shard);

/* Forgets tables, sessions, clocks and waiting pulls: as after shard_create. */
void shard_clear(struct shard *shard);

/* Handles Hello, Pull, Push, Advance, Assign, Delete, Scan and Describe; anything else, and any
 * request that makes no sense, is answered by an ErrorReply and changes nothing. `message` is
 * unpacked and borrowed; its payload may be unaligned. Requests that name a block find keys and
 * rows in the client's memory, which may change at any time: nothing in it is believed. Pulls that
 * are too far ahead are kept inside and answered later: every call may put replies for other peers
 * into `outbox`. */
void shard_handle(struct shard *shard, uint64_t now_ns, const struct message *message,
                  struct outbox *outbox);

/* These sessions train no more: their clocks hold nobody up. Their push windows stay. */
void shard_sessions_gone(struct shard *shard, const uint64_t *sessions, uint32_t count,
                         struct outbox *outbox);

/* Requests with another map version are answered STATUS_BUSY from now on. 0: any version goes. */
void shard_set_map_version(struct shard *shard, uint64_t version);
uint64_t shard_map_version(const struct shard *shard);

/* Forgets what has expired. Call about once a second. */
void shard_tick(struct shard *shard, uint64_t now_ns, struct outbox *outbox);

struct shard_stats {
    uint64_t rows, bytes;   /* of all tables; bytes of memory */
    uint64_t pulls, pushes; /* requests */
    uint64_t pulled_rows, pushed_rows;
    uint64_t repeated_pushes, refused, waiting_pulls;
    uint64_t sessions, trainers, clock_min;
    uint64_t sessions_expired; /* since the start */
    uint64_t memories;         /* of clients, mapped */
};
void shard_stats(const struct shard *shard, struct shard_stats *stats);

/* ---- a copy of the shard in another thread (see ps/replica.h) -----------------------------------
 */

struct change_log;

/* Changes from here on are appended to `log` (borrowed; NULL: no longer); change_log_begin came
 * before. */
void shard_log_changes(struct shard *shard, struct change_log *log);
/* Closes what has been changed since the last call; returns the index of the log's last message. */
uint64_t shard_log_close(struct shard *shard);
/* Appends all that there is but rows: tables, clocks, sessions, sums of open clocks. */
void shard_log_all(struct shard *shard);

/* Where a walk over all rows is. Zero-initialised: at the first. */
struct shard_walk {
    uint32_t table;
    uint64_t cursor;
};
/* Appends about `rows` more rows; true: those were the last. */
bool shard_log_rows(struct shard *shard, struct shard_walk *walk, uint32_t rows);

/* Makes it a copy, which only changes as it is told: pulls that wait are dropped, and sessions have
 * to say Hello again. Or with false a shard that serves: sums that are due are applied then. */
void shard_set_copy(struct shard *shard, bool copy, struct outbox *outbox);
/* Takes the changes of one Replicate message.
 *   errors   STATUS_CORRUPT, STATUS_NOMEM; some may have been taken then: the copy is of no use */
enum status shard_take_changes(struct shard *shard, const struct message *message,
                               struct error *error) MUST_CHECK;

/* The incarnation that HelloReply says. */
void shard_set_incarnation(struct shard *shard, uint64_t incarnation);

/* XXH3 of every table's rows with their state, sessions and clocks, whatever their order in memory:
 * two copies of a shard have the same. Takes its time. */
uint64_t shard_checksum(const struct shard *shard);

/* For checkpoints. Tables are numbered from 0 in the order of their creation. */
uint32_t shard_table_count(const struct shard *shard);
struct table *shard_table(const struct shard *shard, uint32_t index);
/* How old the gradients were that it was given. */
const struct gradient_ages *shard_table_ages(const struct shard *shard, uint32_t index);
/* Creates a table as Hello would. */
enum status shard_table_create(struct shard *shard, const Anthill__TableSpec *spec, uint32_t *index,
                               struct error *error) MUST_CHECK;

/* Sessions and their push windows as opaque bytes, so that a push that was applied before a
 * checkpoint is not applied again after a restore. returns owned; free(). */
enum status shard_sessions_save(const struct shard *shard, void **data, size_t *bytes) MUST_CHECK;
/*   errors   STATUS_CORRUPT */
enum status shard_sessions_load(struct shard *shard, const void *data, size_t bytes,
                                struct error *error) MUST_CHECK;

#endif
