/* Pulls and pushes rows from a thread's point of view: a request goes to every shard that owns some
 * of its keys, in parts, is sent again when an answer stays away, and ends with data or with an
 * error that names the server. Drives ps/client/client_core (no I/O) over transports.
 * thread: a client belongs to one thread. */
#ifndef ANTHILL_PS_CLIENT_CLIENT_H
#define ANTHILL_PS_CLIENT_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/wire.pb-c.h"
#include "ps/client/client_scan.h"

struct client;

struct client_options {
    const char *coordinator; /* endpoint */
    const char *name;        /* for logs and errors of others: "worker-0" */
    uint64_t timeout_ns;     /* of every wait */
    bool trains;             /* its clock counts for staleness */
    uint64_t seed_count;     /* trainers: see Join */
    uint64_t graph_checksum;
};

/* Joins the run: waits until the coordinator answers with the slot map.
 *   errors   STATUS_UNAVAILABLE when nobody answers in time, with the endpoint; STATUS_DENIED or
 *            STATUS_CONFIG when the coordinator refuses, with its text
 *   owner    returns owned; client_close */
enum status client_open(struct client **client, const struct client_options *options,
                        struct error *error) MUST_CHECK;

/* Shards inside this process, restored from the checkpoint folder `step_dir` (".../step-N"): for
 * `eval`, `infer` and export without servers. Read-only use; table specs come from the checkpoint.
 *   errors   STATUS_NOT_FOUND, STATUS_CORRUPT naming the file */
enum status client_open_checkpoint(struct client **client, const char *step_dir,
                                   struct error *error) MUST_CHECK;

/* Tells shards and coordinator that this client trains no more; frees. What is under way writes no
 * more to what callers lent. NULL does nothing. */
void client_close(struct client *client);

uint64_t client_session(const struct client *client);

/* The clock of this client's steps; starts at the slowest trainer's clock. */
uint64_t client_clock(const struct client *client);

/* Creates the table on every shard, or checks that the one there is the same.
 *   spec     borrowed
 *   errors   STATUS_CONFIG naming the difference */
enum status client_table(struct client *client, const Anthill__TableSpec *spec, uint32_t *table,
                         struct error *error) MUST_CHECK;

/* Opens a table that is there, with the spec that it has; *rows of it are there (NULL: not asked).
 *   errors   STATUS_NOT_FOUND with the names of those that are there */
enum status client_open_table(struct client *client, const char *name, uint32_t *table,
                              uint64_t *rows, struct error *error) MUST_CHECK;

/* The spec of a table by name, as created or restored; NULL when there is none. Borrowed. */
const Anthill__TableSpec *client_table_spec(const struct client *client, const char *name,
                                            uint32_t *table);

/* Rows and gradients of a sparse table travel in this form where they travel (default: f32); in
 * memory that is shared they stay f32. Requests that are under way keep theirs.
 *   errors   STATUS_INVALID for a dense table, or an encoding that is not known */
enum status client_set_encoding(struct client *client, uint32_t table, Anthill__Encoding encoding,
                                struct error *error) MUST_CHECK;

/* Zeroed memory for rows and gradients, aligned to 64, that shards on this host reach directly:
 * what lies in it is neither sent nor copied. Ordinary memory where nothing is shared. Meant to be
 * kept and used again: what is freed serves for about the same size only.
 *   owner    returns owned; client_memory_free, at the latest before client_close; NULL when there
 *            is no memory */
void *client_memory_alloc(struct client *client, size_t bytes);
/* No request may be under way in it. NULL does nothing. */
void client_memory_free(struct client *client, void *memory);

/* Starts a pull of the rows of keys[key_count] (no key twice) into rows[key_count, dim]; with
 * `read_only` missing rows are not created. `keys` and `rows` are borrowed until client_wait.
 * Several requests may be under way. The ticket is for client_wait. */
enum status client_pull(struct client *client, uint32_t table, const uint64_t *keys,
                        uint32_t key_count, float *rows, bool read_only, uint64_t *ticket,
                        struct error *error) MUST_CHECK;

/* The same for a caller that has copies (versioned tables): versions[i] is the version of rows[i],
 * 0: it has none. Rows that are more than `behind` pushes newer are written, with their version;
 * the others stay as they are. `versions` is borrowed, too. Nothing of it is in shared memory.
 *   errors   STATUS_INVALID for a table without versions */
enum status client_pull_newer(struct client *client, uint32_t table, const uint64_t *keys,
                              uint32_t key_count, uint32_t behind, float *rows, uint32_t *versions,
                              bool read_only, uint64_t *ticket, struct error *error) MUST_CHECK;

/* Rises when a shard has restarted: versions from before say nothing any more, and have to be set
 * to 0 before the next pull. */
uint64_t client_restarts(const struct client *client);

/* Starts a push of gradients; `rate_scale` multiplies the table's learning rate. `keys` is copied,
 * and so is `grads`, unless it lies in memory of client_memory_alloc: then it is borrowed until the
 * request has ended (client_wait, client_flush). */
enum status client_push(struct client *client, uint32_t table, const uint64_t *keys,
                        uint32_t key_count, const float *grads, float rate_scale, uint64_t *ticket,
                        struct error *error) MUST_CHECK;

/* The same for a whole dense table: values[table_spec_floats], tensors one after the other. */
enum status client_pull_dense(struct client *client, uint32_t table, float *values,
                              uint64_t *ticket, struct error *error) MUST_CHECK;
enum status client_push_dense(struct client *client, uint32_t table, const float *grads,
                              float rate_scale, uint64_t *ticket, struct error *error) MUST_CHECK;

/* Starts an assignment: rows of a sparse table get these values and the optimizer state of new
 * rows. Sent in its order among pushes, and done once. `keys` and values[key_count, dim] are
 * copied. */
enum status client_assign(struct client *client, uint32_t table, const uint64_t *keys,
                          uint32_t key_count, const float *values, uint64_t *ticket,
                          struct error *error) MUST_CHECK;

/* Starts a deletion of rows of a sparse table, in the same way; rows that are not there are none to
 * delete. The number of those that were is added to *deleted (NULL: not asked), which is borrowed
 * until the request has ended; it lacks those of an answer that was lost with its connection. */
enum status client_delete(struct client *client, uint32_t table, const uint64_t *keys,
                          uint32_t key_count, uint64_t *deleted, uint64_t *ticket,
                          struct error *error) MUST_CHECK;

/* Waits for the next keys of a sparse table, at most keys_max (64 to 65,536), shard after shard in
 * no order that means anything; *count 0: there are no more. A row that is there all the while is
 * listed once.
 *   errors   as client_wait */
enum status client_scan(struct client *client, uint32_t table, struct client_scan *scan,
                        uint64_t *keys, uint32_t keys_max, uint32_t *count,
                        struct error *error) MUST_CHECK;

/* Waits until the request has ended.
 *   errors   STATUS_UNAVAILABLE "server 1 shard 0 at tcp://... has not answered for 30 s";
 *            STATUS_EXPIRED for a push, assignment or deletion of which nobody knows whether it was
 *            done: this process did not run for so long that a shard has forgotten its session;
 *            requests after it go on
 *            STATUS_STOPPED when program_stop_requested */
enum status client_wait(struct client *client, uint64_t ticket, struct error *error) MUST_CHECK;

/* Waits for every push, assignment and deletion under way, and for the clock's advances: where
 * every trainer has done so, what bsp has summed is in the rows. */
enum status client_flush(struct client *client, struct error *error) MUST_CHECK;

/* This client has pushed all of its clock; the clock rises by one. Does not wait for answers. */
enum status client_advance(struct client *client, struct error *error) MUST_CHECK;

/* The same, up to `clock`, which the caller counts; a lower one than the client's changes nothing.
 * After client_enter. */
enum status client_advance_to(struct client *client, uint64_t clock,
                              struct error *error) MUST_CHECK;

/* Waits until this client is in the clock on every shard: from now on others wait for it. Pulls
 * enter by themselves; this is for who has to be there before the first of them.
 *   errors   as client_wait */
enum status client_enter(struct client *client, struct error *error) MUST_CHECK;

/* While it has nothing to train it holds nobody up; the next pull enters again at the slowest
 * trainer's clock. */
enum status client_idle(struct client *client, struct error *error) MUST_CHECK;

/* Sends what is due and takes what has arrived without waiting: keeps requests moving while the
 * caller computes. */
enum status client_poll(struct client *client, struct error *error) MUST_CHECK;

#endif
