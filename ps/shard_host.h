/* What one shard thread of a server decides, as a state machine without I/O: it registers with the
 * coordinator, follows its orders (restore, map, sessions gone, checkpoint, stop), says once a
 * second that it lives, and hands clients' requests to the shards that it has. Messages and time
 * come in; replies and what the coordinator is told go to outboxes. ps/shard_runner drives it over
 * sockets, a simulator over a network of its own.
 * thread: the shard's own. */
#ifndef ANTHILL_PS_SHARD_HOST_H
#define ANTHILL_PS_SHARD_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/wire.h"
#include "ps/checkpoint_writer.h"
#include "ps/replica.h"
#include "ps/shard.h"
#include "ps/shard_metrics.h"

struct shard_host;

/* Strings and pointers are borrowed until shard_host_destroy. */
struct shard_host_options {
    uint32_t server, shard;  /* the thread: its server, and which of its threads it is */
    const char *endpoint;    /* where clients connect */
    const char *coordinator; /* its endpoint, for error texts */
    uint64_t incarnation;    /* differs after every start */
    uint64_t timeout_ns;     /* without any word of the coordinator before it serves */
    uint32_t process;        /* as in struct shard_options */
    struct shard_memory_access memory;
    struct checkpoint_writer *writer; /* of the server's checkpoints */
    const struct shard_metrics *metrics;
    uint64_t (*now_ns)(void); /* the clock, for slices of a checkpoint that are cut by time */
    /* Begins to load step `step` into the empty `shard`: the rows of shard `self` of the map, which
     * is borrowed. Called from within shard_host_hear; shard_host_restored says how it went, later.
     */
    enum status (*restore)(void *context, struct shard *shard, uint64_t step,
                           const Anthill__SlotMap *map, uint32_t self, struct error *error);
    void *context;
};

/* Messages that it wants sent. Zero-initialised is empty. */
struct shard_host_output {
    struct outbox clients;     /* `peer` as in the request's message */
    struct outbox coordinator; /* what does not go at once may be dropped: it is said again */
    struct outbox backups;     /* `peer`: 1 + the shard, to where shard_host_backup says; none are
                                  added while there are some */
};

/*   errors   STATUS_NOMEM
 *   owner    returns owned; shard_host_destroy */
enum status shard_host_create(struct shard_host **host, const struct shard_host_options *options,
                              uint64_t now_ns, struct error *error) MUST_CHECK;
/* A checkpoint under way is abandoned. NULL does nothing. */
void shard_host_destroy(struct shard_host *host);

/* A request of a client, for the shard that Envelope.shard names; STATUS_BUSY answers one for a
 * shard that is not served here, since the client's slot map is not the current one. Or what a
 * primary tells the copy that is here. Not before it serves. `message` is unpacked; its frames may
 * be taken. */
void shard_host_handle(struct shard_host *host, uint64_t now_ns, struct message *message,
                       struct shard_host_output *output);

/* The endpoint of the thread that keeps the copy of shard `index`; NULL: there is none, or the
 * shard is not served here. Good until the next call. */
const char *shard_host_backup(const struct shard_host *host, uint32_t index);
/* An answer of that thread. */
void shard_host_answered(struct shard_host *host, uint64_t now_ns, uint32_t index,
                         const struct message *message, struct shard_host_output *output);

/* A message of the coordinator. */
void shard_host_hear(struct shard_host *host, uint64_t now_ns, const struct message *message,
                     struct shard_host_output *output);

/* How the restore that was begun has ended: `error->status`. A damaged checkpoint is told to the
 * coordinator, which names an older one; the shard is empty then. */
void shard_host_restored(struct shard_host *host, const struct error *error,
                         struct shard_host_output *output);

/* Does what time brings about, and a slice of a checkpoint. Returns when it wants to be called
 * again at the latest, in ns from now. */
uint64_t shard_host_turn(struct shard_host *host, uint64_t now_ns,
                         struct shard_host_output *output);

/* It has restored, and takes requests. */
bool shard_host_serves(const struct shard_host *host);
/* The checkpoint that it was, or is being, restored from; 0: none. */
uint64_t shard_host_restored_step(const struct shard_host *host);

/* The thread has to end: by the coordinator's order (error->status is STATUS_OK), or since it
 * cannot go on. Nothing is done any more. */
bool shard_host_ended(const struct shard_host *host, struct error *error);

/* Shards that are here, served or copied; the first is at home here. Good until the next call. */
uint32_t shard_host_shard_count(const struct shard_host *host);
const struct shard *shard_host_shard(const struct shard_host *host, uint32_t place,
                                     struct replica_view *view);
/* What they have done together. */
void shard_host_stats(const struct shard_host *host, struct shard_stats *stats);

#endif
