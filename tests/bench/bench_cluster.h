/* A coordinator's state machine on a thread and a server with one shard thread, over tcp in this
 * process: what a client needs to pull and push. */
#ifndef ANTHILL_TESTS_BENCH_BENCH_CLUSTER_H
#define ANTHILL_TESTS_BENCH_BENCH_CLUSTER_H

#include "common/error.h"
#include "ps/client/client.h"

struct bench_cluster;

/*   owner    returns owned; bench_cluster_stop */
enum status bench_cluster_start(struct bench_cluster **cluster, struct error *error) MUST_CHECK;
enum status bench_cluster_client(struct bench_cluster *cluster, struct client **client,
                                 struct error *error) MUST_CHECK;
/* Close clients first. NULL does nothing. */
void bench_cluster_stop(struct bench_cluster *cluster);

#endif
