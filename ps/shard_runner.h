/* One shard's thread: sockets, time and files around the state machine of ps/shard. */
#ifndef ANTHILL_PS_SHARD_RUNNER_H
#define ANTHILL_PS_SHARD_RUNNER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "ps/checkpoint_writer.h"
#include "ps/server.h"

struct shard_runner_options {
    const struct server_options *server;
    uint32_t shard; /* index within the server */
    struct checkpoint_writer *writer;
    const char *endpoint; /* of this shard */
    atomic_bool *stop;    /* set by others: end */
    atomic_bool *ready;   /* set here: it serves */
};

/* Registers, restores, serves until it is asked to stop.
 *   errors   as server_join */
enum status shard_runner_run(const struct shard_runner_options *options,
                             struct error *error) MUST_CHECK;

#endif
