/* What sockets alone give: the frames that pulls and pushes make, between processes over
 * common/transport, with nothing behind them. Keys, rows and gradients stand in memory that nobody
 * fills: the other ends answer without looking, and what arrives is neither read nor copied. */
#ifndef ANTHILL_TESTS_BENCH_BARE_EXCHANGE_H
#define ANTHILL_TESTS_BENCH_BARE_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "common/transport.h"
#include "tests/bench/bench_measure.h"
#include "tests/bench/request_stream.h"

#define BARE_PROCESSES_MAX 2u
#define BARE_ENDS_MAX      4u
#define BARE_IN_FLIGHT_MAX 4u

/* Processes that answer, each with some threads of one socket. */
struct bare_ends {
    pid_t processes[BARE_PROCESSES_MAX];
    unsigned process_count;
    char endpoints[BARE_ENDS_MAX][128];
    unsigned count;
    char folder[64]; /* of ipc sockets; "" with tcp */
};

/* Forks: before this process has a transport, whose threads a child would not have. */
void bare_ends_start(struct bare_ends *ends, bool ipc, unsigned processes, unsigned threads);
void bare_ends_stop(struct bare_ends *ends);

/* One client; it belongs to one thread at a time. */
struct bare_client {
    struct transport *transports[BARE_ENDS_MAX];
    unsigned count;
    char *rows; /* a ring that parts' gradients stand in */
    uint64_t parts;
};

enum status bare_client_open(struct bare_client *client, const struct bare_ends *ends,
                             struct error *error) MUST_CHECK;
void bare_client_close(struct bare_client *client);

struct bare_plan {
    const struct request_stream *stream;
    size_t row_bytes;
    bool push;
    unsigned in_flight; /* requests; at most BARE_IN_FLIGHT_MAX */
};

/* Sends each request in equal shares to all ends, cut into parts as ps/client cuts it, and waits
 * for the answers. Adds each request's time to `latencies`.
 *   errors   STATUS_UNAVAILABLE when nothing is answered for a minute */
enum status bare_client_run(struct bare_client *client, const struct bare_plan *plan,
                            struct latencies *latencies, struct error *error) MUST_CHECK;

#endif
