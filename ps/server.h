/* A server process's shards: one thread each, with a ROUTER for clients and a connection to the
 * coordinator. The thread feeds ps/shard, which does the work. One more thread writes the
 * checkpoints of all shards. */
#ifndef ANTHILL_PS_SERVER_H
#define ANTHILL_PS_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

struct server;

/* Strings are borrowed until server_join. */
struct server_options {
    uint32_t server;      /* its number in the run, from 0 */
    uint32_t shard_count; /* threads */
    /* tcp://HOST:* (each shard gets a port), tcp://HOST:PORT (shard t gets PORT + t), or ipc://PATH
     * (shard t gets PATH-shard-t). */
    const char *endpoint;
    const char *coordinator;
    const char *checkpoint_dir;
    uint64_t timeout_ns; /* without any word of the coordinator at the start */
};

/* Starts the threads; errors of theirs are server_join's.
 *   errors   STATUS_USAGE for a bad endpoint, STATUS_NOMEM
 *   owner    server_join */
enum status server_start(struct server **server, const struct server_options *options,
                         struct error *error) MUST_CHECK;

/* Every shard serves. Any thread. */
bool server_ready(const struct server *server);

/* Some thread has not ended yet. Any thread. */
bool server_running(const struct server *server);

/* Asks the threads to end. They end also on program_stop_requested, when the coordinator says so,
 * and all together when one of them fails. Any thread. */
void server_stop(struct server *server);

/* Waits for the threads and frees.
 *   errors   the first thread's that failed: STATUS_UNAVAILABLE for an endpoint in use or no
 *            coordinator, with the endpoint; STATUS_DENIED when another process has taken this
 *            server's place; what checkpoints ran into */
enum status server_join(struct server *server, struct error *error) MUST_CHECK;

#endif
