/* A client of the parameter servers as a state machine without I/O: splits a request by the shard
 * that owns each key and into parts, puts the answers where the caller wants them, keeps the
 * session's clock, and asks the coordinator for the slot map. Messages and time come in; messages
 * to be sent are fetched. ps/client/client drives it over sockets, tests over a simulated network.
 * Knows tables, slots and clocks; not sockets, threads or time. Pure. */
#ifndef ANTHILL_PS_CLIENT_CLIENT_CORE_H
#define ANTHILL_PS_CLIENT_CLIENT_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/wire.h"
#include "ps/client/client_scan.h"

struct client_core;

/* A message's other end: the primary of a shard, by the shard's index in the slot map, or the
 * coordinator. What a shard's primary said before client_core_endpoint changed is not to be heard.
 */
#define CLIENT_COORDINATOR UINT32_MAX

/* Strings are copied. */
struct client_core_options {
    const char *coordinator; /* endpoint, for error texts */
    const char *name;
    uint64_t timeout_ns;
    bool trains;
    uint64_t seed_count, graph_checksum;
};

/*   owner    returns owned; client_core_destroy. Ends the process when memory is used up */
struct client_core *client_core_create(const struct client_core_options *options);
void client_core_destroy(struct client_core *core);

/* Starts without a coordinator: the session and the slot map are known.
 *   errors   STATUS_CORRUPT for a map that contradicts itself */
enum status client_core_start(struct client_core *core, uint64_t session,
                              const Anthill__SlotMap *map, struct error *error) MUST_CHECK;

/* Shares memory with the shards whose endpoint is on this host, before the first table is opened:
 * they map it at Hello. See client_memory_alloc.
 *   base     borrowed, until client_core_destroy; base[where->bytes], which say where it is to be
 *            found by others
 *   ended    whether a process of this host has ended, as far as can be told; NULL: as soon as
 *            another serves in its place */
void client_core_share(struct client_core *core, void *base, const Anthill__SharedMemory *where,
                       bool (*ended)(uint32_t process));
/* A piece of it, not initialised; NULL when there is none, or no room. */
void *client_core_memory_alloc(struct client_core *core, uint64_t bytes);
/* False: it is no piece of it. */
bool client_core_memory_free(struct client_core *core, void *memory);

/* STATUS_OK: the coordinator has let it in; STATUS_BUSY: no answer yet; else why not. */
enum status client_core_joined(struct client_core *core, struct error *error);

/* Time passes: what is due is put out. Call before fetching messages, and every 50 ms or so. */
void client_core_tick(struct client_core *core, uint64_t now_ns);

/* `message` is unpacked and borrowed. */
void client_core_receive(struct client_core *core, uint64_t now_ns, uint32_t source,
                         const struct message *message);

/* The next message for a peer, NULL when there is none; once it is gone (or could not be),
 * client_core_sent makes room for the one after it. */
struct message *client_core_output(struct client_core *core, uint32_t target);
void client_core_sent(struct client_core *core, uint32_t target);

/* Shards of the slot map, 0 before the coordinator has answered. */
uint32_t client_core_shard_count(const struct client_core *core);
const char *client_core_endpoint(const struct client_core *core, uint32_t shard);

uint64_t client_core_session(const struct client_core *core);
uint64_t client_core_clock(const struct client_core *core);
const Anthill__TableSpec *client_core_table_spec(const struct client_core *core, uint32_t table);
/* The table's number; UINT32_MAX: there is none of this name. */
uint32_t client_core_table_find(const struct client_core *core, const char *name);

/* As client_set_encoding. */
enum status client_core_set_encoding(struct client_core *core, uint32_t table,
                                     Anthill__Encoding encoding, struct error *error) MUST_CHECK;

/* Requests: as their namesakes in client.h. A ticket is for client_core_ended.
 *   errors   STATUS_INVALID for an unknown table; STATUS_NOMEM; STATUS_BUSY for a second table
 * while one is being opened */
enum status client_core_table(struct client_core *core, const Anthill__TableSpec *spec,
                              uint32_t *table, uint64_t *ticket, struct error *error) MUST_CHECK;
enum status client_core_pull(struct client_core *core, uint32_t table, const uint64_t *keys,
                             uint32_t key_count, float *rows, bool read_only, uint64_t *ticket,
                             struct error *error) MUST_CHECK;
enum status client_core_pull_newer(struct client_core *core, uint32_t table, const uint64_t *keys,
                                   uint32_t key_count, uint32_t behind, float *rows,
                                   uint32_t *versions, bool read_only, uint64_t *ticket,
                                   struct error *error) MUST_CHECK;
uint64_t client_core_restarts(const struct client_core *core);
enum status client_core_push(struct client_core *core, uint32_t table, const uint64_t *keys,
                             uint32_t key_count, const float *grads, float rate_scale,
                             uint64_t *ticket, struct error *error) MUST_CHECK;
enum status client_core_pull_dense(struct client_core *core, uint32_t table, float *values,
                                   uint64_t *ticket, struct error *error) MUST_CHECK;
enum status client_core_push_dense(struct client_core *core, uint32_t table, const float *grads,
                                   float rate_scale, uint64_t *ticket,
                                   struct error *error) MUST_CHECK;

enum status client_core_assign(struct client_core *core, uint32_t table, const uint64_t *keys,
                               uint32_t key_count, const float *values, uint64_t *ticket,
                               struct error *error) MUST_CHECK;
enum status client_core_delete(struct client_core *core, uint32_t table, const uint64_t *keys,
                               uint32_t key_count, uint64_t *deleted, uint64_t *ticket,
                               struct error *error) MUST_CHECK;
/* What a shard, below client_core_shard_count, says of the table `name`, which this client need not
 * have opened. `name` and `description` are borrowed until the request has ended. Then *description
 * is NULL or the caller's, who frees it by anthill__describe_reply__free_unpacked: there may be one
 * although the request has failed, where the client failed after the answer. */
enum status client_core_describe(struct client_core *core, uint32_t shard, const char *name,
                                 Anthill__DescribeReply **description, uint64_t *ticket,
                                 struct error *error) MUST_CHECK;
/* One answer of one shard: *count may be 0 although there are more. `scan`, `keys` and `count` are
 * borrowed until the request has ended. */
enum status client_core_scan(struct client_core *core, uint32_t table, struct client_scan *scan,
                             uint64_t *keys, uint32_t keys_max, uint32_t *count, uint64_t *ticket,
                             struct error *error) MUST_CHECK;

/* STATUS_OK: ended well, or asked before; STATUS_BUSY: under way; else how it failed (once). */
enum status client_core_ended(struct client_core *core, uint64_t ticket, struct error *error);
/* The same for all pushes, assignments, deletions and advances together. */
enum status client_core_pushes_ended(struct client_core *core, struct error *error);

void client_core_advance(struct client_core *core);
/* As client_advance_to. */
void client_core_advance_to(struct client_core *core, uint64_t clock);
/* Enters the clock; STATUS_OK: it has on every shard. */
void client_core_enter(struct client_core *core);
enum status client_core_entered(struct client_core *core, struct error *error);
void client_core_idle(struct client_core *core);

/* Leaves the run: shards and coordinator are told. client_core_left when all have heard it. What is
 * under way writes no more to what callers lent; pushes, assignments and deletions still go. */
void client_core_leave(struct client_core *core);
bool client_core_left(const struct client_core *core);

#endif
