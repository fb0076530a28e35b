/* A run in one process: the coordinator's state machine on a thread of its own behind a socket, and
 * servers with their shard threads. The clients are the test's. */
#ifndef ANTHILL_TESTS_CLUSTER_CLUSTER_FIXTURE_H
#define ANTHILL_TESTS_CLUSTER_CLUSTER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/transport.h"
#include "ps/checkpoint.h"
#include "ps/client/client.h"
#include "ps/coordinator.h"
#include "ps/server.h"

enum { SERVERS = 2, SLOTS = 64 };

#define AWAIT_NS (30 * NS_PER_S)

struct cluster {
    char folder[64], checkpoints[96], listen[128];
    char coordinator[128]; /* where clients find it */
    char server_endpoint[SERVERS][128];
    uint32_t shards_per_server;
    uint64_t checkpoint_every_ns;
    struct transport *transport;
    pthread_t thread;
    atomic_bool stop;
    atomic_ulong checkpoints_done;
    struct server_options server_options[SERVERS];
    struct server *servers[SERVERS];
};

static inline void coordinator_turn(struct cluster *cluster, struct coordinator *coordinator,
                                    struct outbox *outbox, struct effects *effects)
{
    for (unsigned i = 0; i < effects->count; i++) {
        struct effect *effect = &effects->items[i];
        if (effect->kind != EFFECT_PUBLISH) continue;
        struct error error = {0};
        error.status = checkpoint_publish(cluster->checkpoints, effect->step, effect->parts,
                                          effect->part_count, &error);
        uint64_t step = effect->step;
        effect->kind = EFFECT_LOG;
        if (error.status == STATUS_OK) atomic_fetch_add(&cluster->checkpoints_done, 1);
        coordinator_published(coordinator, clock_now_ns(), step, &error, outbox, effects);
    }
    effects_clear(effects);
    for (unsigned i = 0; i < outbox->count; i++) {
        uint64_t peer = outbox->messages[i].peer;
        if (transport_send(cluster->transport, &outbox->messages[i]) == STATUS_UNAVAILABLE) {
            coordinator_peer_gone(coordinator, peer);
        }
    }
    outbox_clear(outbox);
}

static inline void *coordinator_main(void *context)
{
    struct cluster *cluster = context;
    struct coordinator_options options = {
        .name = "test",
        .task = "node-classification",
        .epochs = 1000,
        .batch = 1,
        .monitor = "accuracy",
        .expect_metric = "accuracy",
        .server_count = SERVERS,
        .shards_per_server = cluster->shards_per_server,
        .slot_count = SLOTS,
        .worker_count = 1,
        .lease_ns = 60 * NS_PER_S,
        .timeout_ns = 600 * NS_PER_S,
        .checkpoint_every_ns = cluster->checkpoint_every_ns,
        .checkpoint_keep = 100,
        .wall_offset_ns = clock_wall_ns() - clock_now_ns(),
    };
    struct coordinator *coordinator = coordinator_create(&options, clock_now_ns());
    struct outbox outbox = {0};
    struct effects effects = {0};
    while (!atomic_load(&cluster->stop)) {
        struct message message;
        transport_poll(&cluster->transport, 1, 10 * NS_PER_MS);
        while (transport_receive(cluster->transport, &message) == STATUS_OK) {
            coordinator_handle(coordinator, clock_now_ns(), &message, &outbox, &effects);
            wire_message_deinit(&message);
            coordinator_turn(cluster, coordinator, &outbox, &effects);
        }
        coordinator_tick(coordinator, clock_now_ns(), &outbox, &effects);
        coordinator_turn(cluster, coordinator, &outbox, &effects);
    }
    outbox_deinit(&outbox);
    effects_deinit(&effects);
    coordinator_destroy(coordinator);
    transport_close(cluster->transport);
    return NULL;
}

static inline void cluster_start_server(struct cluster *cluster, uint32_t server)
{
    struct error error = {0};
    if (server_start(&cluster->servers[server], &cluster->server_options[server], &error) !=
        STATUS_OK) {
        fail_msg("%s", error.text);
    }
}

static inline void cluster_end_server(struct cluster *cluster, uint32_t server)
{
    struct error error = {0};
    server_stop(cluster->servers[server]);
    if (server_join(cluster->servers[server], &error) != STATUS_OK) fail_msg("%s", error.text);
    cluster->servers[server] = NULL;
}

/* Fields that differ from zero before the call are kept: shards_per_server, checkpoint_every_ns. */
static inline void cluster_start(struct cluster *cluster, bool tcp)
{
    strcpy(cluster->folder, "/tmp/anthill-cluster-XXXXXX");
    assert_non_null(mkdtemp(cluster->folder));
    snprintf(cluster->checkpoints, sizeof cluster->checkpoints, "%s/checkpoints", cluster->folder);
    if (cluster->shards_per_server == 0) cluster->shards_per_server = 1;
    if (tcp) {
        strcpy(cluster->listen, "tcp://127.0.0.1:*");
    } else {
        snprintf(cluster->listen, sizeof cluster->listen, "ipc://%s/coordinator", cluster->folder);
    }
    struct error error = {0};
    if (transport_listen(&cluster->transport, cluster->listen, &error) != STATUS_OK) {
        fail_msg("%s", error.text);
    }
    snprintf(cluster->coordinator, sizeof cluster->coordinator, "%s",
             transport_endpoint(cluster->transport));
    assert_int_equal(pthread_create(&cluster->thread, NULL, coordinator_main, cluster), 0);
    for (uint32_t i = 0; i < SERVERS; i++) {
        if (tcp) {
            strcpy(cluster->server_endpoint[i], cluster->listen);
        } else {
            snprintf(cluster->server_endpoint[i], sizeof cluster->server_endpoint[i],
                     "ipc://%s/server-%u", cluster->folder, i);
        }
        cluster->server_options[i] = (struct server_options){
            .server = i,
            .shard_count = cluster->shards_per_server,
            .endpoint = cluster->server_endpoint[i],
            .coordinator = cluster->coordinator,
            .checkpoint_dir = cluster->checkpoints,
            .timeout_ns = AWAIT_NS,
        };
        cluster_start_server(cluster, i);
    }
}

static inline void cluster_end(struct cluster *cluster)
{
    for (uint32_t i = 0; i < SERVERS; i++) {
        if (cluster->servers[i] != NULL) cluster_end_server(cluster, i);
    }
    atomic_store(&cluster->stop, true);
    pthread_join(cluster->thread, NULL);
    assert_int_equal(file_dir_remove(cluster->folder, NULL), STATUS_OK);
}

static inline struct client *cluster_client(struct cluster *cluster, bool trains,
                                            uint64_t timeout_ns)
{
    struct client_options options = {.coordinator = cluster->coordinator,
                                     .name = "test",
                                     .timeout_ns = timeout_ns,
                                     .trains = trains,
                                     .seed_count = 10,
                                     .graph_checksum = 1};
    struct client *client = NULL;
    struct error error = {0};
    if (client_open(&client, &options, &error) != STATUS_OK) fail_msg("%s", error.text);
    return client;
}

/* Rows of zeros and SGD at rate 1: a row is minus the sum of its gradients. */
static inline uint32_t cluster_sparse(struct client *client, const char *name, uint32_t dim)
{
    Anthill__OptimizerSpec optimizer = ANTHILL__OPTIMIZER_SPEC__INIT;
    optimizer.rate = 1.0f;
    Anthill__TableSpec spec = ANTHILL__TABLE_SPEC__INIT;
    spec.name = (char *)name;
    spec.dim = dim;
    spec.optimizer = &optimizer;
    uint32_t table = 0;
    struct error error = {0};
    if (client_table(client, &spec, &table, &error) != STATUS_OK) fail_msg("%s", error.text);
    return table;
}

static inline void cluster_push(struct client *client, uint32_t table, const uint64_t *keys,
                                uint32_t count, const float *grads)
{
    uint64_t ticket;
    struct error error = {0};
    enum status status = client_push(client, table, keys, count, grads, 1.0f, &ticket, &error);
    if (status == STATUS_OK) status = client_wait(client, ticket, &error);
    if (status != STATUS_OK) fail_msg("%s", error.text);
}

static inline void cluster_pull(struct client *client, uint32_t table, const uint64_t *keys,
                                uint32_t count, float *rows)
{
    uint64_t ticket;
    struct error error = {0};
    enum status status = client_pull(client, table, keys, count, rows, false, &ticket, &error);
    if (status == STATUS_OK) status = client_wait(client, ticket, &error);
    if (status != STATUS_OK) fail_msg("%s", error.text);
}

/* Of a group of tests. */
static inline int cluster_setup(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR);
    return 0;
}

static inline int cluster_teardown(void **state)
{
    (void)state;
    transport_shutdown();
    return 0;
}

#endif
